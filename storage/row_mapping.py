"""Turns a row of load_notifications into a domain.notification.Notification."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

from domain.notification import (
    LANES,
    Attempt,
    Channel,
    Content,
    Delivery,
    Device,
    Notification,
    QuietHours,
    Recipient,
    Strategy,
)
from domain.outcome import Outcome, ReceiptStatus
from domain.status import Status


def notification_from(row: Any) -> Notification:
    """The notification of a row of load_notifications."""
    attempts: dict[str, list[Attempt]] = {}
    for item in row["attempts"] or ():
        attempts.setdefault(item["delivery_id"], []).append(_attempt(item))
    deliveries = tuple(_delivery(item, attempts) for item in row["deliveries"] or ())
    # What expires is hidden before it is removed. An operator's retry may have prolonged a delivery's life.
    gone = row["scrubbed"] or (row["scrub"] and all(row["now"] >= d.expires_at for d in deliveries))
    return Notification(
        id=row["id"],
        tenant=row["tenant"],
        user_id=row["user_id"],
        type=row["type"],
        lane=LANES[row["lane"]],
        strategy=Strategy(row["strategy"]),
        status=Status(row["status"]),
        accepted_at=row["accepted_at"],
        expires_at=row["expires_at"],
        content=Content("") if gone else Content(row["body"], row["title"]),
        recipient=_recipient(row),
        deliveries=deliveries,
        now=row["now"],
        content_gone=gone,
    )


def _time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None


def _delivery(item: Mapping[str, Any], attempts: Mapping[str, list[Attempt]]) -> Delivery:
    return Delivery(
        id=UUID(item["id"]),
        channel=Channel(item["channel"]),
        position=item["position"],
        status=Status(item["status"]),
        reason_code=item["reason_code"],
        version=item["version"],
        pass_number=item["pass_number"],
        round_pass=item["round_pass"],
        next_pass_at=datetime.fromisoformat(item["next_pass_at"]),
        expires_at=datetime.fromisoformat(item["expires_at"]),
        due_at=_time(item["due_at"]),
        attempts=tuple(attempts.get(item["id"], ())),
    )


def _attempt(item: Mapping[str, Any]) -> Attempt:
    return Attempt(
        number=item["number"],
        provider=item["provider"],
        pass_number=item["pass_number"],
        device_id=item["device_id"],
        intended_at=datetime.fromisoformat(item["intended_at"]),
        send_deadline=datetime.fromisoformat(item["send_deadline"]),
        outcome=Outcome(item["outcome"]) if item["outcome"] else None,
        code=item["code"],
        provider_message_id=item["provider_message_id"],
        match_key=item["match_key"],
        receipt_status=ReceiptStatus(item["receipt_status"]) if item["receipt_status"] else None,
    )


def known_addresses(addresses: Mapping[str, str]) -> dict[str, Any]:
    """Those that are there: an empty one was removed when the notification expired."""
    return {channel: address for channel, address in addresses.items() if address}


def _recipient(row: Any) -> Recipient:
    quiet = QuietHours(row["quiet_start"], row["quiet_end"]) if row["quiet_start"] else None
    return Recipient(
        **known_addresses(row["addresses"]),
        devices=tuple(
            Device(item["device_id"], item["fcm_token"], item["apns_token"], item["webpush"])
            for item in row["devices"] or ()
        ),
        time_zone=row["time_zone"],
        quiet_hours=quiet,
        settings={(item["type"], item["channel"]): item["enabled"] for item in row["settings"] or ()},
        suppressed=frozenset((Channel(item["channel"]), item["address"]) for item in row["suppressed"] or ()),
    )
