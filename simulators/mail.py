"""The common part of the simulated mail vendors: addresses, magic recipients, events after delivery."""

import re
from collections.abc import Mapping
from typing import ClassVar

from simulators.base import Received, Simulator
from simulators.faults import CallbackPlan, Mode, recipient_key

_ADDRESS = re.compile(r"[^@\s,;<>]+@[^@\s,;<>]+\.[^@\s,;<>]+")


def is_address(text: str) -> bool:
    """Whether a text looks like one mail address."""
    return _ADDRESS.fullmatch(text) is not None


def magic_part(address: str) -> str:
    """The part of an address that may be a magic word."""
    return address.rpartition("@")[0].partition("+")[0].lower()


class MailSimulator(Simulator):
    """One mail vendor. An accepted message has the first status of `progress`.

    `magic_words`: the final status and code of addresses that start with such a word; `silent` is never
    reported on. A status in `after_delivery` is only reported after the delivery.
    """

    magic_words: ClassVar[Mapping[str, tuple[str, str | None]]] = {}
    after_delivery: ClassVar[frozenset[str]] = frozenset()

    async def accept(self, message: Received) -> None:
        word = magic_part(message.to)
        if recipient_key(message.to) not in self.plans.plans:
            if word == "silent":
                self.plans.put(CallbackPlan(message.to, Mode.HELD))
            elif word in self.magic_words:
                final, code = self.magic_words[word]
                self.plans.put(CallbackPlan(message.to, final=final, code=code))
        await super().accept(message)

    async def report(
        self, message: Received, status: str, code: str | int | None = None, copies: int = 1
    ) -> None:
        if status in self.after_delivery and message.status == self.progress[0]:
            await super().report(message, "delivered", None, copies)
        await super().report(message, status, code, copies)
