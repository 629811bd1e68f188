"""The limits that a delivery counts against."""

import hashlib
from dataclasses import dataclass

from domain.notification import Channel
from domain.notification_types import NotificationType, OnLimit


@dataclass(frozen=True, slots=True)
class LimitKey:
    """A limit of at most `max` members in `per_s` seconds, counted under `name`."""

    name: str
    max: int
    per_s: float
    then: OnLimit = OnLimit.DROP
    """What the caller does with a delivery that exceeds the limit. The limiter ignores it."""


def limit_keys(
    tenant: str, user_id: str, type_name: str, type: NotificationType, channel: Channel
) -> tuple[LimitKey, ...]:
    """The limits of a type on a channel for one user; empty if it has none.

    Types of one `group` share a name and so a count. The name has a digest of the user id: a client may use
    an address as the id, and addresses belong in the ledger only.
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
