"""Uploads of a broadcast's audience."""

import hashlib
import hmac
from collections.abc import Iterator
from email.message import Message
from typing import Annotated, Final
from uuid import UUID

from fastapi import APIRouter, Query, Request
from starlette.requests import ClientDisconnect

from api import audience
from api.auth import StreamedRoute, Tenant
from api.broadcast_models import BroadcastView
from api.broadcasts import find, view_of, wrong_state
from api.context import Context, Uses
from api.limits import drain
from api.problems import FieldError, Problem, documented
from domain.broadcasts import RECIPIENTS_MAX, Recipient, Refusal

LINES_AT_ONCE: Final = 250
REFUSED_MAX: Final = 10_000
SHOWN_MAX: Final = 20
"""Maximum refused lines in the answer to an upload that is refused as a whole."""

router = APIRouter(tags=["broadcasts"], route_class=StreamedRoute, responses=documented(401, 503))


@router.put(
    "/broadcasts/{id}/audience",
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
    uses: Uses,
    refused_max: Annotated[
        int, Query(ge=0, le=REFUSED_MAX, description="With more refused lines nothing is taken.")
    ] = REFUSED_MAX,
) -> BroadcastView:
    """Upload the audience of a draft, as CSV or NDJSON, one recipient a line; the broadcast begins.

    It is read as it comes. A line that cannot be used is refused with its number and reason, and the others
    are taken. An upload that is cut short counts for nothing: send it again. The same one again changes
    nothing.
    """
    reader = audience.reader(_media_type(request))
    number = await uses.broadcasts.begin_upload(tenant, id)
    if number is None:
        return await _replayed(uses, tenant, id, request)
    read = _Upload(uses, id, number, refused_max)
    try:
        async for chunk in request.stream():
            await read.take(chunk, reader.feed(chunk))
        await read.take(b"", reader.finish())
        await read.store()
    except ClientDisconnect:
        raise Problem(400, "audience_cut_short", "The upload was cut short. Send it again.") from None
    except Problem:
        await drain(request.receive)
        raise
    if not read.total:
        raise read.problem("audience_empty", "No line of the upload could be used.")
    ended = await uses.broadcasts.end_upload(id, number, read.total, read.refused_count, read.digest)
    if not ended:
        raise wrong_state("Another upload began, or it was decided on meanwhile.")
    return view_of(uses, await find(uses, tenant, id))


class _Upload:
    """What an upload has brought so far: stored in batches, the first few refusals kept for the answer."""

    def __init__(self, uses: Context, id: UUID, number: int, refused_max: int) -> None:
        self._uses = uses
        self._id = id
        self._number = number
        self._refused_max = refused_max
        self._hash = hashlib.sha256()
        self._recipients: list[Recipient] = []
        self._refusals: list[Refusal] = []
        self._first: list[Refusal] = []
        self.taken = 0
        self.refused_count = 0

    @property
    def total(self) -> int:
        """How many lines are something; none when no recipient is among them."""
        return self.taken + self.refused_count if self.taken else 0

    @property
    def digest(self) -> bytes:
        """Of all bytes so far."""
        return self._hash.digest()

    async def take(self, chunk: bytes, lines: Iterator[audience.Read]) -> None:
        """Take the lines that these bytes made whole. Raises Problem (422) when too many are refused."""
        self._hash.update(chunk)
        for line in lines:
            if isinstance(line, Recipient):
                self._recipients.append(line)
                self.taken += 1
            else:
                self._refusals.append(line)
                self.refused_count += 1
                if len(self._first) < SHOWN_MAX:
                    self._first.append(line)
            if self.refused_count > self._refused_max:
                message = f"More than {self._refused_max} lines cannot be used: nothing was taken."
                raise self.problem("audience_refused", message)
            if self.taken > RECIPIENTS_MAX:
                raise self.problem("too_long", f"At most {RECIPIENTS_MAX} recipients.")
            if len(self._recipients) + len(self._refusals) >= LINES_AT_ONCE:
                await self.store()

    async def store(self) -> None:
        """Store what is not stored yet."""
        recipients, self._recipients = self._recipients, []
        refusals, self._refusals = self._refusals, []
        await self._uses.broadcasts.put(self._id, self._number, recipients, refusals)

    def problem(self, code: str, detail: str) -> Problem:
        """Why the upload counts for nothing, with the first lines that were refused."""
        errors = [FieldError(f"/line/{r.no}{r.pointer}", r.code, r.message) for r in self._first]
        return Problem(422, code, detail, errors=errors)


async def _replayed(uses: Context, tenant: str, id: UUID, request: Request) -> BroadcastView:
    """The answer to an upload of what is no draft: the broadcast, if this is its audience once more."""
    broadcast = await find(uses, tenant, id)
    if broadcast.digest is None:
        await drain(request.receive)
        raise wrong_state(f"Its audience is a {broadcast.audience}, and it is {broadcast.state}.")
    hash = hashlib.sha256()
    async for chunk in request.stream():
        hash.update(chunk)
    if not hmac.compare_digest(hash.digest(), broadcast.digest):
        raise wrong_state("It has its audience, and this is another one.")
    return view_of(uses, broadcast)


def _media_type(request: Request) -> str:
    """What the body is declared as. Raises Problem (400) for another charset than UTF-8."""
    declared = Message()
    declared["content-type"] = request.headers.get("content-type", "")
    if declared.get_content_charset("utf-8") not in ("utf-8", "utf8"):
        raise Problem(400, "charset", "Send the audience in UTF-8.")
    return declared.get_content_type()
