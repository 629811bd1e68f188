"""The audit log: who did or read what, when and why."""

from typing import Annotated, Any, Self

from fastapi import APIRouter, Query
from pydantic import BaseModel, Field, TypeAdapter, ValidationError

from api.auth import ActsFor, KeyedRoute
from api.context import Ctx
from api.cursors import cursor_at, invalid_cursor, read_cursor
from api.fields import Address, Name, Shown, Time
from api.notifications import Limit
from api.problems import documented
from domain.audit import Action, StoredEntry
from storage.audit_queries import AuditFilter, AuditPosition

router = APIRouter(
    prefix="/audit", tags=["audit"], route_class=KeyedRoute, responses=documented(401, 422, 503)
)

_SEQUENCE = TypeAdapter(Annotated[int, Field(gt=0, lt=2**63)])


class AuditEntryView(BaseModel):
    """One act or reading. `actor`: `key:` and the prefix of an API key, `cli:` and the user of a command that
    wrote to the database itself, or `temporal`. `tenant`: whose object it is about; null: the installation's.
    `subject`: a provider's name, an id or a masked address. `hash` and `previous_hash` chain the entries.
    """

    sequence: int
    at: Shown
    actor: str = Field(examples=["key:1f0c2b7a"])
    actor_name: str
    tenant: str | None
    action: str = Field(examples=["provider.drain"])
    subject: str
    before: dict[str, Any] | None
    after: dict[str, Any] | None
    reason: str | None
    request_id: str | None
    previous_hash: str
    hash: str

    @classmethod
    def of(cls, entry: StoredEntry) -> Self:
        """Build the view of a stored entry."""
        origin = entry.origin
        return cls(
            sequence=entry.sequence,
            at=entry.at,
            actor=origin.actor,
            actor_name=origin.name,
            tenant=origin.tenant,
            action=entry.action,
            subject=entry.subject,
            before=dict(entry.before) if entry.before is not None else None,
            after=dict(entry.after) if entry.after is not None else None,
            reason=origin.reason,
            request_id=origin.request_id,
            previous_hash=entry.previous.hex(),
            hash=entry.hash.hex(),
        )


class AuditPage(BaseModel):
    """Entries, newest first. `next_cursor` requests the next page; it is null on the last one."""

    entries: list[AuditEntryView]
    next_cursor: str | None = None


@router.get("", summary="List audit entries")
async def list_audit(
    acts_for: ActsFor,
    ctx: Ctx,
    about: Annotated[
        Name | None, Query(alias="tenant", description="Only about this tenant's objects.")
    ] = None,
    actor: Annotated[Name | None, Query(description="For example `key:1f0c2b7a` or `cli:ada`.")] = None,
    action: Annotated[Action | None, Query()] = None,
    subject: Annotated[Address | None, Query()] = None,
    since: Annotated[Time | None, Query()] = None,
    until: Annotated[Time | None, Query()] = None,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Limit = 50,
) -> AuditPage:
    """List the audit log, newest first. A tenant's key sees the entries about its tenant only."""
    if acts_for is not None and about not in (None, acts_for):
        return AuditPage(entries=[])
    matching = AuditFilter(acts_for or about, actor, action, subject, since, until)
    found = await ctx.audit_reader.page(matching, limit + 1, _position(cursor) if cursor else None)
    last = found[limit - 1] if len(found) > limit else None
    return AuditPage(
        entries=[AuditEntryView.of(entry) for entry in found[:limit]],
        next_cursor=cursor_at(last.at, last.sequence) if last else None,
    )


def _position(cursor: str) -> AuditPosition:
    at, name = read_cursor(cursor)
    try:
        return AuditPosition(at, _SEQUENCE.validate_python(name))
    except ValidationError:
        raise invalid_cursor() from None
