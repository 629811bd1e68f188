"""Who calls the API, and what a key allows."""

import re
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Final

TENANT: Final = r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}"
"""A tenant's name. ASCII only: names that look alike must be alike. No colon: TEST_PREFIX has one."""
TEST_PREFIX: Final = "test:"
"""What the test keys of tenant `acme` do happens in `test:acme`, apart from everything of `acme`."""


class Scope(StrEnum):
    """What a key allows. No scope includes another."""

    SEND = "send"
    """Submit and cancel notifications and broadcasts, and write users' contacts, devices and preferences."""
    READ = "read"
    """Read notifications, broadcasts and users; addresses are masked."""
    READ_PII = "read:pii"
    """Read addresses in clear."""
    OPERATE = "operate"
    """Act on dead letters, suppressions and, with a key of the installation, providers."""
    ADMIN = "admin"
    """Create and revoke keys, and read the audit log."""


@dataclass(frozen=True, slots=True)
class Caller:
    """The holder of an API key.

    `key`: the key's public prefix. `tenant`: None for a key of the installation; `test:NAME` for a test key.
    `test`: its notifications reach simulated providers only. `expires_at`: of the key; None: never.
    """

    key: str
    name: str
    tenant: str | None
    scopes: frozenset[Scope]
    test: bool = False
    expires_at: datetime | None = None


ALL_SCOPES: Final = frozenset(Scope)


def is_tenant(name: str) -> bool:
    """Whether a tenant may have this name."""
    return re.fullmatch(TENANT, name) is not None


def is_test(tenant: str) -> bool:
    """Whether a stored tenant belongs to test keys, so that nothing of it may reach a vendor."""
    return tenant.startswith(TEST_PREFIX)
