"""A push vendor takes a message and cannot be asked about it, nor does it report anything later."""

from collections.abc import Sequence
from typing import ClassVar

from domain.notification import Channel
from domain.outcome import Receipt
from providers.base import CallbackRefused, CallbackRequest, Capabilities, Found, Message, Resolves


class SendOnly:
    """What an adapter has for look-ups, polls and callbacks where the vendor has none of them."""

    vendor: ClassVar[str]
    """The vendor's name as people write it, for errors."""
    capabilities = Capabilities(
        Channel.PUSH, Resolves.NONE, settling_s=0, receipts=False, polls=False, replaces=True
    )

    async def lookup(self, message: Message, *, timeout_s: float) -> Sequence[Found]:
        """Nothing: there is no look-up."""
        return ()

    async def poll(self, provider_message_id: str, *, timeout_s: float) -> Receipt | None:
        """None: there is no status query."""
        return None

    def parse_callback(self, request: CallbackRequest) -> Sequence[Receipt]:
        """Refuse whatever comes: the vendor sends no callbacks."""
        raise CallbackRefused("callbacks_not_supported", f"{self.vendor} sends no callbacks")
