"""What each route needs: a scope, and whose key. A route without an entry stops the start."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from fastapi import Request

from api.problems import Problem
from domain.access import Caller, Scope, is_tenant

TENANT_HEADER: Final = "Herald-Tenant"
_RAW_HEADER: Final = TENANT_HEADER.lower().encode()


class Whose(StrEnum):
    """Whose key a route needs."""

    TENANT = "tenant"
    """A tenant's, or the installation's together with a Herald-Tenant header."""
    INSTALLATION = "installation"
    """The installation's: the route concerns every tenant."""
    EITHER = "either"
    """Any key: the route itself distinguishes what it shows and does."""


@dataclass(frozen=True, slots=True)
class Access:
    """What a route needs."""

    scope: Scope
    whose: Whose = Whose.TENANT


_READ: Final = Access(Scope.READ)
_SEND: Final = Access(Scope.SEND)
_OPERATE: Final = Access(Scope.OPERATE)
_ADMIN: Final = Access(Scope.ADMIN, Whose.EITHER)

ACCESS: Final[Mapping[tuple[str, str], Access]] = {
    ("POST", "/notifications"): _SEND,
    ("POST", "/notifications/batch"): _SEND,
    ("GET", "/notifications"): _READ,
    ("GET", "/notifications/{id}"): _READ,
    ("GET", "/notifications/{id}/attempts"): _READ,
    ("GET", "/notifications/{id}/timeline"): _READ,
    ("POST", "/notifications/{id}/cancel"): _SEND,
    ("POST", "/broadcasts"): _SEND,
    ("PUT", "/broadcasts/{id}/audience"): _SEND,
    ("GET", "/broadcasts"): _READ,
    ("GET", "/broadcasts/{id}"): _READ,
    ("GET", "/broadcasts/{id}/refused"): _READ,
    ("POST", "/broadcasts/{id}/pause"): _SEND,
    ("POST", "/broadcasts/{id}/resume"): _SEND,
    ("POST", "/broadcasts/{id}/cancel"): _SEND,
    ("PUT", "/users/{user_id}/contacts"): _SEND,
    ("GET", "/users/{user_id}/contacts"): _READ,
    ("PUT", "/users/{user_id}/devices"): _SEND,
    ("GET", "/users/{user_id}/devices"): _READ,
    ("PUT", "/users/{user_id}/preferences"): _SEND,
    ("GET", "/users/{user_id}/preferences"): _READ,
    ("GET", "/suppressions"): _READ,
    ("POST", "/suppressions"): _OPERATE,
    ("DELETE", "/suppressions"): _OPERATE,
    ("GET", "/dead-letters"): _READ,
    ("POST", "/dead-letters/replay"): _OPERATE,
    ("POST", "/dead-letters/{id}/retry"): _OPERATE,
    ("POST", "/dead-letters/{id}/discard"): _OPERATE,
    ("GET", "/audit"): _ADMIN,
    ("GET", "/limits"): _READ,
    ("POST", "/keys"): _ADMIN,
    ("GET", "/keys"): _ADMIN,
    ("DELETE", "/keys/{prefix}"): _ADMIN,
    ("GET", "/providers"): Access(Scope.READ, Whose.INSTALLATION),
    ("PATCH", "/providers/{name}"): Access(Scope.OPERATE, Whose.INSTALLATION),
}
"""By method and path below /v1. Routes without a key (callbacks, unsubscribe links) are not keyed routes."""


def access_of(methods: Collection[str], path: str) -> Access:
    """What the route with this path needs. Raises LookupError, which stops the start, if nobody said."""
    (method,) = methods
    try:
        return ACCESS[method, path.removeprefix("/v1")]
    except KeyError:
        raise LookupError(f"{method} {path} has no entry in ACCESS (api/access.py)") from None


def admit(caller: Caller, access: Access, request: Request) -> str | None:
    """The tenant for which the request acts; None: for the installation. Raises Problem (400, 403)."""
    if access.scope not in caller.scopes:
        raise scope_missing(caller, access.scope)
    named = _named(request)
    if named is None and access.whose is Whose.TENANT and caller.tenant is not None:
        return caller.tenant
    return _tenant(caller, access, named)


def require(caller: Caller, scope: Scope, what: str) -> None:
    """Refuse a part of a request that needs one more scope. Raises Problem (403)."""
    if scope not in caller.scopes:
        raise scope_missing(caller, scope, what)


def scope_missing(caller: Caller, scope: Scope, what: str = "This request") -> Problem:
    """Build the problem for a key that lacks a scope."""
    has = ", ".join(known for known in Scope if known in caller.scopes) or "none"
    return Problem(
        403,
        "scope_missing",
        f"{what} needs a key with the scope `{scope}`; this key has: {has}. Create another key with "
        f"`herald keys create … --scope {scope}` or POST /v1/keys: a key's scopes cannot be changed.",
    )


def _named(request: Request) -> str | None:
    """The tenant in the request's header, from the raw list: a look-up in `headers` costs more.

    Raises Problem (400) if there are several.
    """
    named = None
    for name, value in request.scope["headers"]:
        if name == _RAW_HEADER:
            if named is not None:
                raise Problem(400, "tenant_invalid", f"There are several {TENANT_HEADER} headers.")
            named = value.decode("latin-1")
    return named


def _tenant(caller: Caller, access: Access, named: str | None) -> str | None:
    if caller.tenant is not None:
        if access.whose is Whose.INSTALLATION:
            raise Problem(
                403,
                "installation_key_needed",
                "This concerns every tenant, so it needs a key of the installation; this is a key of the "
                f"tenant {caller.tenant}. Create one with `herald keys create --installation "
                f"--scope {access.scope}`.",
            )
        if named not in (None, caller.tenant):
            raise Problem(
                403,
                "tenant_differs",
                f"This is a key of the tenant {caller.tenant}. Only a key of the installation may name "
                f"another tenant in the {TENANT_HEADER} header.",
            )
        return caller.tenant
    if named is None and access.whose is Whose.TENANT:
        raise Problem(
            400,
            "tenant_missing",
            f"This is a key of the installation: name the tenant in the {TENANT_HEADER} header.",
        )
    if named is not None and not is_tenant(named):
        # Not `test:NAME` either: what happens there is left to test keys.
        raise Problem(400, "tenant_invalid", f"The {TENANT_HEADER} header is not the name of a tenant.")
    return named
