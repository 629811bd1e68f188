"""An attempt as its adapter is given it, and where its message leads back to."""

from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from domain.ids import attempt_ref, match_key
from domain.notification import Channel
from domain.notification_types import NotificationType
from domain.routing import Candidate
from domain.snapshot import DeliverySnapshot
from domain.unsubscribe import token_of
from providers.base import Message


@dataclass(frozen=True, slots=True)
class Messages:
    """Builds messages. `unsubscribe_secret` signs the links for recipients, `secret` keys what is
    matched by.
    """

    public_url: str
    unsubscribe_secret: str
    secret: str

    def message(
        self, snapshot: DeliverySnapshot, candidate: Candidate, number: int, intended_at: datetime
    ) -> Message:
        """Attempt `number` over this candidate: the same every time, whenever it is built."""
        notification, delivery = snapshot.notification, snapshot.delivery
        ref = attempt_ref(delivery.id, number)
        return Message(
            attempt_ref=ref,
            target=candidate.target,
            content=notification.content,
            type=notification.type,
            expires_at=delivery.expires_at,
            intended_at=intended_at,
            callback_url=self._callback_url(candidate.provider, ref),
            unsubscribe_url=self._unsubscribe_url(delivery.id, delivery.channel, snapshot.context.type),
            lane=notification.lane,
        )

    def match_key(self, snapshot: DeliverySnapshot, candidate: Candidate) -> str:
        """What messages have in common that a provider without a reference of ours cannot tell apart."""
        content = snapshot.notification.content
        text = f"{content.title or ''}\n{content.body}"
        place = f"{candidate.provider}:{snapshot.delivery.channel}"
        return match_key(self.secret, place, candidate.target.address, text)

    def _callback_url(self, provider: str, ref: str) -> str:
        """Where a vendor that takes a callback address per message reports to."""
        return f"{self.public_url.rstrip('/')}/v1/callbacks/{provider}?ref={ref}"

    def _unsubscribe_url(self, delivery_id: UUID, channel: Channel, type: NotificationType) -> str | None:
        """Where the recipient unsubscribes from the type; None where they cannot: a required one,
        or no mail.
        """
        if channel is not Channel.EMAIL or type.required:
            return None
        token = token_of(self.unsubscribe_secret, delivery_id)
        return f"{self.public_url.rstrip('/')}/v1/unsubscribe/{token}"
