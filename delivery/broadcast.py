"""Advances broadcasts: gathers an audience, accepts it in chunks, cancels what was accepted."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Final, TypeAlias
from uuid import UUID

import asyncpg
import structlog

from delivery.broadcast_commands import command_broadcast
from delivery.operator_commands import cancel_all
from domain.audit import Origin
from domain.batching import needs_workflow
from domain.broadcast_turn import ending, is_short_wait, stop_turn, turn_of
from domain.broadcasts import Broadcast, BroadcastRecipient, BroadcastStatus, Command, Ended, Refusal
from domain.contacts import UnstorableText, refuse_unstorable
from domain.contracts import BroadcastStep, BroadcastTurn
from domain.fingerprint import fingerprint
from domain.ids import broadcast_key, notification_id
from domain.notification import Channel, Lane
from domain.notification_types import Catalog, NotificationType
from domain.template_language import TemplateRefused
from domain.template_run import RenderingFailed
from domain.templates import Message
from storage.audit import AuditLog
from storage.broadcast_chunks import BroadcastChunks, Line
from storage.ledger import Ledger
from storage.postgres import NOT_STORABLE
from storage.records import Submission
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

TURN_S: Final = 20.0
"""The longest that one call works on a broadcast, in seconds; its workflow then calls again."""
_FUEL_AT_ONCE: Final = 25_000
"""How much fuel texts use, about 10 ms, before other tasks of this process may run."""
_RECIPIENT_FUEL: Final = 1_000
"""What a recipient costs beside their texts, in fuel."""
CHUNK_CHARS_MAX: Final = 4_000_000
"""A chunk whose texts are this long ends early, so that it fits into memory."""

Heartbeat: TypeAlias = Callable[[int], None]
"""Called with the number of the last recipient or chunk: the work goes on."""


class TypeNotConfigured(Exception):
    """A broadcast's type is missing in this process's configuration."""


class BroadcastProcessor:
    """The work of a broadcast's workflow. Each chunk is a compare-and-set of the status and the cursor.

    Every method returns what the broadcast needs next.
    """

    def __init__(
        self,
        broadcasts: BroadcastChunks,
        ledger: Ledger,
        catalog: Catalog,
        namespace: UUID,
        fingerprint_keys: Mapping[str, str],
        metrics: Metrics,
        audit: AuditLog,
    ) -> None:
        self._broadcasts = broadcasts
        self._audit = audit
        self._ledger = ledger
        self._catalog = catalog
        self._namespace = namespace
        self._keys = fingerprint_keys
        self._metrics = metrics

    async def gather(self, id: UUID, heartbeat: Heartbeat) -> BroadcastTurn:
        """Turn the users that match the query now into recipients."""
        ends = monotonic() + TURN_S
        while not await self._broadcasts.gather(id) and monotonic() < ends:
            heartbeat(0)
        return await self._turn(id)

    async def accept(self, id: UUID, heartbeat: Heartbeat) -> BroadcastTurn:
        """Accept chunks until something else is needed, or the turn ends. Raises TypeNotConfigured."""
        ends = monotonic() + TURN_S
        limit = 0
        while True:
            broadcast = await self._broadcasts.read(id)
            turn = turn_of(broadcast)
            heartbeat(turn.cursor)
            if broadcast is None or monotonic() > ends:
                return await self._expected(id, turn)
            if broadcast.status is BroadcastStatus.DRAFT and await self._broadcasts.abandon(
                broadcast, Ended.ABANDONED
            ):
                continue
            if is_short_wait(turn):
                await asyncio.sleep(turn.wait_s)
            elif turn.step is BroadcastStep.ACCEPT:
                limit = await self._accept_chunk(broadcast, min(limit or broadcast.chunk, broadcast.chunk))
            else:
                return await self._expected(id, turn)

    async def stop(self, id: UUID, heartbeat: Heartbeat) -> BroadcastTurn:
        """Cancel the notifications of a cancelled broadcast that are not being sent, chunk by chunk."""
        ends = monotonic() + TURN_S
        chunk, under_way = 0, False
        while (found := await self._broadcasts.unstopped(id, chunk)) is not None and monotonic() < ends:
            chunk, notifications = found
            heartbeat(chunk)
            if await cancel_all(self._ledger, notifications):
                under_way = True
            else:
                await self._broadcasts.stopped(id, chunk)
        turn = stop_turn(await self._turn(id), unchecked=found is not None, under_way=under_way)
        return await self._expected(id, turn)

    async def follow(self, id: UUID) -> BroadcastTurn:
        """Report the broadcast's progress, and delete what is no longer needed. Over once none is active."""
        cleared = await self._broadcasts.clear(id)
        turn = await self._turn(id)
        if turn.step is not BroadcastStep.FOLLOW or turn.active or not cleared:
            return await self._expected(id, turn)
        await self._broadcasts.ended(id)
        return await self._turn(id)

    async def apply_command(self, id: UUID, command: Command) -> BroadcastTurn:
        """Pause, resume or cancel it, as over REST. A command that its status rules out changes nothing.

        The workflow does not know who signalled it: that is in its history.
        """
        broadcast = await self._broadcasts.read(id)
        if broadcast is not None:
            origin = Origin("temporal", "", broadcast.tenant)
            await command_broadcast(self._audit, broadcast.tenant, id, command, origin)
        return await self._turn(id)

    async def _turn(self, id: UUID) -> BroadcastTurn:
        return turn_of(await self._broadcasts.read(id))

    async def _expected(self, id: UUID, turn: BroadcastTurn) -> BroadcastTurn:
        """Make it fall due if its workflow does not return after this turn."""
        if turn.step is not BroadcastStep.OVER:
            await self._broadcasts.expected(id, turn.wait_s)
        return turn

    async def _accept_chunk(self, broadcast: Broadcast, limit: int) -> int:
        """Accept the next chunk, or end the broadcast. Returns the limit of the chunk after it."""
        recipients = await self._broadcasts.next(broadcast, limit)
        end = ending(broadcast, any_left=bool(recipients))
        if end is not None:
            await self._broadcasts.end(broadcast, end.status, end.reason)
            return 0
        lines, refusals, last_number = await self._submissions(broadcast, recipients)
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
        whole = last_number == recipients[-1].number
        return limit * 2 if whole else len(lines) + len(refusals)

    async def _submissions(
        self, broadcast: Broadcast, recipients: Sequence[BroadcastRecipient]
    ) -> tuple[list[Line], list[Refusal], int]:
        """Render the texts of recipients, from the first on, and the number of the last one of them."""
        rules = self._catalog.types.get(broadcast.type)
        if rules is None:
            raise TypeNotConfigured(f"type {broadcast.type} is not configured: add it to herald.toml")
        lines: list[Line] = []
        refusals: list[Refusal] = []
        try:
            message = Message(broadcast.body, broadcast.title)
        except TemplateRefused as error:
            refusals = [Refusal(r.number, "template_failed", str(error), "/data") for r in recipients]
            return lines, refusals, recipients[-1].number
        fuel = chars = 0
        for recipient in recipients:
            if refusal := self._number_refused(broadcast, recipient):
                refusals.append(refusal)
                continue
            try:
                line = Line(recipient.number, self._submission(broadcast, rules, recipient, message))
                lines.append(line)
                chars += len(line.submission.body or "")
            except (RenderingFailed, UnstorableText) as error:
                code = error.code if isinstance(error, RenderingFailed) else "template_failed"
                refusals.append(Refusal(recipient.number, code, str(error), "/data"))
            if chars >= CHUNK_CHARS_MAX:
                return lines, refusals, recipient.number
            fuel += message.fuel + _RECIPIENT_FUEL
            if fuel >= _FUEL_AT_ONCE:
                fuel = 0
                await asyncio.sleep(0)
        return lines, refusals, recipients[-1].number

    def _number_refused(self, broadcast: Broadcast, recipient: BroadcastRecipient) -> Refusal | None:
        """The refusal of a recipient whose line has a number that SMS may not go to."""
        number = (recipient.addresses or {}).get(Channel.SMS)
        if number is None or Channel.SMS not in broadcast.channels:
            return None
        policy = self._catalog.sms.of(broadcast.tenant)
        refusal = policy.refusal_of(number)
        return Refusal(recipient.number, refusal, policy.explain(refusal), "/to/sms") if refusal else None

    def _submission(
        self, broadcast: Broadcast, rules: NotificationType, recipient: BroadcastRecipient, message: Message
    ) -> Submission:
        data: dict[str, Any] = {**broadcast.data, **(recipient.data or {}), "user_id": recipient.user_id}
        body, title = message.render(data)
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
            body=refuse_unstorable(body),
            title=refuse_unstorable(title) if title else None,
            to_sms=to.get(Channel.SMS),
            to_email=to.get(Channel.EMAIL),
            to_push=to.get(Channel.PUSH),
            to_whatsapp=to.get(Channel.WHATSAPP),
            metadata=broadcast.metadata,
            expires_at=broadcast.expires_at,
            expires_s=rules.expires_s,
            scrub=rules.scrub_when_final,
            private_metadata=rules.private_keys(broadcast.metadata),
            broadcast_id=broadcast.id,
            dedicated_workflow=needs_workflow(rules, broadcast.strategy),
        )


def _sqlstate(error: BaseException) -> str:
    return error.sqlstate if isinstance(error, asyncpg.PostgresError) and error.sqlstate else "unknown"
