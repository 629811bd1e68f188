"""Users: their addresses and devices, their preferences, and the suppressed addresses."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from domain.contacts import suppression_key
from domain.notification import Channel, Device, QuietHours
from domain.replies import Reply
from storage import row_types
from storage.postgres import Connection, Pool
from storage.statements import statement


@dataclass(frozen=True, slots=True)
class Contacts:
    """A user's addresses: a number in E.164, an email address.

    `whatsapp`: the number for WhatsApp, if it differs from `phone`.
    """

    phone: str | None
    email: str | None
    whatsapp: str | None = None


@dataclass(frozen=True, slots=True)
class RegisteredDevice:
    """A device as stored. A token that a provider called dead is None, and the reason is kept."""

    device_id: str
    fcm_token: str | None
    apns_token: str | None
    webpush: str | None
    registered_at: datetime
    deactivated_at: datetime | None
    deactivated_reason: str | None


@dataclass(frozen=True, slots=True)
class Preferences:
    """A user's settings {(type, channel): enabled}, where type may be `*`, and quiet hours."""

    settings: Mapping[tuple[str, Channel], bool]
    time_zone: str | None = None
    quiet_hours: QuietHours | None = None


@dataclass(frozen=True, slots=True)
class Subscription:
    """The type and channel that an unsubscribe link is about, and whether the user still wants them."""

    type: str
    channel: Channel
    wanted: bool


@dataclass(frozen=True, slots=True)
class Suppression:
    """An address to which nothing is sent."""

    channel: Channel
    address: str
    reason: str
    source: str
    created_at: datetime


class Users:
    """The users of every tenant. A user exists once anything is stored for them."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool

    async def contacts(self, tenant: str, user_id: str) -> Contacts | None:
        """The user's addresses; None if there is no such user."""
        row = await self._pool.fetchrow(statement("find_user"), tenant, user_id)
        return Contacts(row["phone"], row["email"], row["whatsapp"]) if row else None

    async def set_contacts(self, tenant: str, user_id: str, contacts: Contacts) -> None:
        """Replace the user's addresses."""
        await self._pool.execute(
            statement("set_contacts"), tenant, user_id, contacts.phone, contacts.email, contacts.whatsapp
        )

    async def devices(self, tenant: str, user_id: str) -> list[RegisteredDevice] | None:
        """The user's devices, the preferred one first; None if there is no such user."""
        async with self._pool.acquire(timeout=5) as connection:
            if await connection.fetchrow(statement("find_user"), tenant, user_id) is None:
                return None
            rows = await connection.fetch(statement("list_devices"), tenant, user_id)
        return [RegisteredDevice(**dict(row)) for row in rows]

    async def set_devices(self, tenant: str, user_id: str, devices: Sequence[Device]) -> None:
        """Replace the user's devices. One whose tokens are new, or given again, is active again."""
        async with self._pool.acquire(timeout=5) as connection, connection.transaction():
            await connection.execute(statement("ensure_user"), tenant, user_id)
            await connection.execute(
                statement("set_devices"),
                tenant,
                user_id,
                [row_types.device(device) for device in devices],
            )

    async def preferences(self, tenant: str, user_id: str) -> Preferences | None:
        """The user's preferences; None if there is no such user."""
        async with self._pool.acquire(timeout=5) as connection:
            user = await connection.fetchrow(statement("find_user"), tenant, user_id)
            if user is None:
                return None
            rows = await connection.fetch(statement("list_settings"), tenant, user_id)
        return Preferences(
            {(row["type"], Channel(row["channel"])): row["enabled"] for row in rows},
            user["time_zone"],
            QuietHours(user["quiet_start"], user["quiet_end"]) if user["quiet_start"] else None,
        )

    async def set_preferences(self, tenant: str, user_id: str, preferences: Preferences) -> None:
        """Replace the user's preferences. An opt-out applies to every send that is not yet under way."""
        quiet = preferences.quiet_hours
        async with self._pool.acquire(timeout=5) as connection, connection.transaction():
            await connection.execute(
                statement("set_quiet_hours"),
                tenant,
                user_id,
                preferences.time_zone,
                quiet.start if quiet else None,
                quiet.end if quiet else None,
            )
            await connection.execute(
                statement("set_settings"),
                tenant,
                user_id,
                [
                    row_types.setting(type, channel, enabled=enabled)
                    for (type, channel), enabled in preferences.settings.items()
                ],
            )

    async def subscription(self, delivery_id: UUID) -> Subscription | None:
        """The delivery's type and channel, and whether its user wants them; None once it is removed."""
        return _subscription(await self._pool.fetchrow(statement("find_subscription"), delivery_id))

    async def unsubscribe(self, delivery_id: UUID) -> Subscription | None:
        """Opt this delivery's user out of its type over its channel; None once the delivery is removed.

        Like any opt-out it applies to every send that is not yet under way. A repeated call has no effect.
        """
        return _subscription(await self._pool.fetchrow(statement("unsubscribe"), delivery_id))

    async def suppressions(
        self,
        tenant: str,
        channel: Channel | None,
        address: str | None,
        limit: int,
        after: tuple[str, str] | None,
    ) -> list[Suppression]:
        """A page of suppressed addresses, ordered by channel and address, after `after`."""
        values: list[Any] = [tenant, limit]
        conditions = ""
        if channel:
            values.append(channel.value)
            conditions += f" AND channel = ${len(values)}"
        whose = "= $1"
        if address:
            values.append(suppression_key(channel or Channel.EMAIL, address))
            conditions += f" AND address = ${len(values)}"
            whose = "IN ($1, '*')"
        if after:
            values += after
            conditions += f" AND (channel, address) > (${len(values) - 1}, ${len(values)})"
        query = statement("list_suppressions").replace("/* of */ = $1", whose)
        query = query.replace("/* conditions */", conditions)
        rows = await self._pool.fetch(query, *values)
        return [_suppression(row) for row in rows]

    async def is_suppressed_globally(self, channel: Channel, address: str) -> bool:
        """Whether the user of this address asked our senders to stop, which no tenant can lift."""
        key = suppression_key(channel, address)
        return bool(await self._pool.fetchval(statement("is_suppressed_globally"), channel.value, key))

    async def record_reply(self, provider: str, reply: Reply) -> bool:
        """Record a user's reply: STOP suppresses the address for every tenant, START lifts exactly that.
        False: the reply was recorded before, and has no further effect.
        """
        key = suppression_key(reply.channel, reply.address)
        event_key, word = reply.event_key or uuid4().hex, reply.word.value
        row = await self._pool.fetchrow(
            statement("record_reply"), provider, event_key, reply.channel.value, key, word, reply.said_at
        )
        return row is not None


async def suppress(
    connection: Connection | Pool, tenant: str, channel: Channel, address: str, reason: str
) -> tuple[Suppression, bool]:
    """Suppress an address; False: it was suppressed before, and keeps its first reason."""
    key = suppression_key(channel, address)
    row = await connection.fetchrow(statement("suppress"), tenant, channel.value, key, reason)
    assert row is not None
    return _suppression(row), row["added"]


async def unsuppress(
    connection: Connection | Pool, tenant: str, channel: Channel, address: str
) -> Suppression | None:
    """Allow sends to an address again. Returns its suppression; None if it was not suppressed."""
    key = suppression_key(channel, address)
    row = await connection.fetchrow(statement("unsuppress"), tenant, channel.value, key)
    return _suppression(row) if row else None


def _subscription(row: Any) -> Subscription | None:
    return Subscription(row["type"], Channel(row["channel"]), row["wanted"]) if row else None


def _suppression(row: Any) -> Suppression:
    return Suppression(
        Channel(row["channel"]), row["address"], row["reason"], row["source"], row["created_at"]
    )
