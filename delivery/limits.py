"""The limits and spend caps that a delivery counts under, and its place under each."""

import time
from collections import OrderedDict
from collections.abc import Sequence
from datetime import UTC, datetime
from decimal import Decimal

from domain.countries import region_of
from domain.limit_decision import LimitReached, charge_name, is_sent_uncounted
from domain.limit_policy import OnLimit
from domain.notification import ADDRESS_KINDS, AddressKind, Channel, Delivery, Notification
from domain.notification_types import Catalog
from domain.reasons import Reason
from domain.segments import segments
from ratelimit.keys import (
    PER_USER,
    Charge,
    LimitKey,
    SharedKeys,
    charge_of,
    known_of,
    limit_keys,
    money,
)
from ratelimit.limiter import Limiter, OnLoss, Reservation
from telemetry.logs import alert
from telemetry.metrics import Metrics

REMEMBERED_MAX = 10_000
"""How many reached limits this process remembers, so that it alerts for each once a window."""


class Limits:
    """Reserves and releases the places of deliveries, and what they cost. One for each worker process."""

    def __init__(self, limiter: Limiter, catalog: Catalog, metrics: Metrics, secret: str) -> None:
        """`secret`: the installation's, under which addresses are named in the store."""
        self._limiter = limiter
        self._catalog = catalog
        self._metrics = metrics
        self._shared = SharedKeys(secret)
        self._alerted: OrderedDict[str, float] = OrderedDict()

    def apply_to(self, type_name: str, channel: Channel) -> bool:
        """Whether a type has any limit on a channel."""
        return channel in self._catalog.limited_channels(type_name)

    def cost_counts(self, channel: Channel) -> bool:
        """Whether sends over a channel count under a spend cap."""
        return channel is Channel.SMS and bool(self._catalog.sms.spend)

    async def reserve(
        self, notification: Notification, delivery: Delivery, provider: str | None = None
    ) -> LimitReached | None:
        """Reserve the delivery's places, or keep those it has, for a send that follows now.

        `provider`: the one that is called next; what it charges is reserved too. None: it may be sent.
        """
        charges = self._charges(notification, delivery, provider) if provider else ()
        reservation = await self._limiter.reserve(
            self._keys(notification, delivery),
            str(delivery.id),
            OnLoss.PASS if is_sent_uncounted(notification.lane) else OnLoss.WAIT,
            charges,
            charge_name(delivery),
        )
        self._report(notification, delivery, reservation, charges)
        return None if reservation.admitted else _reached(reservation, delivery)

    async def release(self, notification: Notification, delivery: Delivery) -> None:
        """Release the places of a delivery that ended unsent."""
        await self._limiter.release(self._keys(notification, delivery), str(delivery.id))

    async def refund(self, notification: Notification, delivery: Delivery) -> None:
        """Take back what was reserved for a send that was not made."""
        if not self.cost_counts(delivery.channel):
            return
        await self._limiter.release(
            (), str(delivery.id), self._caps(notification, delivery), charge_name(delivery)
        )

    def _keys(self, notification: Notification, delivery: Delivery) -> tuple[LimitKey, ...]:
        channel, type_name = delivery.channel, notification.type
        own = limit_keys(
            notification.tenant, notification.user_id, type_name, self._catalog.types[type_name], channel
        )
        shared = self._catalog.shared_limits(type_name, channel)
        if not shared or notification.is_test:
            return own
        address = notification.recipient.address(channel)
        return own + self._shared.limits(shared, known_of(notification.tenant, channel, address))

    def _charges(self, notification: Notification, delivery: Delivery, provider: str) -> tuple[Charge, ...]:
        number = notification.recipient.address(delivery.channel)
        prices = self._catalog.provider(provider).prices
        if number is None or prices is None or not self.cost_counts(delivery.channel):
            return ()
        cost = (prices.of(number) or Decimal(0)) * segments(notification.content.body).count
        return self._caps(notification, delivery, cost, prices.currency)

    def _caps(
        self,
        notification: Notification,
        delivery: Delivery,
        cost: Decimal = Decimal(0),
        currency: str | None = None,
    ) -> tuple[Charge, ...]:
        """The charge of a cost under every cap. It is nothing in other currencies, where a provider that was
        tried before may have been charged.
        """
        known = known_of(
            notification.tenant, delivery.channel, notification.recipient.address(delivery.channel)
        )
        charges = (
            charge_of(cap, known, cost if cap.currency == currency else Decimal(0))
            for cap in self._catalog.sms.of(notification.tenant).spend
        )
        return tuple(charge for charge in charges if charge)

    def _report(
        self,
        notification: Notification,
        delivery: Delivery,
        reservation: Reservation,
        charges: Sequence[Charge],
    ) -> None:
        for charge, micros in zip(charges, reservation.spent, strict=False):
            self._metrics.sms_spend_ratio.set(
                micros / charge.max_micros,
                by=charge.by or "all",
                of=charge.value,
                currency=charge.currency,
            )
        for charge, level in reservation.alerts:
            alert(
                "spend_cap",
                percent=level,
                by=charge.by or "all",
                of=charge.value,
                max=money(charge.max_micros),
                currency=charge.currency,
            )
        if reservation.store_lost:
            self._metrics.limiter_lost.add(result="pass" if reservation.admitted else "wait")
            return
        for reached in {*(key.by for key in reservation.denied), *("spend" for _ in reservation.over)}:
            self._metrics.limiter_denied.add(type=notification.type, channel=delivery.channel, limit=reached)
        for key in reservation.denied:
            if not key.is_personal:
                self._alert_reached(notification, delivery, key)

    def _alert_reached(self, notification: Notification, delivery: Delivery, key: LimitKey) -> None:
        """Alert that many messages to one place are held back, once a window and process."""
        now = time.monotonic()
        if now < self._alerted.get(key.name, 0.0):
            return
        self._alerted[key.name] = now + key.per_s
        self._alerted.move_to_end(key.name)
        if len(self._alerted) > REMEMBERED_MAX:
            self._alerted.popitem(last=False)
        is_phone = ADDRESS_KINDS[delivery.channel] is AddressKind.PHONE
        number = notification.recipient.address(delivery.channel) if is_phone else None
        alert(
            "limit_reached",
            limit=str(key),
            tenant=notification.tenant,
            type=notification.type,
            channel=delivery.channel,
            country=region_of(number) if number else None,
        )


def _reached(reservation: Reservation, delivery: Delivery) -> LimitReached:
    free_at = datetime.fromtimestamp(reservation.free_at_s or 0, UTC)
    if reservation.over:
        reason = Reason.SPEND_CAP
    elif any(key.by == PER_USER for key in reservation.denied):
        reason = Reason.RATE_LIMITED
    else:
        reason = Reason.VELOCITY_LIMITED
    reached = (*reservation.denied, *reservation.over)
    return LimitReached(
        free_at,
        tuple(map(str, reached)),
        store_lost=reservation.store_lost,
        drops=any(each.then is OnLimit.DROP for each in reached)
        # The next day is too late for it.
        or (bool(reservation.over) and free_at >= delivery.expires_at),
        reason=reason,
    )
