"""One pass over a delivery: read the ledger, resolve what is open, choose, intend, call, record.

It does not know who calls it: the fast path in the first workflow task, the retried activity and pages run
the same function. Whatever it reports, the ledger decided: every step is a compare-and-set, and a pass that
finds the delivery moved reads again.
"""

import asyncio
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

import asyncpg
import structlog

from activities.alarms import raise_alarm
from activities.attempt_facts import contradicts, match_key_of, message_of, selection, settling_s, waiting
from activities.limits import Limits
from activities.links import Links
from activities.provider_gate import ProviderGate
from activities.resolve import Resolver
from activities.sms_count import count_sms
from domain import decisions
from domain.contacts import suppression_key
from domain.decisions import Next, Rules
from domain.masking import mask
from domain.next_step import outcome_of, settled
from domain.notification import Attempt, Delivery, Notification
from domain.notification_types import Catalog
from domain.outcome import AddressVerdict, Outcome, SendResult
from domain.preferences import Decision, decide
from domain.reasons import Reason
from domain.routing import Candidate, Route, rank
from domain.status import FINAL, PARKED, REACHED, SENDABLE, Status
from domain.steps import Action, PassResult
from providers.base import Provider
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.rows import Closing, Intent, Move, Moved, OpenAttempt
from storage.verdicts import apply_verdict
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

STEPS_MAX = 12
"""More steps than any route has candidates: a pass that has not ended by then begins anew later."""
HOLD_MARGIN_S = 1.0
"""How much longer the hold lasts than the sender may take: its timers are not exact."""
CLOSE_RETRIES_MAX = 10
"""So often an outcome is written again while Postgres does not answer: about a quarter of a minute."""
BUDGET_S_MIN = 0.2
"""A call with less of its budget left is not begun: it could only end in ambiguity."""
_MAYBE_SENT = frozenset({Outcome.ACCEPTED, Outcome.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Senders:
    """What a pass sends through, and where its messages lead back to."""

    providers: Mapping[str, Provider]
    gate: ProviderGate
    catalog: Catalog
    links: Links
    secret: str
    crowds: bool = True
    """Whether calls count when it is asked if a provider is crowded (ProviderGate.is_fast)."""


class DeliveryPass:
    """Runs passes. One for each worker process."""

    def __init__(
        self,
        ledger: Ledger,
        senders: Senders,
        resolver: Resolver,
        limits: Limits,
        metrics: Metrics,
    ) -> None:
        self._ledger = ledger
        self._limits = limits
        self._senders = senders
        self._resolver = resolver
        self._metrics = metrics

    async def run(
        self, notification_id: UUID, delivery_id: UUID, loaded: Notification | None = None
    ) -> PassResult:
        """Do what the delivery needs now, and say what it needs next. `loaded`: as it was read just now.

        Raises storage.group.LedgerError when the ledger cannot be asked; nothing is sent then.
        """
        for _ in range(STEPS_MAX):
            notification, loaded = loaded or await self._ledger.load(notification_id), None
            if notification is None:
                return PassResult(Action.NOTHING, detail="no such notification")
            delivery = next(d for d in notification.deliveries if d.id == delivery_id)
            result = await self._step(notification, delivery)
            if result is not None:
                return result
        return PassResult(Action.RETRY, wait_s=1.0, detail="the delivery kept moving")

    async def _step(self, notification: Notification, delivery: Delivery) -> PassResult | None:
        """One step; None means that the ledger changed and has to be read again."""
        now, rules = notification.now, self._rules(notification)
        if delivery.open_attempt is not None:
            return await self._resolver.resolve(notification, delivery, delivery.open_attempt, rules)
        if delivery.state not in SENDABLE:
            await self._release_unsent(notification, delivery, delivery.state)
            return await self._answer_for(settled(notification, delivery, rules))
        if now >= delivery.expires_at:
            return await self._move(notification, delivery, decisions.expired())
        if now < delivery.next_pass_at:
            wait_s = (delivery.next_pass_at - now).total_seconds()
            return PassResult(
                Action.RETRY, delivery.state, delivery.reason_code, wait_s, detail=waiting(delivery)
            )
        recipient, countries = notification.recipient, rules.sms_countries
        verdict = decide(now, rules.type, notification.type, delivery.channel, recipient, countries)
        if verdict.reason is Reason.COUNTRY_NOT_ALLOWED:
            return await self._move(notification, delivery, decisions.unreachable(verdict))
        if verdict.decision is Decision.SUPPRESSED:
            return await self._move(notification, delivery, decisions.suppressed(verdict))
        if delivery.attempts:
            # The window counts from the send: a later one keeps its place anew, or has lost it.
            denied = await self._limits.reserve(notification, delivery, self._metrics)
            if denied is not None:
                return await self._move(notification, delivery, denied)
        return await self._send_next(notification, delivery, rules)

    async def _send_next(
        self, notification: Notification, delivery: Delivery, rules: Rules
    ) -> PassResult | None:
        ranked = rank(notification, delivery, self._route(notification, delivery, rules))
        skipped = dict(ranked.skipped)
        for candidate in ranked.usable:
            refused = await self._senders.gate.enter(candidate.provider)
            if refused is None:
                return await self._attempt(notification, delivery, candidate, skipped, rules)
            skipped[candidate.provider] = refused
        if not ranked.known:
            return await self._move(
                notification, delivery, decisions.nowhere_left(notification, delivery, rules)
            )
        if ranked.tried:
            jitter = random.random()  # noqa: S311 (spreads retries, no secret)
            return await self._move(
                notification, delivery, decisions.after_failed_pass(notification, delivery, rules, jitter)
            )
        wait_s = (
            1.0
            if "rate" in skipped.values()
            else self._senders.catalog.provider(ranked.known[0].provider).circuit_open_s
        )
        return await self._move(
            notification,
            delivery,
            decisions.provider_down(notification, delivery, replace(ranked, skipped=skipped), wait_s),
        )

    async def _attempt(
        self,
        notification: Notification,
        delivery: Delivery,
        candidate: Candidate,
        skipped: Mapping[str, str],
        rules: Rules,
    ) -> PassResult | None:
        provider = self._senders.providers[candidate.provider]
        policy = self._senders.catalog.provider(candidate.provider)
        route = self._route(notification, delivery, rules)
        chosen = selection(notification, delivery, candidate, route, skipped, rules, policy.prices)
        started = time.monotonic()
        try:
            opened = await self._ledger.intend(
                Intent(
                    notification_id=notification.id,
                    delivery_id=delivery.id,
                    version=delivery.version,
                    provider=candidate.provider,
                    budget_s=policy.timeout_s + HOLD_MARGIN_S,
                    settling_s=settling_s(provider, policy.settling_s),
                    suppression_key=suppression_key(delivery.channel, candidate.target.address),
                    target_masked=mask(delivery.channel, candidate.target.address),
                    selection=chosen,
                    required=rules.type.required,
                    device_id=candidate.target.device_id,
                    match_key=match_key_of(self._senders.secret, notification, delivery, candidate),
                )
            )
        except BaseException:
            self._senders.gate.leave(candidate.provider)
            raise
        if opened is None:
            self._senders.gate.leave(candidate.provider)
            return None
        result, latency_ms = await self._call(notification, delivery, candidate, opened, started, rules)
        count_sms(self._metrics, candidate.provider, chosen.get("sms"), result)
        # The database's clock now, as far as we know: ahead by the wait for the intent, and never behind,
        # so that nothing that is counted from here comes early.
        passed = timedelta(seconds=time.monotonic() - started)
        notification = replace(notification, now=opened.intended_at + passed)
        return await self._record(notification, delivery, candidate, opened, result, latency_ms, rules)

    async def _call(
        self,
        notification: Notification,
        delivery: Delivery,
        candidate: Candidate,
        opened: OpenAttempt,
        started: float,
        rules: Rules,
    ) -> tuple[SendResult, int]:
        """Call the provider within what is left of the budget, which began before the intent."""
        provider = self._senders.providers[candidate.provider]
        budget_s = self._senders.catalog.provider(candidate.provider).timeout_s - (time.monotonic() - started)
        if budget_s < BUDGET_S_MIN:
            return SendResult(Outcome.NOT_SENT, code="hold_passed"), 0
        links, at = self._senders.links, opened.intended_at
        message = message_of(notification, delivery, candidate, opened.no, at, links, rules.type)
        called = time.monotonic()
        with self._senders.gate.call(candidate.provider, crowds=self._senders.crowds):
            result = await provider.send(message, timeout_s=budget_s)
        elapsed_s = time.monotonic() - called
        self._metrics.attempts.add(provider=candidate.provider, outcome=result.outcome)
        self._metrics.attempt_seconds.record(elapsed_s, provider=candidate.provider)
        return result, round(elapsed_s * 1000)

    async def _record(
        self,
        notification: Notification,
        delivery: Delivery,
        candidate: Candidate,
        opened: OpenAttempt,
        result: SendResult,
        latency_ms: int,
        rules: Rules,
    ) -> PassResult | None:
        self._senders.gate.report(candidate.provider, result)
        after = self._next(notification, delivery, candidate, opened, result, rules)
        closing = Closing(
            notification_id=notification.id,
            delivery_id=delivery.id,
            no=opened.no,
            version=opened.version,
            outcome=None if result.outcome is Outcome.AMBIGUOUS else result.outcome,
            next=after,
            # A code on an open attempt says that its sender has given it up (activities/resolve.py).
            code=result.code or result.outcome.value,
            http_status=result.http_status,
            provider_message_id=result.provider_message_id,
            latency_ms=latency_ms,
        )
        moved = await self._close(closing, candidate)
        await self._judge_address(notification, candidate, opened, result)
        if moved is None:
            return await self._late(notification, delivery, candidate, opened, result)
        if moved.state is not after.state or after.state is Status.SENDING:
            return None
        if after.state in SENDABLE and after.reason_code != Reason.RETRY:
            return None
        code = f" ({result.code})" if result.code else ""
        return await self._concluded(
            notification, delivery, after, rules, f"{candidate.provider}: {result.outcome}{code}"
        )

    async def _close(self, closing: Closing, candidate: Candidate) -> Moved | None:
        """Write the outcome down, persistently: nobody else knows it as well as we do now.

        Writing it twice is harmless: the second finds the attempt closed with the same outcome.
        """
        for retry in range(CLOSE_RETRIES_MAX):
            try:
                return await self._ledger.close_attempt(closing)
            except asyncpg.UniqueViolationError:
                # The vendor gave one id to two messages: the id proves nothing then, and is not kept.
                alert("duplicate_provider_message", provider=candidate.provider)
                closing = replace(closing, provider_message_id=None, code="duplicate_message_id")
            except LedgerError as error:
                if retry == CLOSE_RETRIES_MAX - 1:
                    raise
                log.warning("outcome_not_recorded_yet", delivery_id=str(closing.delivery_id), why=str(error))
                await asyncio.sleep(min(0.1 * 2**retry, 2.0))
        raise AssertionError("unreachable")

    def _next(
        self,
        notification: Notification,
        delivery: Delivery,
        candidate: Candidate,
        opened: OpenAttempt,
        result: SendResult,
        rules: Rules,
    ) -> Next:
        provider = self._senders.providers[candidate.provider]
        if result.outcome is Outcome.ACCEPTED:
            return decisions.after_acceptance(
                notification.now, rules, has_receipts=provider.capabilities.receipts
            )
        if result.outcome is Outcome.AMBIGUOUS:
            settle = timedelta(
                seconds=settling_s(provider, self._senders.catalog.provider(candidate.provider).settling_s)
            )
            # Whoever retries this delivery asks at that time; if nobody does, the dispatcher comes after.
            due_at = rules.soon(opened.hold_until + settle)
            return Next(Status.SENDING, due_at, event="ambiguous", data={"code": result.code})
        closed = Attempt(
            no=opened.no,
            provider=candidate.provider,
            pass_no=delivery.pass_no,
            device_id=candidate.target.device_id,
            intended_at=opened.intended_at,
            hold_until=opened.hold_until,
            outcome=result.outcome,
        )
        after = replace(delivery, attempts=(*delivery.attempts, closed))
        route = self._route(notification, delivery, rules)
        jitter = random.random()  # noqa: S311 (spreads retries, no secret)
        return decisions.after_refusal(notification, after, result, rules, route, jitter)

    async def _late(
        self,
        notification: Notification,
        delivery: Delivery,
        candidate: Candidate,
        opened: OpenAttempt,
        result: SendResult,
    ) -> None:
        """The attempt was resolved without us: the evidence is kept, and a contradiction is an alert."""
        resolved = await self._ledger.keep_late(
            delivery.id, opened.no, result.outcome, result.provider_message_id
        )
        if contradicts(result.outcome, resolved):
            self._metrics.late_outcomes.add(provider=candidate.provider)
            alert(
                "late_outcome",
                notification_id=str(notification.id),
                provider=candidate.provider,
                resolved_as=resolved,
                outcome=result.outcome,
            )

    async def _judge_address(
        self, notification: Notification, candidate: Candidate, opened: OpenAttempt, result: SendResult
    ) -> None:
        if result.address_verdict is AddressVerdict.KEEP:
            return
        await apply_verdict(
            self._ledger.pool,
            result.address_verdict,
            tenant=notification.tenant,
            user_id=notification.user_id,
            channel=self._senders.providers[candidate.provider].capabilities.channel,
            address=candidate.target.address,
            code=result.code or "refused",
            provider=candidate.provider,
            # What the provider knew before that is no news of a token that was given since.
            intended_at=min(opened.intended_at, result.dead_since or opened.intended_at),
        )

    async def _move(self, notification: Notification, delivery: Delivery, after: Next) -> PassResult | None:
        moved = await self._ledger.move(Move(notification.id, delivery.id, delivery.version, after))
        if moved is None:
            return None
        rules = self._rules(notification)
        return await self._concluded(notification, delivery, after, rules, after.reason_code or after.state)

    async def _concluded(
        self, notification: Notification, delivery: Delivery, after: Next, rules: Rules, detail: str
    ) -> PassResult:
        """The answer after a change of this pass, and what else follows from it."""
        if after.state in PARKED:
            raise_alarm(self._metrics, notification, delivery, after)
        await self._release_unsent(notification, delivery, after.state)
        return await self._answer_for(outcome_of(notification, after, rules, detail))

    async def _release_unsent(self, notification: Notification, delivery: Delivery, state: Status) -> None:
        """Give the places of a delivery back that ended without any send."""
        maybe_sent = any(attempt.outcome in _MAYBE_SENT for attempt in delivery.attempts)
        if state in FINAL and state not in REACHED and not maybe_sent:
            await self._limits.release(notification, delivery)

    async def _answer_for(self, result: PassResult) -> PassResult:
        if result.action is not Action.PARKED:
            return result
        kept = await self._ledger.parked_count() <= self._senders.catalog.parking.open_workflows_max
        return replace(result, hold=kept)

    def _rules(self, notification: Notification) -> Rules:
        return Rules.of(self._senders.catalog, self._senders.catalog.types[notification.type])

    def _route(self, notification: Notification, delivery: Delivery, rules: Rules) -> Route:
        return self._senders.gate.route(delivery.channel, rules.type, notification.recipient)
