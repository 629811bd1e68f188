"""Faults and callback plans, for one recipient or for all, so that scenarios do not affect each other."""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any


def recipient_key(to: str) -> str:
    """A normalised address: vendors differ about the `+` of a phone number.

    A browser's subscription is its endpoint, without the keys after the `#`.
    """
    if to.startswith("https://"):
        to = to.partition("#")[0]
    return to.strip().lower().lstrip("+")


class Kind(StrEnum):
    """What goes wrong with a request."""

    STATUS = "status"
    """Answered with `status` in the vendor's own error form; not processed."""
    LATENCY = "latency"
    """Processed after `latency_s`."""
    BLACK_HOLE = "black_hole"
    """Neither processed nor answered."""
    RESET = "reset"
    """The connection is reset; not processed."""
    ACCEPT_THEN_CLOSE = "accept_then_close"
    """Processed, with callbacks, but the connection is closed without an answer."""
    ACCEPT_THEN_STALL = "accept_then_stall"
    """Processed, with callbacks, but answered only after `latency_s`."""
    ERROR_RATE = "error_rate"
    """Like `status`, for a share `rate` of the requests."""
    MALFORMED = "malformed"
    """Processed, and answered with `status` (default 200) and an HTML page."""
    CUT = "cut"
    """Processed, and answered with the usual headers and half of the body."""
    MISTYPED = "mistyped"
    """Processed, and answered as usual, but as `text/plain`."""
    RST_STREAM = "rst_stream"
    """HTTP/2 only: the stream is reset, not processed. `code` is the HTTP/2 error (`internal_error`)."""
    GOAWAY = "goaway"
    """HTTP/2 only: GOAWAY for this stream, not processed. With `code` `graceful` this stream is the last one:
    it is still processed and answered, then the connection closes."""


class Operation(StrEnum):
    """Which requests a fault applies to."""

    SEND = "send"
    LOOKUP = "lookup"


@dataclass(slots=True)
class Fault:
    """One fault. `recipient` None: all; `times` None: until it is deleted. Durations are in seconds."""

    kind: Kind
    recipient: str | None = None
    operation: Operation = Operation.SEND
    status: int | None = None
    code: str | int | None = None
    retry_after_s: float | None = None
    latency_s: float = 0.0
    rate: float = 1.0
    times: int | None = None
    stage: str | None = None
    """SMTP only: `rcpt`, `data` or `dot`. Default: `rcpt` for a `status`, `dot` for all others."""

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "Fault":
        """Raises TypeError or ValueError for an invalid one."""
        known = dict(value)
        known["kind"] = Kind(known.get("kind", ""))
        known["operation"] = Operation(known.get("operation", Operation.SEND))
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def matches(self, to: str, operation: Operation) -> bool:
        return (
            self.operation is operation
            and self.times != 0
            and (self.recipient is None or recipient_key(self.recipient) == recipient_key(to))
        )


@dataclass(frozen=True, slots=True)
class Strike:
    """What happens to one request: a delay of `latency_s`, then `fault`, if there is one."""

    latency_s: float = 0.0
    fault: Fault | None = None


@dataclass(slots=True)
class FaultBook:
    """The faults of one vendor."""

    faults: list[Fault] = field(default_factory=list[Fault])
    _random: random.Random = field(default_factory=lambda: random.Random(2026))  # noqa: S311 (not a secret)

    def add(self, fault: Fault) -> None:
        self.faults.append(fault)

    def clear(self, recipient: str | None = None) -> None:
        """Forget the faults of one recipient, or all of them."""
        if recipient is None:
            self.faults.clear()
            return
        key = recipient_key(recipient)
        self.faults = [f for f in self.faults if f.recipient is None or recipient_key(f.recipient) != key]

    def strike(self, to: str, operation: Operation = Operation.SEND) -> Strike:
        """What happens to a request for this recipient. Its own faults take precedence over those for all."""
        matching = sorted(
            (fault for fault in self.faults if fault.matches(to, operation)),
            key=lambda f: f.recipient is None,
        )
        latency_s, chosen = 0.0, None
        for fault in matching:
            if fault.kind is Kind.LATENCY:
                latency_s += fault.latency_s
            elif chosen is None and self._random.random() < fault.rate:
                chosen = fault
            else:
                continue
            if fault.times is not None:
                fault.times -= 1
        return Strike(latency_s, chosen)


class Mode(StrEnum):
    """How a message's callbacks are sent."""

    NORMAL = "normal"
    EARLY = "early"
    """Sent before the request is answered."""
    LOST = "lost"
    """Never sent, but the message's status changes."""
    REPEATED = "repeated"
    """Each sent twice."""
    HELD = "held"
    """Nothing happens until a report is requested."""


@dataclass(frozen=True, slots=True)
class CallbackPlan:
    """What happens after a message was accepted. `final`: a general status, or the vendor's own."""

    recipient: str | None = None
    mode: Mode = Mode.NORMAL
    final: str = "delivered"
    code: str | int | None = None
    delay_s: float = 0.05

    @classmethod
    def from_json(cls, value: dict[str, Any]) -> "CallbackPlan":
        """Raises TypeError or ValueError for an invalid one."""
        known = dict(value)
        known["mode"] = Mode(known.get("mode", Mode.NORMAL))
        return cls(**known)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(slots=True)
class CallbackPlans:
    """The callback plans of one vendor, by recipient. The `magic` ones are permanent."""

    magic: Mapping[str, CallbackPlan] = field(default_factory=dict[str, CallbackPlan])
    plans: dict[str | None, CallbackPlan] = field(default_factory=dict[str | None, CallbackPlan])

    def put(self, plan: CallbackPlan) -> None:
        self.plans[None if plan.recipient is None else recipient_key(plan.recipient)] = plan

    def clear(self, recipient: str | None = None) -> None:
        """Forget the plan of one recipient, or all of them."""
        if recipient is None:
            self.plans.clear()
        else:
            self.plans.pop(recipient_key(recipient), None)

    def of(self, to: str) -> CallbackPlan:
        """The plan for this recipient, else its magic one, else the one for all, else the default."""
        key = recipient_key(to)
        return self.plans.get(key) or self.magic.get(key) or self.plans.get(None) or CallbackPlan()
