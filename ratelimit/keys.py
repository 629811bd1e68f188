"""Which limits a delivery counts under."""

import hashlib
from dataclasses import dataclass

from domain.notification import Channel
from domain.notification_types import NotificationType, OnLimit


@dataclass(frozen=True, slots=True)
class LimitKey:
    """At most `max` members within `per_s` seconds under this name."""

    name: str
    max: int
    per_s: float
    then: OnLimit = OnLimit.DROP
    """What becomes of a delivery that finds no place: the caller's business, carried along for it."""


def limit_keys(
    tenant: str, user_id: str, type_name: str, type: NotificationType, channel: Channel
) -> tuple[LimitKey, ...]:
    """The limits of a type on a channel, for one user. Empty when it has none.

    Types of one `group` meet under one name. The user is named by a digest: a client may use an
    address as the user's id, and the store is not the ledger.
    """
    user = hashlib.sha256(f"{len(tenant)}:{tenant}{user_id}".encode()).hexdigest()[:32]
    return tuple(
        LimitKey(
            name=f"{user}:{f'group:{limit.group}' if limit.group else f'type:{type_name}'}:{channel}",
            max=limit.max,
            per_s=limit.per_s,
            then=limit.then,
        )
        for limit in type.limits
        if limit.channel == channel
    )
