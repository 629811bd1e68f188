"""Resolving an open attempt: ask the provider what it has, before anything else is sent.

Where the provider takes a key of ours, sending again under the same key is asking (activities/repeat.py).
"""

import random
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import timedelta

import asyncpg

from activities.alarms import raise_alarm
from activities.provider_gate import ProviderGate
from activities.repeat import Repeats
from domain import decisions
from domain.decisions import Next, Rules
from domain.ids import attempt_ref
from domain.notification import Attempt, Channel, Delivery, Notification, Target
from domain.notification_types import Catalog, OnUnknown
from domain.outcome import Outcome, SendResult
from domain.reasons import Reason
from domain.status import PARKED, Status
from domain.steps import Action, PassResult
from providers.base import AmbiguityResolution, LookupFailed, Match, Message, Provider
from storage.ledger import Ledger
from storage.receipts import Receipts
from storage.rows import Closing
from telemetry.logs import alert
from telemetry.metrics import Metrics

ASK_AGAIN_S = 30.0
"""How long after a look-up that settled nothing the provider is asked again."""
FIRST_ASKS_S = (0.5, 2.0, 5.0)
"""Soon after an ambiguous answer it is asked more often: most look-ups succeed within seconds."""


class Resolver:
    """Closes open attempts by what their providers say, or by the type's `on_unknown`."""

    def __init__(
        self,
        ledger: Ledger,
        receipts: Receipts,
        providers: Mapping[str, Provider],
        gate: ProviderGate,
        catalog: Catalog,
        metrics: Metrics,
        repeats: Repeats,
    ) -> None:
        self._ledger = ledger
        self._repeats = repeats
        self._receipts = receipts
        self._providers = providers
        self._gate = gate
        self._catalog = catalog
        self._metrics = metrics

    async def resolve(
        self, notification: Notification, delivery: Delivery, attempt: Attempt, rules: Rules
    ) -> PassResult | None:
        """Resolve the open attempt, or say when to ask again. None: it changed, read again.

        Before its hold has passed an attempt belongs to its sender, who alone may ask early, having
        noted an ambiguous answer (`code`). "Not found" counts only after hold and settling time.
        """
        provider = self._providers.get(attempt.provider)
        settling_s = self._settling_s(attempt.provider, provider)
        conclusive_at = attempt.hold_until + timedelta(seconds=settling_s)
        given_up = attempt.code is not None
        if notification.now < conclusive_at and not given_up:
            wait_s = (conclusive_at - notification.now).total_seconds()
            return PassResult(
                Action.RETRY, delivery.state, wait_s=wait_s, detail=f"{attempt.provider}: a call is under way"
            )
        conclusive = notification.now >= conclusive_at
        if provider is not None and provider.capabilities.resolves is AmbiguityResolution.IDEMPOTENT:
            return await self._repeat(notification, delivery, attempt, rules, provider, conclusive)
        if provider is None or provider.capabilities.resolves is not AmbiguityResolution.LOOKUP:
            return await self._unresolvable(notification, delivery, attempt, rules, provider, conclusive)
        try:
            found = await self._candidates(notification, delivery, attempt, provider)
        except LookupFailed:
            return await self._not_told(notification, delivery, attempt, rules, conclusive)
        if len(found) == 1:
            return await self._adopt(notification, delivery, attempt, found[0], rules, provider)
        if not conclusive:
            return self._ask_again(notification, delivery, attempt, conclusive_at.timestamp())
        if found or await self._has_twin(delivery, attempt):
            # Two messages, or two senders, that nothing tells apart: whose it is cannot be known.
            return await self._give_up(notification, delivery, attempt, rules)
        return await self._refute(notification, delivery, attempt, rules)

    async def _repeat(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        rules: Rules,
        provider: Provider,
        conclusive: bool,
    ) -> PassResult | None:
        """Send it again under the same key. Only an acceptance, or a refusal of this very recipient, says
        what came of the first: any other refusal may have been given before the key was looked at.
        """
        target = _target(notification, delivery, attempt, provider)
        if target is None or not self._repeats.may_ask(
            notification, delivery, attempt, provider, target, rules
        ):
            return await self._unresolvable(notification, delivery, attempt, rules, provider, conclusive)
        asked = await self._repeats.ask(notification, delivery, attempt, provider, target, rules)
        if asked is None:
            return None
        notification, delivery, result = asked.notification, asked.delivery, asked.result
        if result.outcome is Outcome.ACCEPTED:
            return await self._accepted(notification, delivery, attempt, rules, provider, result)
        if result.outcome is Outcome.REJECTED_RECIPIENT:
            return await self._close_unsent(
                notification, delivery, attempt, rules, result.outcome, "response"
            )
        return await self._not_told(notification, delivery, attempt, rules, conclusive, result)

    async def _accepted(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        rules: Rules,
        provider: Provider,
        result: SendResult,
    ) -> None:
        after = decisions.after_acceptance(
            notification.now, rules, has_receipts=provider.capabilities.receipts
        )
        after = replace(after, event="sent_again", data={"provider": attempt.provider})
        closing = replace(
            _closing(notification, delivery, attempt, Outcome.ACCEPTED, after, "response"),
            code=result.code or result.outcome.value,
            http_status=result.http_status,
            provider_message_id=result.provider_message_id,
        )
        try:
            await self._ledger.close_attempt(closing)
        except asyncpg.UniqueViolationError:
            # The vendor gave one id to two messages: the id proves nothing then, and is not kept.
            alert("duplicate_provider_message", provider=attempt.provider)
            await self._ledger.close_attempt(
                replace(closing, provider_message_id=None, code="duplicate_message_id")
            )

    async def _candidates(
        self, notification: Notification, delivery: Delivery, attempt: Attempt, provider: Provider
    ) -> Sequence[Match]:
        """The vendor's messages that can be this attempt's: certain ones, else unclaimed look-alikes."""
        target = _target(notification, delivery, attempt, provider)
        if target is None:
            raise LookupFailed("the address of the attempt is not known any more")
        message = Message(
            attempt_ref=attempt_ref(delivery.id, attempt.no),
            target=target,
            content=notification.content,
            type=notification.type,
            expires_at=delivery.expires_at,
            intended_at=attempt.intended_at,
        )
        timeout_s = self._catalog.provider(attempt.provider).timeout_s
        found = await provider.lookup(message, timeout_s=timeout_s)
        certain = [item for item in found if item.certain]
        if certain:
            return certain[:1]
        if not found or await self._has_twin(delivery, attempt):
            return found if len(found) > 1 else ()
        claimed = await self._ledger.claimed_messages(
            attempt.provider, [item.provider_message_id for item in found]
        )
        return [item for item in found if item.provider_message_id not in claimed]

    async def _has_twin(self, delivery: Delivery, attempt: Attempt) -> bool:
        return (
            attempt.match_key is not None
            and await self._ledger.open_twins(attempt.match_key, delivery.id) > 0
        )

    async def _adopt(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        found: Match,
        rules: Rules,
        provider: Provider,
    ) -> PassResult | None:
        after = decisions.after_acceptance(
            notification.now, rules, has_receipts=provider.capabilities.receipts
        )
        after = replace(after, event="adopted", data={"provider": attempt.provider, "certain": found.certain})
        try:
            await self._ledger.close_attempt(
                replace(
                    _closing(notification, delivery, attempt, Outcome.ACCEPTED, after, "lookup"),
                    provider_message_id=found.provider_message_id,
                )
            )
        except asyncpg.UniqueViolationError:
            # Somebody else adopted it meanwhile: it was not ours. Read again.
            return None
        if found.receipt is not None:
            await self._receipts.apply_one(delivery.id, attempt.no, found.receipt, "lookup")
        return None

    async def _refute(
        self, notification: Notification, delivery: Delivery, attempt: Attempt, rules: Rules
    ) -> None:
        """The provider has no such message, and had time to: it was not sent. On to the next one."""
        await self._close_unsent(notification, delivery, attempt, rules, Outcome.NOT_SENT, "lookup")

    async def _unresolvable(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        rules: Rules,
        provider: Provider | None,
        conclusive: bool,
    ) -> PassResult | None:
        if not conclusive:
            conclusive_at = attempt.hold_until + timedelta(
                seconds=self._settling_s(attempt.provider, provider)
            )
            return self._ask_again(notification, delivery, attempt, conclusive_at.timestamp())
        may_report = provider is not None and provider.capabilities.receipts
        if rules.type.on_unknown is OnUnknown.RECONCILE and may_report:
            return await self._not_told(notification, delivery, attempt, rules, conclusive)
        return await self._give_up(notification, delivery, attempt, rules)

    async def _not_told(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        rules: Rules,
        conclusive: bool,
        result: SendResult | None = None,
    ) -> PassResult | None:
        """The provider could not be asked. `reconcile` asks until the expiry; the others decide now.

        `result`: what sending it again came to, where that was the asking.
        """
        patient = rules.type.on_unknown is OnUnknown.RECONCILE and notification.now < delivery.expires_at
        if conclusive and not patient:
            return await self._give_up(notification, delivery, attempt, rules)
        again = self._ask_again(notification, delivery, attempt, delivery.expires_at.timestamp())
        if result is not None and result.retry_after_s is not None:
            left_s = (delivery.expires_at - notification.now).total_seconds()
            again = replace(again, wait_s=max(again.wait_s, min(result.retry_after_s, left_s)))
        if conclusive or result is not None:
            # Being asked about is being worked on: without this it would be claimed again each time.
            later = notification.now + timedelta(seconds=again.wait_s)
            still_open = Next(Status.SENDING, rules.soon(later))
            closing = _closing(notification, delivery, attempt, None, still_open, "lookup")
            if result is not None:
                closing = replace(closing, code=result.code or result.outcome.value)
            if await self._ledger.close_attempt(closing) is None:
                return None
        return again

    async def _give_up(
        self, notification: Notification, delivery: Delivery, attempt: Attempt, rules: Rules
    ) -> None:
        """It cannot be found out: the type says whether another may be sent."""
        if rules.type.on_unknown is OnUnknown.FAILOVER and notification.now < delivery.expires_at:
            await self._close_unsent(notification, delivery, attempt, rules, Outcome.UNKNOWN, "policy")
            return
        after = decisions.park(notification.now, rules, Status.OUTCOME_UNKNOWN, Reason.OUTCOME_UNKNOWN)
        moved = await self._ledger.close_attempt(
            _closing(notification, delivery, attempt, Outcome.UNKNOWN, after, "policy")
        )
        if moved is not None and moved.state in PARKED:
            raise_alarm(self._metrics, notification, delivery, after, provider=attempt.provider)

    async def _close_unsent(
        self,
        notification: Notification,
        delivery: Delivery,
        attempt: Attempt,
        rules: Rules,
        outcome: Outcome,
        resolved_by: str,
    ) -> None:
        closed = tuple(
            replace(other, outcome=outcome) if other.no == attempt.no else other
            for other in delivery.attempts
        )
        after = decisions.after_refusal(
            notification,
            replace(delivery, attempts=closed),
            SendResult(outcome),
            rules,
            self._gate.route(delivery.channel, rules.type, notification.recipient),
            random.random(),  # noqa: S311 (spreads retries, no secret)
        )
        moved = await self._ledger.close_attempt(
            _closing(notification, delivery, attempt, outcome, after, resolved_by)
        )
        if moved is not None and moved.state in PARKED:
            raise_alarm(self._metrics, notification, delivery, after, provider=attempt.provider)

    def _ask_again(
        self, notification: Notification, delivery: Delivery, attempt: Attempt, until: float
    ) -> PassResult:
        now = notification.now.timestamp()
        age_s = now - attempt.intended_at.timestamp()
        wait_s = next((ask_s for ask_s in FIRST_ASKS_S if age_s < ask_s * 2), ASK_AGAIN_S)
        wait_s = max(0.1, min(wait_s, until - now)) if until > now else wait_s
        detail = f"{attempt.provider}: the outcome of attempt {attempt.no} is being looked up"
        return PassResult(Action.RETRY, delivery.state, wait_s=wait_s, detail=detail)

    def _settling_s(self, name: str, provider: Provider | None) -> float:
        configured_s = self._catalog.provider(name).settling_s
        if configured_s is not None or provider is None:
            return configured_s or 0.0
        return provider.capabilities.settling_s


def _closing(
    notification: Notification,
    delivery: Delivery,
    attempt: Attempt,
    outcome: Outcome | None,
    after: Next,
    resolved_by: str,
) -> Closing:
    return Closing(
        notification_id=notification.id,
        delivery_id=delivery.id,
        no=attempt.no,
        version=delivery.version,
        outcome=outcome,
        next=after,
        resolved_by=resolved_by,
    )


def _target(
    notification: Notification, delivery: Delivery, attempt: Attempt, provider: Provider
) -> Target | None:
    recipient = notification.recipient
    if delivery.channel is Channel.PUSH:
        device = next((d for d in recipient.devices if d.device_id == attempt.device_id), None)
        token = provider.address_of(device) if device else None
        return Target(token, attempt.device_id) if token else None
    address = recipient.address(delivery.channel)
    return Target(address) if address else None
