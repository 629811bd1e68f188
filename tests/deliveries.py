"""Finding one delivery of a notification."""

from domain.notification import Channel, Delivery, Notification


def delivery_over(notification: Notification, channel: Channel) -> Delivery:
    """The delivery over this channel; fails if there is none."""
    [delivery] = [each for each in notification.deliveries if each.channel is channel]
    return delivery
