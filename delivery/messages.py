"""Builds the message of an attempt, with the links that lead back to us."""

from dataclasses import dataclass, field
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
    """Builds messages. `unsubscribe_secret` signs the recipients' links, `secret` keys the match keys."""

    public_url: str
    unsubscribe_secret: str = field(repr=False)
    secret: str = field(repr=False)

    def message(
        self, snapshot: DeliverySnapshot, candidate: Candidate, number: int, intended_at: datetime
    ) -> Message:
        """The message of attempt `number` for this candidate: always the same, whenever it is built."""
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
        """A key that is equal for messages which a provider without our reference cannot distinguish."""
        content = snapshot.notification.content
        text = f"{content.title or ''}\n{content.body}"
        place = f"{candidate.provider}:{snapshot.delivery.channel}"
        return match_key(self.secret, place, candidate.target.address, text)

    def _callback_url(self, provider: str, ref: str) -> str:
        """The callback URL, for vendors that accept one per message."""
        return f"{self.public_url.rstrip('/')}/v1/callbacks/{provider}?ref={ref}"

    def _unsubscribe_url(self, delivery_id: UUID, channel: Channel, type: NotificationType) -> str | None:
        """The link to unsubscribe from the type; None for required types, and for other channels
        than email.
        """
        if channel is not Channel.EMAIL or type.required:
            return None
        token = token_of(self.unsubscribe_secret, delivery_id)
        return f"{self.public_url.rstrip('/')}/v1/unsubscribe/{token}"
