"""Where a message leads back to this installation: what a vendor reports to, what a recipient clicks."""

from dataclasses import dataclass
from uuid import UUID

from domain.notification import Channel
from domain.notification_types import NotificationType
from domain.unsubscribe import token_of


@dataclass(frozen=True, slots=True)
class Links:
    """Links below this installation's public address. `unsubscribe_secret` signs those for recipients."""

    public_url: str
    unsubscribe_secret: str

    def callback(self, provider: str, ref: str) -> str:
        """Where a vendor that takes a callback address per message reports to."""
        return f"{self.public_url.rstrip('/')}/v1/callbacks/{provider}?ref={ref}"

    def unsubscribe(self, delivery_id: UUID, channel: Channel, type: NotificationType) -> str | None:
        """Where the recipient ends this type; None where they cannot: it is required, or not a mail."""
        if channel is not Channel.EMAIL or type.required:
            return None
        token = token_of(self.unsubscribe_secret, delivery_id)
        return f"{self.public_url.rstrip('/')}/v1/unsubscribe/{token}"
