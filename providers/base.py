"""What every provider adapter offers, and what it is given. One file a vendor implements this."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import Protocol, runtime_checkable

from domain.notification import Channel, Content, Device, Lane, Target
from domain.outcome import AddressVerdict, Outcome, Receipt, SendResult
from domain.replies import Reply


class Resolves(StrEnum):
    """How an ambiguous send is resolved."""

    IDEMPOTENT = "idempotent"
    """The provider takes our key: sending again is the look-up."""
    LOOKUP = "lookup"
    """The provider can be asked which messages it has."""
    NONE = "none"
    """It cannot be resolved: the type's `on_unknown` decides."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one provider can do. The documentation's feature matrix is made from these.

    `settling_s`: how long after a send "not found" does not yet mean "not sent".
    `receipts`: whether delivery is reported later, by callback or by polling.
    `key_life_s`: for how long after the first request the vendor knows our key again (IDEMPOTENT only).
    `matches_by`: by what a look-up recognises our message, in words; empty where there is none.
    `replaces`: whether a second copy takes the place of the first where it is shown.
    `signature`: how callbacks are signed, in words; None: it sends none.
    `sandbox`: how it is tried without reaching anybody, in words; None: it cannot.
    """

    channel: Channel
    resolves: Resolves
    settling_s: float
    receipts: bool
    polls: bool
    key_life_s: float = 0.0
    matches_by: str = ""
    replaces: bool = False
    signature: str | None = None
    sandbox: str | None = None

    def __post_init__(self) -> None:
        """Raises ValueError for an idempotent provider that does not say for how long."""
        if (self.resolves is Resolves.IDEMPOTENT) != (self.key_life_s > 0):
            raise ValueError("key_life_s is declared exactly where the provider takes our key")


@dataclass(frozen=True, slots=True)
class Verdict:
    """What one of a vendor's codes means for a send: a row of the adapter's translation table.

    `about_provider`: whether a failure speaks about the provider's health (its circuit counts it), and not
    about this message or its recipient alone. `retry_after_s`: when to come back, in seconds, where the
    answer itself does not say.
    """

    outcome: Outcome
    address: AddressVerdict = AddressVerdict.KEEP
    about_provider: bool = True
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt as an adapter sees it.

    `attempt_ref` travels with the message wherever the vendor takes a reference; `callback_url` is
    where the vendor reports to (it already carries the reference). `intended_at` is the database's
    time of the intent, from which look-ups search. `unsubscribe_url` is where the recipient of a mail ends
    its kind (RFC 8058); None where they cannot. `lane`: how urgent it is, for vendors that tell degrees.
    """

    attempt_ref: str
    target: Target
    content: Content
    type: str
    expires_at: datetime
    intended_at: datetime
    callback_url: str | None = None
    unsubscribe_url: str | None = None
    lane: Lane = Lane.NORMAL


@dataclass(frozen=True, slots=True)
class Found:
    """A message that the provider has and that may be ours. `certain`: it carries our reference."""

    provider_message_id: str
    certain: bool
    receipt: Receipt | None = None


@dataclass(frozen=True, slots=True)
class CallbackRequest:
    """A callback as it came: nothing parsed, nothing trusted. Header names are lower case."""

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: datetime


class CallbackRefused(Exception):
    """The callback's signature, age or form is wrong. `code` is stable; nothing of it may be stored."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


class LookupFailed(Exception):
    """The provider could not be asked now. It says nothing about the message; ask again later."""


class Provider(Protocol):
    """A vendor's adapter: it builds a request, reads the answer and translates words. No policy.

    Every method that goes over the network takes `timeout_s`, the whole budget of the call (pool,
    connect, write, read), in seconds.
    """

    @property
    def name(self) -> str:
        """The provider's name in routes, settings, attempts and metrics."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this provider can do; it never changes."""
        ...

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask the vendor to send. Never raises for anything the network or the vendor does."""
        ...

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """The vendor's messages that may be this one. Raises LookupFailed when it could not be asked."""
        ...

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The latest report on an accepted message, None if there is none yet. Raises LookupFailed."""
        ...

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify a callback over its raw bytes and translate it. Raises CallbackRefused."""
        ...

    def address_of(self, device: Device) -> str | None:
        """The token by which this push provider reaches the device; None for other channels."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class Answered(Protocol):
    """An adapter whose vendor passes on what people answer, to the same address as its reports."""

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a callback over its raw bytes; what it says of such answers. Raises CallbackRefused."""
        ...


@runtime_checkable
class Challenged(Protocol):
    """An adapter whose vendor asks, with a GET of the callbacks' address, whether it is meant."""

    def challenge(self, query: Mapping[str, str]) -> str:
        """What the vendor is to be answered, as plain text. Raises CallbackRefused."""
        ...
