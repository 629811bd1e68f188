"""The activities of broadcasts: gather an audience, accept it in chunks, cancel what was accepted."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from time import monotonic
from typing import Any, Final
from uuid import UUID

import asyncpg
import structlog
from temporalio import activity

from activities.errors import LEDGER_AWAY_S, retry_later
from delivery.operator_commands import cancel_all
from domain.batching import needs_workflow
from domain.broadcasts import (
    Audience,
    Broadcast,
    BroadcastRecipient,
    BroadcastStatus,
    Command,
    Ended,
    Refusal,
)
from domain.contacts import UnstorableText, refuse_unstorable
from domain.contracts import BroadcastCommand, BroadcastRef, BroadcastStep, BroadcastTurn
from domain.fingerprint import fingerprint
from domain.ids import broadcast_key, notification_id
from domain.notification import Channel, Lane
from domain.notification_types import Catalog, NotificationType
from domain.templates import BODY_CHARS_MAX, TITLE_CHARS_MAX, RenderingFailed, TemplateRefused, compiled
from storage.broadcast_chunks import BroadcastChunks, Line
from storage.ledger import Ledger
from storage.postgres import NOT_STORABLE
from storage.records import Submission
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

TURN_S: Final = 20.0
"""The longest that one activity works on a broadcast, in seconds; the workflow then calls it again."""
SHORT_WAIT_S: Final = 5.0
"""A wait for the rate of at most this many seconds happens in the activity, not as a workflow timer."""
PAUSED_S: Final = 86_400.0
"""How often a paused broadcast reads the ledger: the most that a lost wake-up delays it."""
IN_FLIGHT_S: Final = 5.0
"""How long after a cancel the sends that were under way are checked again, in seconds."""
_RENDERED_AT_ONCE: Final = 25
"""How many texts are rendered before other tasks of this process may run."""


class Broadcasting:
    """Advances broadcasts. Each chunk is a compare-and-set of the status and the cursor."""

    def __init__(
        self,
        broadcasts: BroadcastChunks,
        ledger: Ledger,
        catalog: Catalog,
        namespace: UUID,
        fingerprint_keys: Mapping[str, str],
        metrics: Metrics,
    ) -> None:
        self._broadcasts = broadcasts
        self._ledger = ledger
        self._catalog = catalog
        self._namespace = namespace
        self._keys = fingerprint_keys
        self._metrics = metrics

    @activity.defn(name="gather_recipients")
    async def gather_recipients(self, ref: BroadcastRef) -> BroadcastTurn:
        """Turn the users that match the query now into recipients."""
        id, ends = UUID(ref.broadcast_id), monotonic() + TURN_S
        while not await self._broadcasts.gather(id) and monotonic() < ends:
            activity.heartbeat()
        return await self._turn(id)

    @activity.defn(name="accept_recipients")
    async def accept_recipients(self, ref: BroadcastRef) -> BroadcastTurn:
        """Accept chunks until something else is needed, or the turn ends. Heartbeats the cursor."""
        id, ends = UUID(ref.broadcast_id), monotonic() + TURN_S
        limit = 0
        while True:
            broadcast = await self._broadcasts.read(id)
            turn = turn_of(broadcast)
            activity.heartbeat(turn.cursor)
            if broadcast is None or monotonic() > ends:
                return await self._expected(id, turn)
            if broadcast.status is BroadcastStatus.DRAFT and await self._broadcasts.abandon(
                broadcast, Ended.ABANDONED
            ):
                continue
            if turn.step is BroadcastStep.WAIT and turn.waits_for == "rate" and turn.wait_s <= SHORT_WAIT_S:
                await asyncio.sleep(turn.wait_s)
            elif turn.step is BroadcastStep.ACCEPT:
                limit = await self._accept(broadcast, min(limit or broadcast.chunk, broadcast.chunk))
            else:
                return await self._expected(id, turn)

    @activity.defn(name="stop_accepted")
    async def stop_accepted(self, ref: BroadcastRef) -> BroadcastTurn:
        """Cancel the notifications of a cancelled broadcast that are not being sent, chunk by chunk."""
        id, ends = UUID(ref.broadcast_id), monotonic() + TURN_S
        chunk, under_way = 0, False
        while (found := await self._broadcasts.unstopped(id, chunk)) is not None and monotonic() < ends:
            chunk, notifications = found
            activity.heartbeat(chunk)
            if await cancel_all(self._ledger, notifications):
                under_way = True
            else:
                await self._broadcasts.stopped(id, chunk)
        turn = await self._turn(id)
        if under_way or found is not None:
            wait_s = 0.0 if found is not None else IN_FLIGHT_S
            turn = _again(turn, BroadcastStep.STOP, wait_s)
        return await self._expected(id, turn)

    @activity.defn(name="follow_broadcast")
    async def follow_broadcast(self, ref: BroadcastRef) -> BroadcastTurn:
        """Report the broadcast's progress, and delete what is no longer needed. Over once none is active."""
        id = UUID(ref.broadcast_id)
        cleared = await self._broadcasts.clear(id)
        turn = await self._turn(id)
        if turn.step is not BroadcastStep.FOLLOW or turn.active or not cleared:
            return await self._expected(id, turn)
        await self._broadcasts.ended(id)
        return await self._turn(id)

    @activity.defn(name="apply_broadcast_command")
    async def apply_broadcast_command(self, command: BroadcastCommand) -> BroadcastTurn:
        """Pause, resume or cancel it, as over REST. A command that its status rules out changes nothing."""
        id = UUID(command.broadcast_id)
        broadcast = await self._broadcasts.read(id)
        if broadcast is not None:
            await self._broadcasts.apply_command(broadcast.tenant, id, Command(command.command))
        return await self._turn(id)

    async def _turn(self, id: UUID) -> BroadcastTurn:
        return turn_of(await self._broadcasts.read(id))

    async def _expected(self, id: UUID, turn: BroadcastTurn) -> BroadcastTurn:
        """Make it fall due if its workflow does not return after this turn."""
        if turn.step is not BroadcastStep.OVER:
            await self._broadcasts.expected(id, turn.wait_s)
        return turn

    async def _accept(self, broadcast: Broadcast, limit: int) -> int:
        """Accept the next chunk, or end the broadcast. Returns the limit of the chunk after it."""
        if broadcast.expires_at is not None and broadcast.expires_at <= broadcast.now:
            await self._broadcasts.end(broadcast, BroadcastStatus.CANCELLED, Ended.EXPIRED)
            return 0
        recipients = await self._broadcasts.next(broadcast, limit)
        if not recipients:
            await self._broadcasts.end(broadcast, BroadcastStatus.COMPLETED)
            return 0
        lines, refusals = await self._submissions(broadcast, recipients)
        last_number = recipients[-1].number
        try:
            accepted = await self._broadcasts.accept(broadcast, lines, refusals, last_number)
        except NOT_STORABLE as error:
            if len(recipients) > 1:
                return limit // 2
            log.warning("recipient_not_storable", broadcast_id=str(broadcast.id), sqlstate=_sqlstate(error))
            refusal = Refusal(last_number, "not_storable", "the database cannot store a value of this line")
            accepted = await self._broadcasts.accept(broadcast, [], [refusal], last_number)
        if accepted:
            self._metrics.accepted.add(accepted, type=broadcast.type, lane=Lane.BULK)
        return limit * 2

    async def _submissions(
        self, broadcast: Broadcast, recipients: Sequence[BroadcastRecipient]
    ) -> tuple[list[Line], list[Refusal]]:
        kind = self._catalog.types.get(broadcast.type)
        if kind is None:
            detail = f"the type {broadcast.type} is no longer configured"
            raise retry_later(detail, LEDGER_AWAY_S)
        lines: list[Line] = []
        refusals: list[Refusal] = []
        for place, recipient in enumerate(recipients):
            if place % _RENDERED_AT_ONCE == 0:
                await asyncio.sleep(0)
            try:
                lines.append(Line(recipient.number, self._submission(broadcast, kind, recipient)))
            except (RenderingFailed, TemplateRefused, UnstorableText) as error:
                code = error.code if isinstance(error, RenderingFailed) else "template_failed"
                refusals.append(Refusal(recipient.number, code, str(error), "/data"))
        return lines, refusals

    def _submission(
        self, broadcast: Broadcast, kind: NotificationType, recipient: BroadcastRecipient
    ) -> Submission:
        data: dict[str, Any] = {**broadcast.data, **(recipient.data or {}), "user_id": recipient.user_id}
        body = refuse_unstorable(compiled(broadcast.body, BODY_CHARS_MAX).render(data))
        title = broadcast.title and compiled(broadcast.title, TITLE_CHARS_MAX).render(data)
        if not body:
            raise RenderingFailed("template_empty", "the text is empty")
        key, to = broadcast_key(broadcast.id), recipient.addresses or {}
        return Submission(
            id=notification_id(self._namespace, broadcast.tenant, recipient.user_id, broadcast.type, key),
            tenant=broadcast.tenant,
            user_id=recipient.user_id,
            type=broadcast.type,
            idempotency_key=key,
            fingerprint=fingerprint(
                self._keys,
                next(iter(self._keys)),
                {"broadcast": str(broadcast.id), "number": recipient.number},
            ),
            lane=Lane.BULK,
            strategy=broadcast.strategy,
            channels=broadcast.channels,
            body=body,
            title=refuse_unstorable(title) if title else None,
            to_sms=to.get(Channel.SMS),
            to_email=to.get(Channel.EMAIL),
            to_push=to.get(Channel.PUSH),
            to_whatsapp=to.get(Channel.WHATSAPP),
            metadata=broadcast.metadata,
            expires_at=broadcast.expires_at,
            expires_s=kind.expires_s,
            scrub=kind.scrub_when_final,
            broadcast_id=broadcast.id,
            dedicated_workflow=needs_workflow(kind, broadcast.strategy),
        )


def turn_of(broadcast: Broadcast | None) -> BroadcastTurn:
    """What a broadcast needs next; one that does not exist needs nothing."""
    if broadcast is None:
        return BroadcastTurn(BroadcastStep.OVER)
    step, wait_s, waits_for = _step(broadcast)
    counts = broadcast.counts
    return BroadcastTurn(
        step=step,
        status=broadcast.status,
        wait_s=wait_s,
        waits_for=waits_for,
        cursor=broadcast.cursor,
        total=broadcast.total,
        accepted=broadcast.accepted,
        refused=broadcast.refused,
        active=counts.active,
        sent=counts.sent,
        delivered=counts.delivered,
        failed=counts.failed,
    )


def _step(broadcast: Broadcast) -> tuple[BroadcastStep, float, str]:
    if broadcast.ended_at is not None:
        return BroadcastStep.OVER, 0.0, ""
    match broadcast.status:
        case BroadcastStatus.DRAFT:
            return BroadcastStep.OVER, 0.0, ""
        case BroadcastStatus.PAUSED:
            return BroadcastStep.WAIT, PAUSED_S, "resume"
        case BroadcastStatus.CANCELLED if (
            broadcast.reason_code == Ended.CANCELLED_BY_CLIENT and not broadcast.stopped
        ):
            return BroadcastStep.STOP, 0.0, ""
        case BroadcastStatus.CANCELLED | BroadcastStatus.COMPLETED:
            return BroadcastStep.FOLLOW, 0.0, ""
        case BroadcastStatus.RUNNING:
            waits = broadcast.waits
            if waits is not None:
                what, until = waits
                return BroadcastStep.WAIT, max(0.0, (until - broadcast.now).total_seconds()), what
            gathered = broadcast.audience is not Audience.QUERY or broadcast.gathered
            return BroadcastStep.ACCEPT if gathered else BroadcastStep.GATHER, 0.0, ""


def _again(turn: BroadcastTurn, step: BroadcastStep, wait_s: float) -> BroadcastTurn:
    return turn if turn.step is BroadcastStep.OVER else replace(turn, step=step, wait_s=wait_s)


def _sqlstate(error: BaseException) -> str:
    return error.sqlstate if isinstance(error, asyncpg.PostgresError) and error.sqlstate else "unknown"
