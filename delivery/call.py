"""The protocol of a provider call: reservation, intent, budget, send, record, judging the address.

First sends, calls repeated under an idempotency key, and what look-ups find all go through here.
"""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, TypeVar
from uuid import UUID

import asyncpg
import structlog

from delivery.evidence import selection, sms_size
from delivery.messages import Messages
from delivery.modes import refuse_wrong_mode
from delivery.provider_health import ProviderHealth
from delivery.reporting import count_sms
from domain.contacts import suppression_key, verdict_on
from domain.masking import mask
from domain.notification import Attempt, Channel
from domain.notification_types import Catalog
from domain.outcome import SEND_DEADLINE_PASSED, AddressVerdict, Outcome, SendResult, contradicts
from domain.resolution_decision import may_repeat
from domain.routing import Candidate
from domain.snapshot import DeliverySnapshot
from domain.transition import Call, Transition
from providers.base import Provider
from storage.address_verdicts import apply_verdict
from storage.group import LedgerError
from storage.ledger import Ledger
from storage.outages import outages_as_ledger_errors
from storage.records import AttemptOutcome, Intent, OpenAttempt, Renewal, Updated
from telemetry.logs import alert
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

DEADLINE_MARGIN_S = 1.0
"""How much longer the send deadline is than the sender's budget, in seconds: timers are not exact."""
BUDGET_S_MIN = 0.2
"""A call with less of its budget left is not made: it could only end ambiguously."""
RECORD_WAITS_S = (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0, 2.0, 2.0)
"""The waits between the tries to record an outcome while Postgres is unavailable, in seconds: 11 s in all."""

Recorded = TypeVar("Recorded")


@dataclass(frozen=True, slots=True)
class MadeCall:
    """A call that ended. `snapshot` has the version after the intent, and the time and route after
    the call.
    """

    snapshot: DeliverySnapshot
    attempt: Attempt
    candidate: Candidate
    result: SendResult
    latency_ms: int = 0


class ProviderCalls:
    """Makes calls and records their outcomes. One for each worker process."""

    def __init__(
        self,
        ledger: Ledger,
        providers: Mapping[str, Provider],
        health: ProviderHealth,
        catalog: Catalog,
        messages: Messages,
        metrics: Metrics,
        *,
        counts_in_flight: bool = True,
    ) -> None:
        """`counts_in_flight`: whether these calls count towards their providers' calls under way
        (ProviderHealth.is_fast).
        """
        self._ledger = ledger
        self._providers = providers
        self._health = health
        self._catalog = catalog
        self._messages = messages
        self._metrics = metrics
        self._counts_in_flight = counts_in_flight

    async def reserve(self, provider: str, tenant: str) -> str | None:
        """Reserve a call for a tenant. Returns the reason if refused.

        Else `send`, `repeat` or `give_back` must follow.
        """
        return await self._health.enter(provider, tenant)

    async def give_back(self, provider: str) -> None:
        """Release a call that was reserved and is not made."""
        await self._health.give_back(provider)

    async def send(self, snapshot: DeliverySnapshot, call: Call) -> MadeCall | None:
        """Send for the first time, as a new attempt. None: the delivery changed; read it again.

        The call must have been reserved.
        """
        candidate, delivery = call.candidate, snapshot.delivery
        provider = self._providers[candidate.provider]
        refuse_wrong_mode(self._health, provider, snapshot.notification)
        size = self._sms_size(snapshot, candidate)
        intent = Intent(
            notification_id=snapshot.notification.id,
            delivery_id=delivery.id,
            version=delivery.version,
            provider=candidate.provider,
            budget_s=self._deadline_s(candidate.provider),
            visibility_delay_s=snapshot.context.provider(candidate.provider).visibility_delay_s,
            suppression_key=suppression_key(delivery.channel, candidate.target.address),
            target_masked=mask(delivery.channel, candidate.target.address),
            selection=selection(snapshot, call, size),
            required=snapshot.context.type.required,
            device_id=candidate.target.device_id,
            match_key=self._messages.match_key(snapshot, candidate),
        )
        attempt = Attempt(
            number=0,
            provider=candidate.provider,
            pass_number=delivery.pass_number,
            device_id=candidate.target.device_id,
            intended_at=snapshot.now,
            send_deadline=snapshot.now,
        )
        return await self._call(snapshot, candidate, attempt, self._ledger.intend(intent), size)

    async def repeat(
        self, snapshot: DeliverySnapshot, attempt: Attempt, candidate: Candidate
    ) -> MadeCall | None:
        """Make the call of an open attempt again, under the same key. None: it changed; read it again.

        The call must have been reserved.
        """
        provider, delivery = self._providers[attempt.provider], snapshot.delivery
        refuse_wrong_mode(self._health, provider, snapshot.notification)
        renewal = Renewal(
            notification_id=snapshot.notification.id,
            delivery_id=delivery.id,
            number=attempt.number,
            version=delivery.version,
            budget_s=self._deadline_s(attempt.provider),
            visibility_delay_s=snapshot.context.provider(attempt.provider).visibility_delay_s,
            key_life_s=provider.capabilities.key_life_s,
            suppression_key=suppression_key(delivery.channel, candidate.target.address),
            required=snapshot.context.type.required,
        )
        size = self._sms_size(snapshot, candidate)
        return await self._call(snapshot, candidate, attempt, self._ledger.renew(renewal), size)

    def may_repeat(self, snapshot: DeliverySnapshot, attempt: Attempt, candidate: Candidate) -> bool:
        """Whether the call of an open attempt may be repeated: see domain.resolution_decision.may_repeat."""
        return may_repeat(
            snapshot,
            attempt,
            self._messages.match_key(snapshot, candidate),
            key_life_s=self._providers[attempt.provider].capabilities.key_life_s,
            budget_s=self._deadline_s(attempt.provider),
        )

    async def record(self, made: MadeCall, after: Transition) -> Updated | None:
        """Record the result of a call with the transition that follows. None: the attempt was resolved in the
        meantime, and the late outcome is kept as evidence.

        Raises storage.group.LedgerError if the ledger stays unavailable.
        """
        result = made.result
        outcome = _outcome(made.snapshot, made.attempt, after)
        outcome = replace(
            outcome,
            # A code on an open attempt means that its sender gave it up (domain/decision.py).
            code=result.code or result.outcome.value,
            http_status=result.http_status,
            provider_message_id=result.provider_message_id,
            latency_ms=made.latency_ms,
        )
        try:
            updated = await self._close(outcome)
        except asyncpg.UniqueViolationError:
            # The vendor gave one id to two messages: it proves nothing, and is not kept.
            alert("duplicate_provider_message", provider=made.candidate.provider)
            updated = await self._close(
                replace(outcome, provider_message_id=None, code="duplicate_message_id")
            )
        await self._judge_address(made)
        if updated is None:
            await self._keep_late_outcome(made)
        return updated

    async def settle(
        self,
        snapshot: DeliverySnapshot,
        attempt: Attempt,
        after: Transition,
        *,
        provider_message_id: str | None = None,
        code: str | None = None,
    ) -> Updated | None:
        """Record what was found out about an open attempt without a call. None: it changed; read it again.

        Raises asyncpg.UniqueViolationError if the provider's message belongs to another attempt.
        """
        outcome = _outcome(snapshot, attempt, after)
        return await self._ledger.close_attempt(
            replace(outcome, provider_message_id=provider_message_id, code=code)
        )

    async def _call(
        self,
        snapshot: DeliverySnapshot,
        candidate: Candidate,
        attempt: Attempt,
        commit: Awaitable[OpenAttempt | None],
        size: Mapping[str, Any] | None,
    ) -> MadeCall | None:
        started = time.monotonic()
        try:
            opened = await commit
        except BaseException:
            self._health.leave(candidate.provider)
            raise
        if opened is None:
            self._health.leave(candidate.provider)
            return None
        attempt = replace(
            attempt, number=opened.number, intended_at=opened.intended_at, send_deadline=opened.send_deadline
        )
        result, latency_ms = await self._send_within_budget(snapshot, candidate, attempt, started)
        self._health.report(candidate.provider, result)
        count_sms(self._metrics, candidate.provider, size, result)
        # The estimated database time: ahead by the wait for the intent and never behind, so that no wait that
        # is counted from it ends early.
        committed_at = attempt.send_deadline - timedelta(seconds=self._deadline_s(candidate.provider))
        now = committed_at + timedelta(seconds=time.monotonic() - started)
        # The call may have opened the circuit, or the provider may have asked us to wait.
        notification = snapshot.notification
        route = self._health.route(
            snapshot.delivery.channel,
            snapshot.context.type,
            notification.recipient,
            test=notification.is_test,
        )
        after = snapshot.after_call(opened.version, now, route)
        return MadeCall(after, attempt, candidate, result, latency_ms)

    async def _send_within_budget(
        self, snapshot: DeliverySnapshot, candidate: Candidate, attempt: Attempt, started: float
    ) -> tuple[SendResult, int]:
        """Call the provider within the rest of the budget. `started`: before the intent (monotonic)."""
        budget_s = self._catalog.provider(candidate.provider).timeout_s - (time.monotonic() - started)
        if budget_s < BUDGET_S_MIN:
            return SendResult(Outcome.NOT_SENT, code=SEND_DEADLINE_PASSED), 0
        message = self._messages.message(snapshot, candidate, attempt.number, attempt.intended_at)
        called = time.monotonic()
        with self._health.call(candidate.provider, counts_in_flight=self._counts_in_flight):
            result = await self._providers[candidate.provider].send(message, timeout_s=budget_s)
        elapsed_s = time.monotonic() - called
        self._metrics.attempts.add(provider=candidate.provider, outcome=result.outcome)
        self._metrics.attempt_seconds.record(elapsed_s, provider=candidate.provider)
        return result, round(elapsed_s * 1000)

    async def _close(self, outcome: AttemptOutcome) -> Updated | None:
        """Twice is harmless: the second write finds the attempt closed with the same outcome."""
        return await _persist(lambda: self._ledger.close_attempt(outcome), outcome.delivery_id)

    async def _keep_late_outcome(self, made: MadeCall) -> None:
        """Keep the outcome of an attempt that was resolved without it, and alert if the two contradict."""
        result, delivery = made.result, made.snapshot.delivery
        resolved = await self._ledger.record_late_outcome(
            delivery.id, made.attempt.number, result.outcome, result.provider_message_id
        )
        if contradicts(result.outcome, resolved):
            self._metrics.late_outcomes.add(provider=made.candidate.provider)
            alert(
                "late_outcome",
                notification_id=str(made.snapshot.notification.id),
                provider=made.candidate.provider,
                resolved_as=resolved,
                outcome=result.outcome,
            )

    async def _judge_address(self, made: MadeCall) -> None:
        result, notification = made.result, made.snapshot.notification
        if result.address_verdict is AddressVerdict.KEEP:
            return
        delivery = made.snapshot.delivery

        async def judge() -> None:
            with outages_as_ledger_errors():
                await apply_verdict(
                    self._ledger.pool,
                    verdict_on(delivery.channel, result.address_verdict),
                    tenant=notification.tenant,
                    user_id=notification.user_id,
                    channel=delivery.channel,
                    address=made.candidate.target.address,
                    code=result.code or "refused",
                    provider=made.candidate.provider,
                    # A device registered after this time keeps its token.
                    intended_at=min(made.attempt.intended_at, result.dead_since or made.attempt.intended_at),
                )

        await _persist(judge, delivery.id)

    def _sms_size(self, snapshot: DeliverySnapshot, candidate: Candidate) -> dict[str, object] | None:
        if snapshot.delivery.channel is not Channel.SMS:
            return None
        prices = self._catalog.provider(candidate.provider).prices
        return sms_size(snapshot.notification.content.body, candidate.target.address, prices)

    def _deadline_s(self, provider: str) -> float:
        """How long after the intent no other process acts on the attempt, in seconds."""
        return self._catalog.provider(provider).timeout_s + DEADLINE_MARGIN_S


async def _persist(write: Callable[[], Awaitable[Recorded]], delivery_id: UUID) -> Recorded:
    """Record a part of an outcome, with retries: only this process knows it. Raises LedgerError."""
    for wait_s in RECORD_WAITS_S:
        try:
            return await write()
        except LedgerError as error:
            log.warning("outcome_not_recorded_yet", delivery_id=str(delivery_id), why=str(error))
            await asyncio.sleep(wait_s)
    return await write()


def _outcome(snapshot: DeliverySnapshot, attempt: Attempt, after: Transition) -> AttemptOutcome:
    closes = after.closes
    return AttemptOutcome(
        notification_id=snapshot.notification.id,
        delivery_id=snapshot.delivery.id,
        number=attempt.number,
        version=snapshot.delivery.version,
        outcome=closes.outcome if closes else None,
        transition=after,
        resolved_by=closes.resolved_by if closes else "lookup",
    )
