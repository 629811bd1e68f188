"""The interface of provider adapters, and what they work on."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum
from typing import ClassVar, Protocol, runtime_checkable

from domain.notification import Channel, Content, Device, Lane, Target
from domain.outcome import AddressVerdict, Match, Outcome, Receipt, SendResult
from domain.replies import Reply


class AmbiguityResolution(StrEnum):
    """How an ambiguous send is resolved."""

    IDEMPOTENT = "idempotent"
    """The provider has idempotency keys: repeating the request is the look-up."""
    LOOKUP = "lookup"
    """The provider's messages can be searched for ours."""
    NONE = "none"
    """It cannot be resolved: the type's `on_unknown` decides."""


@dataclass(frozen=True, slots=True)
class Capabilities:
    """What one provider can do. The feature matrix of the documentation is generated from it.

    `visibility_delay_s`: how long after a send "not found" does not prove "not sent".
    `receipts`: whether delivery is reported later, by callback or by polling.
    `key_life_s`: how long after the first request the vendor recognises our key (IDEMPOTENT only).
    `matches_by`: how a look-up finds our message, in words; empty without a look-up.
    `replaces`: whether a second copy replaces the first one on the device.
    `signature`: how callbacks are signed, in words; None: it sends none.
    `sandbox`: how to try it without reaching a recipient, in words; None: not possible.
    `simulated`: it reaches nobody, and carries what test keys send, and nothing else.
    """

    channel: Channel
    resolves: AmbiguityResolution
    visibility_delay_s: float
    receipts: bool
    polls: bool
    key_life_s: float = 0.0
    matches_by: str = ""
    replaces: bool = False
    signature: str | None = None
    sandbox: str | None = None
    simulated: bool = False

    def __post_init__(self) -> None:
        """Raises ValueError for a `key_life_s` without idempotency keys, or the other way round."""
        if (self.resolves is AmbiguityResolution.IDEMPOTENT) != (self.key_life_s > 0):
            raise ValueError("key_life_s must be set for providers with idempotency keys, and for no others")


@dataclass(frozen=True, slots=True)
class CodeMeaning:
    """What one of a vendor's codes means for a send: a row of the adapter's translation table.

    `about_provider`: whether a failure is about the provider's health (its circuit counts it), not only about
    this message or its recipient. `retry_after_s`: how long to wait, where the answer does not say.
    """

    outcome: Outcome
    address: AddressVerdict = AddressVerdict.KEEP
    about_provider: bool = True
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Message:
    """One attempt as an adapter sees it.

    `attempt_ref` goes with the message wherever the vendor accepts a reference; `callback_url` is where the
    vendor sends reports (it includes the reference). `intended_at` is the database's time of the intent,
    where look-ups start to search. `unsubscribe_url` is where the recipient of a mail unsubscribes (RFC
    8058); None where they cannot. `lane` is for vendors that distinguish urgency.
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
class CallbackRequest:
    """A callback as received: nothing parsed, nothing trusted. Header names are lower case."""

    url: str
    headers: Mapping[str, str]
    query: Mapping[str, str]
    body: bytes
    now: datetime


UNSIGNED_BYTES_MAX = 65_536
"""The most that is read of a callback whose signature is in its fields: it reports one event."""


class CallbackRefused(Exception):
    """The callback's signature, age or form is wrong. `code` is stable. Nothing of it may be stored."""

    def __init__(self, code: str, detail: str) -> None:
        super().__init__(detail)
        self.code = code


def refuse_long(request: CallbackRequest) -> None:
    """Refuse a callback that is too long to be read before its signature is known. Raises CallbackRefused."""
    if len(request.body) > UNSIGNED_BYTES_MAX:
        raise CallbackRefused("malformed", f"the callback is longer than {UNSIGNED_BYTES_MAX // 1024} KiB")


class LookupFailed(Exception):
    """The look-up failed. That says nothing about the message; try again later."""


class Provider(Protocol):
    """A vendor's adapter: it builds a request, parses the answer and translates codes. No policy.

    `timeout_s` is the whole budget of a call over the network (pool, connect, write, read), in seconds.
    Adapters name their common steps alike: `build_payload`, `parse_result`, `parse_receipt`,
    `parse_reply`; `_query` for a search; `read_callback` or `_read_callback`, and `verify_signature`.
    """

    name: ClassVar[str]
    """The provider's name in routes, settings, attempts and metrics."""
    capabilities: ClassVar[Capabilities]

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Ask the vendor to send. Never raises because of the network or the vendor."""
        ...

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """The vendor's messages that may be this one. Raises LookupFailed."""
        ...

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The latest report on an accepted message, None if there is none yet. Raises LookupFailed."""
        ...

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Verify a callback by the vendor's scheme and translate it. Raises CallbackRefused."""
        ...

    def address_of(self, device: Device) -> str | None:
        """The device's token for this push provider; None for other channels."""
        ...

    async def aclose(self) -> None:
        """Close connections."""
        ...


@runtime_checkable
class ReceivesReplies(Protocol):
    """An adapter whose vendor also sends replies of recipients to the callback URL."""

    def parse_replies(self, request: CallbackRequest) -> Sequence[Reply]:
        """Verify a callback by the vendor's scheme and return its replies. Raises CallbackRefused."""
        ...


@runtime_checkable
class AnswersChallenge(Protocol):
    """An adapter whose vendor verifies the callback URL with a GET request."""

    def challenge(self, query: Mapping[str, str]) -> str:
        """The answer to the vendor, as plain text. Raises CallbackRefused."""
        ...
