"""Asking again for an open attempt whose provider takes a key of ours: sending it twice sends it once.

The attempt stays the same, and so does its reference, which is the key. It is never asked again once the
provider may have forgotten the key, nor with another address or text than it had, nor when the user does
not want it any more: then it is as unknown as any other.
"""

import time
from dataclasses import dataclass, replace
from datetime import timedelta

from activities.attempt_facts import match_key_of, message_of, settling_s
from activities.links import Links
from activities.provider_gate import ProviderGate
from domain.contacts import suppression_key
from domain.decisions import Rules
from domain.notification import Attempt, Delivery, Notification, Target
from domain.notification_types import Catalog
from domain.outcome import Outcome, SendResult
from domain.preferences import Decision, decide
from domain.routing import Candidate
from providers.base import Provider
from storage.ledger import Ledger
from storage.rows import Renewal
from telemetry.metrics import Metrics

HOLD_MARGIN_S = 1.0
"""How much longer the hold lasts than the sender may take (activities/delivery_pass.py)."""
BUDGET_S_MIN = 0.2


@dataclass(frozen=True, slots=True)
class Asked:
    """What the same call came to. `delivery` and `now` are as the ledger has them after the renewal."""

    result: SendResult
    delivery: Delivery
    notification: Notification


class Repeats:
    """Makes the same call again. One for each worker process."""

    def __init__(
        self,
        ledger: Ledger,
        gate: ProviderGate,
        catalog: Catalog,
        metrics: Metrics,
        *,
        links: Links,
        secret: str,
    ) -> None:
        self._ledger = ledger
        self._gate = gate
        self._catalog = catalog
        self._metrics = metrics
        self._links = links
        self._secret = secret

    def may_ask(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        provider: Provider,
        target: Target | None,
        rules: Rules,
    ) -> bool:
        """Whether asking again is certain to send at most once, and is still wanted."""
        if target is None or notification.now >= delivery.expires_at:
            return False
        same = match_key_of(self._secret, notification, delivery, Candidate(attempt.provider, target))
        forgotten_at = attempt.intended_at + timedelta(
            seconds=provider.capabilities.key_life_s - self._budget_s(attempt.provider)
        )
        verdict = decide(
            notification.now, rules.type, notification.type, delivery.channel, notification.recipient
        )
        return (
            attempt.match_key == same
            and notification.now < forgotten_at
            and verdict.decision is not Decision.SUPPRESSED
        )

    async def ask(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        provider: Provider,
        target: Target,
        rules: Rules,
    ) -> Asked | None:
        """Make the call of an open attempt again, under a hold of its own. None: it changed, read again."""
        busy = await self._gate.enter(attempt.provider)
        if busy is not None:
            return Asked(SendResult(Outcome.NOT_SENT, code=busy), delivery, notification)
        started = time.monotonic()
        policy = self._catalog.provider(attempt.provider)
        try:
            opened = await self._ledger.renew(
                Renewal(
                    notification_id=notification.id,
                    delivery_id=delivery.id,
                    no=attempt.no,
                    version=delivery.version,
                    budget_s=self._budget_s(attempt.provider),
                    settling_s=settling_s(provider, policy.settling_s),
                    key_life_s=provider.capabilities.key_life_s,
                    suppression_key=suppression_key(delivery.channel, target.address),
                    required=rules.type.required,
                )
            )
        except BaseException:
            self._gate.leave(attempt.provider)
            raise
        if opened is None:
            self._gate.leave(attempt.provider)
            return None
        again = Candidate(attempt.provider, target)
        message = message_of(
            notification, delivery, again, attempt.no, attempt.intended_at, self._links, rules.type
        )
        budget_s = policy.timeout_s - (time.monotonic() - started)
        if budget_s < BUDGET_S_MIN:
            result = SendResult(Outcome.NOT_SENT, code="hold_passed")
        else:
            with self._gate.call(attempt.provider):
                result = await provider.send(message, timeout_s=budget_s)
            self._metrics.attempts.add(provider=attempt.provider, outcome=result.outcome)
        self._gate.report(attempt.provider, result)
        passed = timedelta(seconds=time.monotonic() - started)
        return Asked(
            result,
            replace(delivery, version=opened.version),
            replace(notification, now=notification.now + passed),
        )

    def _budget_s(self, provider: str) -> float:
        return self._catalog.provider(provider).timeout_s + HOLD_MARGIN_S
