"""The audit log: what is recorded of each act of an operator and each reading in clear, and how entries are
chained.

Each entry's hash covers the entry and the hash before it. It is keyed, so that nobody can make a valid entry
with access to the database alone.
"""

import hmac
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum
from typing import Final, TypeAlias

GENESIS: Final = bytes(32)
"""What the first entry follows, in place of a hash."""
REASON_CHARS_MAX: Final = 500

Value: TypeAlias = "str | int | bool | Sequence[str] | Mapping[str, str] | None"
Details: TypeAlias = Mapping[str, Value]
"""What an act changed: statuses, ids, counts and masked addresses. It has no fractions, which Postgres may
spell in another way.
"""


class Action(StrEnum):
    """What was done or read. The names are stored: they never change. Listed in docs/audit.md."""

    PROVIDER_DRAIN = "provider.drain"
    """A provider was drained."""
    PROVIDER_ACTIVATE = "provider.activate"
    """A drained provider was activated again."""
    DEAD_LETTER_RETRY = "dead_letter.retry"
    """A dead letter was sent again, or an unknown outcome was decided."""
    DEAD_LETTER_DISCARD = "dead_letter.discard"
    """A dead letter was closed without sending it."""
    DEAD_LETTER_REPLAY = "dead_letter.replay"
    """A dead letter was sent again as one of many; each of them has an entry, with the same request id."""
    NOTIFICATION_CANCEL = "notification.cancel"
    """A notification was cancelled with a key that may operate."""
    SUPPRESSION_ADD = "suppression.add"
    """An address was suppressed."""
    SUPPRESSION_REMOVE = "suppression.remove"
    """The suppression of an address was lifted."""
    BROADCAST_CREATE = "broadcast.create"
    """A broadcast was created. It starts at once unless its status is `draft`."""
    BROADCAST_START = "broadcast.start"
    """The audience of a draft was uploaded, which starts it."""
    BROADCAST_PAUSE = "broadcast.pause"
    """A broadcast was paused."""
    BROADCAST_RESUME = "broadcast.resume"
    """A paused broadcast was resumed."""
    BROADCAST_CANCEL = "broadcast.cancel"
    """A broadcast was cancelled."""
    KEY_CREATE = "key.create"
    """An API key was created."""
    KEY_REVOKE = "key.revoke"
    """An API key was revoked."""
    CONTACTS_READ = "contacts.read"
    """A user's addresses were read in clear."""
    DEVICES_READ = "devices.read"
    """A user's device tokens were read in clear."""
    SUPPRESSIONS_READ = "suppressions.read"
    """Suppressed addresses were read in clear."""
    MESSAGE_IDS_READ = "message_ids.read"
    """The message ids of a notification's attempts through WhatsApp, which contain the number, were read."""


@dataclass(frozen=True, slots=True)
class AuditEntry:
    """One act or reading. It holds no address, token or content in clear. For its origin, see Origin.

    `subject`: what it is about: a provider's name, an id, a masked address. `before`, `after`: what changed.
    """

    origin: "Origin"
    action: Action
    subject: str
    before: Details | None = None
    after: Details | None = None


@dataclass(frozen=True, slots=True)
class Origin:
    """Who acts or reads, and why.

    `actor`: `key:` and the prefix of the API key, or `cli:` and the operating system's user, for a command
    that writes to the database itself. `name`: the key's. `tenant`: whose objects; None: the installation's.
    """

    actor: str
    name: str
    tenant: str | None
    reason: str | None = None
    request_id: str | None = None

    @property
    def by(self) -> str:
        """The actor, as timelines name it."""
        return f"{self.actor} ({self.name})" if self.name else self.actor

    def entry(
        self, action: Action, subject: str, before: Details | None = None, after: Details | None = None
    ) -> AuditEntry:
        """Build the entry of an act or a reading of this origin."""
        return AuditEntry(self, action, subject, before, after)


@dataclass(frozen=True, slots=True)
class StoredEntry:
    """An entry in the log. `previous` is the hash of the entry before it. `action` may be one that only a
    newer release knows.
    """

    sequence: int
    at: datetime
    origin: Origin
    action: str
    subject: str
    before: Details | None
    after: Details | None
    previous: bytes
    hash: bytes


class ReasonMissing(Exception):
    """An act lacks the reason that the settings require."""


def justified(origin: Origin, *, required: bool) -> Origin:
    """The origin of an act. Raises ReasonMissing if a reason is `required` and there is none."""
    if required and not origin.reason:
        raise ReasonMissing
    return origin


class ChainBroken(Exception):
    """The log is not as it was written. `sequence` is the first entry that is wrong."""

    def __init__(self, sequence: int, detail: str) -> None:
        super().__init__(detail)
        self.sequence = sequence


def chain_key(secret: str) -> bytes:
    """The key of the hashes, derived from the installation's secret key."""
    return hmac.digest(secret.encode(), b"herald audit log 1", "sha256")


def linked(
    key: bytes, entries: Sequence[AuditEntry], sequence: int, previous: bytes, at: datetime
) -> list[StoredEntry]:
    """The entries as they follow entry `sequence` of the log, whose hash is `previous`."""
    stored: list[StoredEntry] = []
    for number, entry in enumerate(entries, sequence + 1):
        what = (entry.action.value, entry.subject, entry.before, entry.after)
        unsigned = StoredEntry(number, at, entry.origin, *what, previous, b"")
        stored.append(replace(unsigned, hash=_hash(key, unsigned)))
        previous = stored[-1].hash
    return stored


def _hash(key: bytes, entry: StoredEntry) -> bytes:
    origin = entry.origin
    fields = [
        *(entry.sequence, entry.at.astimezone(UTC).isoformat(timespec="microseconds")),
        *(origin.actor, origin.name, origin.tenant, entry.action, entry.subject, entry.before, entry.after),
        *(origin.reason, origin.request_id),
    ]
    text = json.dumps(fields, sort_keys=True, separators=(",", ":"))
    return hmac.digest(key, entry.previous + text.encode(), "sha256")


class ChainCheck:
    """Checks the log from its first entry: pass every entry in order, then call `finish`."""

    def __init__(self, key: bytes, expected: bytes | None = None) -> None:
        """`expected`: a hash that an entry of the log had."""
        self._key = key
        self._expected = expected
        self.expected_at: int | None = None
        self.last: StoredEntry | None = None

    def take(self, entry: StoredEntry) -> None:
        """Check the next entry. Raises ChainBroken."""
        sequence, previous = (self.last.sequence, self.last.hash) if self.last else (0, GENESIS)
        if entry.sequence <= sequence:
            raise ChainBroken(
                entry.sequence,
                f"entry {entry.sequence} was not written by this installation: numbers begin at 1 and do not "
                "repeat",
            )
        if entry.sequence != sequence + 1:
            raise ChainBroken(sequence + 1, _missing(sequence + 1, entry.sequence - 1))
        if not hmac.compare_digest(entry.hash, _hash(self._key, entry)):
            raise ChainBroken(
                entry.sequence,
                f"entry {entry.sequence} was changed, or was not written by this installation: its hash does "
                "not fit its content",
            )
        if entry.previous != previous:
            raise ChainBroken(
                entry.sequence,
                f"entry {entry.sequence} does not follow entry {sequence}: that one was replaced",
            )
        if entry.hash == self._expected:
            self.expected_at = entry.sequence
        self.last = entry

    def finish(self) -> None:
        """Raise ChainBroken if no entry has the expected hash: the end of the log was removed."""
        if self._expected is not None and self.expected_at is None:
            after = self.last.sequence if self.last else 0
            raise ChainBroken(
                after + 1,
                f"no entry has the hash {self._expected.hex()}: the entry that had it was removed, with "
                "all that followed it, or the hash is of another installation",
            )


def _missing(first: int, last: int) -> str:
    return f"entry {first} is missing" if first == last else f"entries {first} to {last} are missing"
