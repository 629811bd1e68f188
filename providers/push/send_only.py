"""A push vendor accepts a message, has no look-up, and reports nothing later."""

from collections.abc import Sequence
from typing import ClassVar

from domain.notification import Channel
from domain.outcome import Match, Receipt
from providers.base import AmbiguityResolution, CallbackRefused, CallbackRequest, Capabilities, Message


class SendOnly:
    """Look-ups, polls and callbacks of an adapter whose vendor has none of them."""

    vendor: ClassVar[str]
    """The vendor's name in errors."""
    capabilities: ClassVar[Capabilities] = Capabilities(
        Channel.PUSH,
        AmbiguityResolution.NONE,
        visibility_delay_s=0,
        receipts=False,
        polls=False,
        replaces=True,
    )

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Match]:
        """Nothing: there is no look-up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Refuse everything: the vendor sends no callbacks."""
        raise CallbackRefused("callbacks_not_supported", f"{self.vendor} sends no callbacks")
