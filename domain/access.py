"""Who calls the API, and what a key allows."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Final


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

    `key`: the key's public prefix. `tenant`: None for a key of the installation. `test`: its notifications
    reach simulated providers only.
    """

    key: str
    name: str
    tenant: str | None
    scopes: frozenset[Scope]
    test: bool = False


ALL_SCOPES: Final = frozenset(Scope)
