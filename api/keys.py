"""API keys over REST. The first one comes from the command line: `herald keys create`."""

from datetime import UTC, datetime
from typing import Annotated, Self

from fastapi import APIRouter, Path, Query, Response
from pydantic import BaseModel, ConfigDict, Field

from api.acts import Acting, AuditedRoute
from api.auth import ActsFor, KeyHolder, revoked
from api.bodies import Body
from api.context import Ctx
from api.cursors import cursor_at, invalid_cursor, read_cursor
from api.fields import Request, Shown, Storable, Time, Title
from api.problems import FieldError, Problem, documented, invalid
from delivery import key_commands as commands
from domain.access import TENANT, TEST_PREFIX, Caller, Scope
from storage import api_keys
from storage.api_keys import ApiKey, KeysOf, NoTestKeysYet

router = APIRouter(
    prefix="/keys", tags=["keys"], route_class=AuditedRoute, responses=documented(401, 422, 503)
)


class KeyIn(Request):
    """A key to create. It may have the scopes of the key that creates it, and no other.

    `tenant`: a key of the installation creates one for this tenant or, without it, one of the installation.
    A tenant's key creates keys of its tenant. `test`: what is sent with it reaches simulated providers only.
    """

    model_config = ConfigDict(
        json_schema_extra={"examples": [{"name": "checkout", "scopes": ["send", "read"], "test": True}]}
    )

    name: Annotated[Title, Field(max_length=100, description="A label that says what the key is for.")]
    scopes: Annotated[list[Scope], Field(min_length=1, max_length=len(Scope))]
    tenant: Annotated[str, Field(pattern=f"^{TENANT}$"), Storable] | None = None
    test: bool = False
    expires_at: Time | None = Field(default=None, description="When it stops working. Default: never.")


class KeyView(BaseModel):
    """A key without its secret. `tenant`: null for a key of the installation. `created_by`: the prefix of the
    key that created it; null for the command line. `last_used_at` is exact to about a minute.
    """

    prefix: str = Field(examples=["0a1b2c3d"])
    name: str
    tenant: str | None
    test: bool
    scopes: list[Scope]
    created_at: Shown
    created_by: str | None
    expires_at: Shown | None
    last_used_at: Shown | None
    revoked_at: Shown | None

    @classmethod
    def of(cls, stored: ApiKey, **more: str) -> Self:
        """Build the view of a stored key."""
        return cls(
            prefix=stored.prefix,
            name=stored.name,
            tenant=stored.tenant,
            test=stored.test,
            scopes=[scope for scope in Scope if scope in stored.scopes],
            created_at=stored.created_at,
            created_by=stored.created_by,
            expires_at=stored.expires_at,
            last_used_at=stored.last_used_at,
            revoked_at=stored.revoked_at,
            **more,
        )


class NewKeyView(KeyView):
    """A key that was just created. `key` is shown this once."""

    key: str


class KeyPage(BaseModel):
    """Keys, newest first. `next_cursor` requests the next page; it is null on the last one."""

    keys: list[KeyView]
    next_cursor: str | None = None


@router.post("", summary="Create a key", status_code=201, responses=documented(409))
async def create_key(
    body: Body[KeyIn], caller: KeyHolder, acts_for: ActsFor, ctx: Ctx, origin: Acting
) -> NewKeyView:
    """Create a key, and show its secret once. 403 `scope_missing`: the key that creates it lacks a scope;
    403 `key_outlives_creator`: it expires earlier.
    """
    tenant, test = _owner(body, acts_for)
    if body.expires_at is not None and body.expires_at <= datetime.now(UTC):
        raise invalid([FieldError("/expires_at", "in_the_past", "this time has passed")])
    _refuse_outliving(caller, body.expires_at)
    if lacking := [scope for scope in body.scopes if scope not in caller.scopes]:
        raise Problem(
            403,
            "scope_missing",
            f"This key lacks {', '.join(lacking)}: a key cannot grant what it does not allow itself. Use a "
            "key with these scopes, or `herald keys create`.",
            errors=[FieldError("/scopes", "scope_missing", f"the creating key lacks {', '.join(lacking)}")],
        )
    try:
        key, clear = await commands.create_key(
            ctx.audit,
            tenant,
            body.name,
            set(body.scopes),
            test=test,
            expires_at=body.expires_at,
            created_by=caller.key,
            origin=origin,
        )
    except commands.CreatorNotValid:
        raise revoked() from None
    except NoTestKeysYet as error:
        raise Problem(409, "no_test_keys_yet", f"{error}.") from None
    return NewKeyView.of(key, key=clear)


@router.get("", summary="List keys")
async def list_keys(
    acts_for: ActsFor,
    ctx: Ctx,
    cursor: Annotated[str | None, Query(description="`next_cursor` of the previous page.")] = None,
    limit: Annotated[int, Query(ge=1, le=200)] = 50,
) -> KeyPage:
    """List keys, newest first, also revoked and expired ones: the tenant's, or with a key of the
    installation all, or those of the tenant in its Herald-Tenant header.
    """
    after = _position(cursor) if cursor else None
    found = await api_keys.list_page(ctx.pool, limit + 1, after, _reach(acts_for))
    last = found[limit - 1] if len(found) > limit else None
    return KeyPage(
        keys=[KeyView.of(key) for key in found[:limit]],
        next_cursor=cursor_at(last.created_at, last.prefix) if last else None,
    )


@router.delete("/{prefix}", summary="Revoke a key", status_code=204, responses=documented(404))
async def revoke_key(
    prefix: Annotated[str, Path(max_length=64, description="The key's `prefix`.")],
    acts_for: ActsFor,
    ctx: Ctx,
    origin: Acting,
) -> Response:
    """Revoke a key. Every API process refuses it within two seconds."""
    if not await commands.revoke_key(ctx.audit, prefix, origin, _reach(acts_for)):
        raise Problem(404, "key_not_found", "There is no valid key with this prefix.")
    return Response(status_code=204)


def _refuse_outliving(caller: Caller, expires_at: datetime | None) -> None:
    """Raise Problem (403) for an expiry that is after the creating key's: it would never end."""
    latest = caller.expires_at
    if latest is not None and (expires_at is None or expires_at > latest):
        raise Problem(
            403,
            "key_outlives_creator",
            f"This key expires at {latest:%Y-%m-%dT%H:%M:%SZ}, and a key that it creates cannot be valid "
            "longer: set `expires_at`, or use another key.",
            errors=[FieldError("/expires_at", "too_late", "it is after the creating key's expiry")],
        )


def _owner(body: KeyIn, acts_for: str | None) -> tuple[str | None, bool]:
    """The tenant of the new key, and whether it is a test key. Raises Problem (403, 422)."""
    test = body.test
    if acts_for is None:
        if test and body.tenant is None:
            message = "a test key belongs to a tenant: name it"
            raise invalid([FieldError("/tenant", "required", message)])
        return body.tenant, test
    own = acts_for.removeprefix(TEST_PREFIX)
    if body.tenant not in (None, own):
        raise Problem(
            403,
            "tenant_differs",
            f"This key creates keys of the tenant {own} only; others need a key of the installation.",
            errors=[FieldError("/tenant", "tenant_differs", f"expected {own}, or no tenant")],
        )
    # A test key creates test keys only.
    if acts_for != own and "test" in body.model_fields_set and not test:
        message = "a test key creates test keys only"
        raise invalid([FieldError("/test", "test_only", message)])
    return own, test or acts_for != own


def _reach(acts_for: str | None) -> KeysOf:
    """The keys that a request may see and revoke."""
    if acts_for is None:
        return KeysOf()
    own = acts_for.removeprefix(TEST_PREFIX)
    return KeysOf(own, test_only=acts_for != own)


def _position(cursor: str) -> tuple[datetime, str]:
    at, prefix = read_cursor(cursor)
    if not prefix.isalnum():
        raise invalid_cursor()
    return at, prefix
