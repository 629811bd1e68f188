"""Uploading a broadcast's audience: a stream of CSV or NDJSON, stored as it is read."""

import hashlib
from collections.abc import Iterator
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from api import audience
from api.acts import ActingIfOperator, AuditedRoute
from api.auth import StreamedRoute, Tenant
from api.body_limit import discard
from api.broadcast_models import BroadcastView
from api.broadcasts import load, load_view, view_of, wrong_status
from api.context import AppContext, Ctx
from api.media_types import declared, is_utf_8
from api.problems import FieldError, Problem, documented
from api.turns import Turns
from domain.audit import Action, AuditEntry, Value
from domain.broadcasts import RECIPIENTS_MAX, BroadcastRecipient, BroadcastStatus, Refusal
from domain.fingerprint import is_upload, upload_digest
from storage.broadcasts import end_upload
from storage.postgres import Connection

LINES_AT_ONCE: Final = 250
STORED_BYTES_AT_ONCE: Final = 131_072
"""Lines are stored after this many bytes, too: 250 long ones would take long to encode."""
BYTES_AT_ONCE: Final = 16_384
"""How much is read before other requests may run: it can be thousands of empty lines."""
REFUSED_MAX: Final = 10_000
SHOWN_MAX: Final = 20
"""How many refused lines the error names when a whole upload is refused."""


class AuditedUploadRoute(AuditedRoute, StreamedRoute):
    """An audited route that streams its body itself."""


router = APIRouter(tags=["broadcasts"], route_class=AuditedUploadRoute, responses=documented(401, 503))


@router.put(
    "/broadcasts/{id}/audience",
    summary="Upload an audience",
    responses=documented(400, 404, 408, 409, 413, 422),
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                audience.CSV: {
                    "schema": {"type": "string"},
                    "example": "user_id,to_sms,name\nuser-42,,Ada\nuser-43,+2348031236789,Bola\n",
                },
                audience.NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"user_id": "user-42", "data": {"name": "Ada"}}\n',
                },
            },
        }
    },
)
async def upload(
    id: UUID,
    request: Request,
    tenant: Tenant,
    ctx: Ctx,
    origin: ActingIfOperator,
    refused_max: Annotated[
        int,
        Query(
            ge=0,
            le=REFUSED_MAX,
            description="With more refused lines than this, the whole upload is refused.",
        ),
    ] = REFUSED_MAX,
) -> BroadcastView:
    """Upload the audience of a draft as CSV or NDJSON, one recipient a line, and start the broadcast.

    The body is read as a stream. A line that cannot be used is refused with its number and reason; the others
    are accepted. An upload that is cut short has no effect: send it again. Repeating a complete one changes
    nothing.
    """
    reader = audience.reader(_media_type(request))
    number = await ctx.broadcasts.begin_upload(tenant, id)
    if number is None:
        return await _replayed(ctx, tenant, id, request)
    read = _Upload(ctx, id, number, refused_max)
    try:
        async for chunk in request.stream():
            for start in range(0, len(chunk), BYTES_AT_ONCE):
                part = chunk[start : start + BYTES_AT_ONCE]
                await read.take(part, reader.feed(part))
        await read.take(b"", reader.finish())
        await read.store()
    except ClientDisconnect:
        raise Problem(400, "audience_cut_short", "The upload was cut short. Send it again.") from None
    except Problem:
        await discard(request.scope, request.receive)
        raise
    if not read.total:
        raise read.problem("audience_empty", "The upload has no usable line.")

    async def act(connection: Connection) -> tuple[bool, list[AuditEntry]]:
        if not await end_upload(connection, id, number, read.total, read.refused_count, read.digest):
            return False, []
        before = {"status": BroadcastStatus.DRAFT.value}
        after: dict[str, Value] = {"status": BroadcastStatus.RUNNING.value, "recipients": read.taken}
        return True, [origin.entry(Action.BROADCAST_START, str(id), before, after)]

    if not await ctx.audit.perform(act):
        raise wrong_status("Another upload started, or the broadcast was cancelled, in the meantime.")
    return await load_view(ctx, tenant, id)


class _Upload:
    """An upload in progress: lines are stored in portions, the first refusals kept for the error."""

    def __init__(self, ctx: AppContext, id: UUID, number: int, refused_max: int) -> None:
        self._ctx = ctx
        self._id = id
        self._number = number
        self._refused_max = refused_max
        self._hash = hashlib.sha256()
        self._turns = Turns()
        self._recipients: list[BroadcastRecipient] = []
        self._refusals: list[Refusal] = []
        self._first: list[Refusal] = []
        self._unstored_bytes = 0
        self.taken = 0
        self.refused_count = 0

    @property
    def total(self) -> int:
        """The number of recipients and refused lines; 0 if there is no recipient."""
        return self.taken + self.refused_count if self.taken else 0

    @property
    def digest(self) -> bytes:
        """By which the same bytes are recognised; nobody without the keys can try what they may have been."""
        return upload_digest(self._ctx.fingerprint_keys, self._hash.digest())

    async def take(self, chunk: bytes, lines: Iterator[audience.ParsedLine]) -> None:
        """Take the lines that these bytes completed. Raises Problem (422) when too many are refused."""
        self._hash.update(chunk)
        await self._turns.give()
        self._unstored_bytes += len(chunk)
        for line in lines:
            if isinstance(line, BroadcastRecipient):
                self._recipients.append(line)
                self.taken += 1
            else:
                self._refusals.append(line)
                self.refused_count += 1
                if len(self._first) < SHOWN_MAX:
                    self._first.append(line)
            if self.refused_count > self._refused_max:
                message = f"More than {self._refused_max} lines were refused: nothing was accepted."
                raise self.problem("audience_refused", message)
            if self.taken > RECIPIENTS_MAX:
                raise self.problem("too_long", f"An audience has at most {RECIPIENTS_MAX} recipients.")
            if len(self._recipients) + len(self._refusals) >= LINES_AT_ONCE:
                await self.store()
            await self._turns.give()
        if self._unstored_bytes >= STORED_BYTES_AT_ONCE:
            await self.store()

    async def store(self) -> None:
        """Store the lines that are not stored yet."""
        self._unstored_bytes = 0
        recipients, self._recipients = self._recipients, []
        refusals, self._refusals = self._refusals, []
        if recipients or refusals:
            await self._ctx.broadcasts.put(self._id, self._number, recipients, refusals)

    def problem(self, code: str, detail: str) -> Problem:
        """Build the problem that refuses the whole upload, with the first refused lines."""
        errors = [FieldError(f"/line/{r.number}{r.pointer}", r.code, r.message) for r in self._first]
        return Problem(422, code, detail, errors=errors)


async def _replayed(ctx: AppContext, tenant: str, id: UUID, request: Request) -> BroadcastView:
    """Answer an upload to a broadcast that is not a draft: return it if this is its audience again."""
    broadcast = await load(ctx, tenant, id)
    if broadcast.digest is None:
        await discard(request.scope, request.receive)
        raise wrong_status(
            f"This broadcast does not accept an upload: its status is {broadcast.status}, its audience "
            f"{broadcast.audience}. Create one with an uploaded audience and upload while it is a draft."
        )
    digest = hashlib.sha256()
    async for chunk in request.stream():
        digest.update(chunk)
    if not is_upload(ctx.fingerprint_keys, broadcast.digest, digest.digest()):
        raise wrong_status("The broadcast already has a different audience.")
    return view_of(ctx, broadcast)


def _media_type(request: Request) -> str:
    """Return the declared media type. Raises Problem (400) for a charset other than UTF-8."""
    media_type, charset = declared(request.headers.get("content-type", ""))
    if not is_utf_8(charset):
        raise Problem(400, "charset", "Send the audience in UTF-8.")
    return media_type
