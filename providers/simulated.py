"""The providers of test keys: they live in this process, and no network is behind them.

Two for each channel, so that fallback can be tried. What an address does is in the address itself, the same
for every process and after every restart: see MAGIC, and docs/api.md.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from enum import StrEnum
from typing import ClassVar, Final, cast

import structlog

from domain.notification import ADDRESS_KINDS, AddressKind, Channel, Device
from domain.outcome import AddressVerdict, Match, Outcome, Receipt, ReceiptStatus, SendResult
from providers.base import (
    AmbiguityResolution,
    CallbackRefused,
    CallbackRequest,
    Capabilities,
    Message,
    Provider,
)

RECEIPT_AFTER_S: Final = 1.0
"""How long after an acceptance the receipt is reported, in seconds: after its outcome was recorded."""
SLOW_S: Final = 3.0
VISIBILITY_DELAY_S: Final = 1.0

log = structlog.stdlib.get_logger(__name__)

Report = Callable[[str, Sequence[Receipt]], Awaitable[object]]
"""Stores the receipts of a provider, as a callback would (storage.receipts.Receipts.store)."""


class Behaviour(StrEnum):
    """What a magic address makes of a message. Any other address is DELIVERED."""

    DELIVERED = "delivered"
    """Accepted; a receipt reports the delivery a second later."""
    INVALID = "invalid"
    """Refused: the recipient does not exist. A device token is deactivated."""
    UNDELIVERED = "undelivered"
    """Accepted; a receipt reports a temporary failure."""
    BOUNCED = "bounced"
    """Accepted; a receipt reports a permanent failure, and the address is suppressed for the test tenant."""
    FALLBACK = "fallback"
    """The first provider is unavailable, the second one accepts."""
    UNAVAILABLE = "unavailable"
    """Every provider is unavailable: it is retried by its type's schedule, then a dead letter."""
    LOST = "lost"
    """The answer is lost; a look-up finds the message, and it is delivered."""
    UNKNOWN = "unknown"
    """The first provider's answer is lost and cannot be found out: the type's `on_unknown` decides."""
    SLOW = "slow"
    """Accepted after three seconds, and delivered."""
    SILENT = "silent"
    """Accepted; no receipt ever comes."""


MAGIC: Final[Mapping[str, Behaviour]] = {f"01{place:02d}": one for place, one in enumerate(Behaviour)}
"""The last four digits of a number that does this; 555-0100 to 555-0199 are reserved for fiction."""

_FIRST_PLACE: Final = frozenset({Behaviour.FALLBACK, Behaviour.UNKNOWN})
"""What only the first provider of a channel does; the second one delivers."""
_WORD: Final = re.compile(r"[a-z]+")


def behaviour_of(channel: Channel, address: str) -> Behaviour:
    """What this address does: by a number's last digits, or by the word that the address begins with."""
    if ADDRESS_KINDS[channel] is AddressKind.PHONE:
        return MAGIC.get(address[-4:], Behaviour.DELIVERED)
    word = _WORD.match(address.lower())
    return Behaviour(word[0]) if word and word[0] in tuple(Behaviour) else Behaviour.DELIVERED


class Simulated:
    """A provider of one channel. `place`: 1 for the first in its channel's route, 2 for the second."""

    name: ClassVar[str]
    capabilities: ClassVar[Capabilities]
    place: ClassVar[int]

    def __init__(self, report: Report) -> None:
        self._report = report
        self._waiting: dict[asyncio.Task[None], Receipt] = {}

    async def send(self, message: Message, *, timeout_s: float) -> SendResult:
        """Do what the address says. No failure counts against this provider: another test may use it."""
        does = self._does(message.target.address)
        match does:
            case Behaviour.INVALID:
                return SendResult(
                    Outcome.REJECTED_RECIPIENT,
                    code="simulated_invalid",
                    address_verdict=_verdict(self.capabilities.channel),
                    about_provider=False,
                )
            case Behaviour.FALLBACK | Behaviour.UNAVAILABLE:
                return SendResult(Outcome.UNAVAILABLE, code="simulated_unavailable", about_provider=False)
            case Behaviour.LOST | Behaviour.UNKNOWN:
                if does is Behaviour.LOST:
                    self._report_later(message, does)
                return SendResult(Outcome.AMBIGUOUS, code="simulated_answer_lost", about_provider=False)
            case Behaviour.SLOW:
                await asyncio.sleep(min(SLOW_S, timeout_s))
            case _:
                pass
        self._report_later(message, does)
        return SendResult(
            Outcome.ACCEPTED, provider_message_id=_id(does, message.attempt_ref), about_provider=False
        )

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Find the message of a lost answer; or two that could be it, so that nothing is certain."""
        does, ref = self._does(message.target.address), message.attempt_ref
        if does is Behaviour.UNKNOWN:
            return [Match(_id(does, f"{ref}/{copy}"), certain=False) for copy in (1, 2)]
        return [Match(_id(does, ref), certain=True)] if does is Behaviour.LOST else []

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """The receipt of a message: what it does is in its id."""
        word, _, _ = provider_message_id.partition("-")
        return _receipt(Behaviour(word), provider_message_id, None) if word in tuple(Behaviour) else None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Refuse everything: nobody calls back."""
        raise CallbackRefused("callbacks_not_supported", f"{self.name} sends no callbacks")

    def address_of(self, device: Device) -> str | None:
        """Any address of the device."""
        return next(iter(device.tokens), None)

    async def aclose(self) -> None:
        """Report what was not reported yet."""
        waiting, self._waiting = self._waiting, {}
        for task in waiting:
            task.cancel()
        await asyncio.gather(*(self._store(receipt) for receipt in waiting.values()))

    def _does(self, address: str) -> Behaviour:
        does = behaviour_of(self.capabilities.channel, address)
        return Behaviour.DELIVERED if self.place > 1 and does in _FIRST_PLACE else does

    def _report_later(self, message: Message, does: Behaviour) -> None:
        receipt = _receipt(does, _id(does, message.attempt_ref), message.attempt_ref)
        if receipt is None or not self.capabilities.receipts:
            return

        async def later() -> None:
            await asyncio.sleep(RECEIPT_AFTER_S)
            await self._store(receipt)

        task = asyncio.create_task(later())
        self._waiting[task] = receipt
        task.add_done_callback(lambda done: self._waiting.pop(done, None))

    async def _store(self, receipt: Receipt) -> None:
        try:
            await self._report(self.name, [receipt])
        except Exception as error:
            # Like a callback that never arrives: the receipt is polled once it is overdue.
            log.warning("simulated_receipt_not_stored", provider=self.name, why=type(error).__name__)


def _provider(channel: Channel, place: int) -> type[Simulated]:
    pushes = channel is Channel.PUSH
    capabilities = Capabilities(
        channel,
        AmbiguityResolution.LOOKUP,
        visibility_delay_s=VISIBILITY_DELAY_S,
        # As with the real ones: push services report no deliveries.
        receipts=not pushes,
        polls=not pushes,
        matches_by="our reference",
        simulated=True,
    )
    name = f"simulated_{channel}_{place}"
    made = type(name, (Simulated,), {"name": name, "capabilities": capabilities, "place": place})
    return cast("type[Simulated]", made)


PROVIDERS: Final = tuple(_provider(channel, place) for channel in Channel for place in (1, 2))
"""By channel, in the order of their route."""


def build(report: Report) -> dict[str, Provider]:
    """The simulated providers by name. Close each of them."""
    return {adapter.name: adapter(report) for adapter in PROVIDERS}


def _id(does: Behaviour, ref: str) -> str:
    return f"{does}-{hashlib.sha256(ref.encode()).hexdigest()[:32]}"


def _verdict(channel: Channel) -> AddressVerdict:
    is_token = ADDRESS_KINDS[channel] is AddressKind.TOKEN
    return AddressVerdict.DEACTIVATE_TOKEN if is_token else AddressVerdict.KEEP


def _receipt(does: Behaviour, message_id: str, attempt_ref: str | None) -> Receipt | None:
    if does is Behaviour.SILENT:
        return None
    failed = does in (Behaviour.UNDELIVERED, Behaviour.BOUNCED)
    bounced = does is Behaviour.BOUNCED
    return Receipt(
        event_key=message_id,
        status=ReceiptStatus.UNDELIVERED if failed else ReceiptStatus.DELIVERED,
        provider_message_id=message_id,
        attempt_ref=attempt_ref,
        code=f"simulated_{does}" if failed else None,
        permanent=bounced,
        address_verdict=AddressVerdict.SUPPRESS if bounced else AddressVerdict.KEEP,
    )
