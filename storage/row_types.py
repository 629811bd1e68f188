"""The rows that grouped writes pass to Postgres: a mapping by field name for each type of storage/functions/.

asyncpg puts the values in order. An omitted field would be NULL; tests/storage/test_row_types.py checks that
no field is omitted.
"""

import json
from collections.abc import Mapping
from typing import Any, TypeAlias
from uuid import UUID

from domain.audit import StoredEntry
from domain.broadcasts import BroadcastRecipient, BroadcastStatus, Refusal
from domain.notification import LANE_RANK, Channel, Device
from domain.outcome import Receipt
from domain.receipt_policy import AttemptChange
from domain.transition import Transition
from storage.receipt_records import Matched
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, NewBroadcast, Renewal, Submission

Fields: TypeAlias = dict[str, Any]


def submission(row: Submission) -> Fields:
    """A submission_v1."""
    return submission_key(row) | {
        "fingerprint": row.fingerprint.digest,
        "fingerprint_key_id": row.fingerprint.key_id,
        "fingerprint_version": row.fingerprint.version,
        "lane": LANE_RANK[row.lane],
        "strategy": row.strategy.value,
        "channels": row.channels,
        "scrub": row.scrub,
        "send_at": row.send_at,
        "expires_at": row.expires_at,
        "expires_s": row.expires_s,
        "title": row.title,
        "body": row.body,
        "to_sms": row.to_sms,
        "to_email": row.to_email,
        "to_push": row.to_push,
        "to_whatsapp": row.to_whatsapp,
        "metadata": _json(row.metadata),
        "broadcast_id": row.broadcast_id,
        "dedicated_workflow": row.dedicated_workflow,
    }


def submission_key(row: Submission) -> Fields:
    """A submission_key_v1."""
    return {
        "id": row.id,
        "tenant": row.tenant,
        "user_id": row.user_id,
        "type": row.type,
        "idempotency_key": row.idempotency_key,
    }


def intent(row: Intent) -> Fields:
    """An intent_v1."""
    return {
        "notification_id": row.notification_id,
        "delivery_id": row.delivery_id,
        "version": row.version,
        "provider": row.provider,
        "budget_s": row.budget_s,
        "visibility_delay_s": row.visibility_delay_s,
        "device_id": row.device_id,
        "address": row.suppression_key,
        "target_masked": row.target_masked,
        "match_key": row.match_key,
        "selection": _json(row.selection),
        "required": row.required,
    }


def renewal(row: Renewal) -> Fields:
    """A renewal_v1."""
    return {
        "notification_id": row.notification_id,
        "delivery_id": row.delivery_id,
        "number": row.number,
        "version": row.version,
        "budget_s": row.budget_s,
        "visibility_delay_s": row.visibility_delay_s,
        "key_life_s": row.key_life_s,
        "address": row.suppression_key,
        "required": row.required,
    }


def attempt_outcome(row: AttemptOutcome) -> Fields:
    """An attempt_outcome_v1."""
    transition = row.transition
    return {
        "notification_id": row.notification_id,
        "delivery_id": row.delivery_id,
        "number": row.number,
        "version": row.version,
        "outcome": row.outcome.value if row.outcome else None,
        "code": row.code,
        "http_status": row.http_status,
        "provider_message_id": row.provider_message_id,
        "latency_ms": row.latency_ms,
        "resolved_by": row.resolved_by,
        "status": transition.status.value,
        "reason_code": transition.reason_code,
        "pass_number": transition.pass_number,
        "next_pass_at": transition.next_pass_at,
        "due_at": transition.due_at,
        "release": transition.release,
        "event": transition.event,
        "data": _json(transition.data),
    }


def delivery_update(row: DeliveryUpdate) -> Fields:
    """A delivery_update_v1."""
    return update(row.notification_id, row.delivery_id, row.version, row.transition)


def update(notification_id: UUID, delivery_id: UUID, version: int, transition: Transition) -> Fields:
    """A delivery_update_v1 of a delivery that was seen at `version`."""
    return {
        "notification_id": notification_id,
        "delivery_id": delivery_id,
        "version": version,
        "status": transition.status.value,
        "reason_code": transition.reason_code,
        "pass_number": transition.pass_number,
        "new_round": transition.new_round,
        "next_pass_at": transition.next_pass_at,
        "due_at": transition.due_at,
        "expires_at": transition.expires_at,
        "release": transition.release,
        "event": transition.event,
        "data": _json(transition.data),
    }


def inbox_receipt(provider: str, receipt: Receipt, attempt: tuple[UUID, int] | None) -> Fields:
    """An inbox_receipt_v1; `attempt` is what the provider carried back."""
    delivery_id, number = attempt or (None, None)
    return {
        "provider": provider,
        "event_key": receipt.event_key,
        "provider_message_id": receipt.provider_message_id,
        "delivery_id": delivery_id,
        "attempt_number": number,
        "status": receipt.status.value,
        "code": receipt.code,
        "permanent": receipt.permanent,
        "address_verdict": receipt.address_verdict.value,
        "occurred_at": receipt.occurred_at,
    }


def kept_receipt(row: Matched) -> Fields:
    """A receipt_v1."""
    return {
        "delivery_id": row.delivery_id,
        "attempt_number": row.report.number,
        "provider": row.provider,
        "event_key": row.event_key,
        "accepted_at": row.accepted_at,
        "status": row.report.status.value,
        "code": row.report.code,
        "permanent": row.report.permanent,
        "occurred_at": row.occurred_at,
        "received_at": row.received_at,
        "source": row.source,
    }


def attempt_receipt(
    delivery_id: UUID, accepted_at: Any, change: AttemptChange, *, resolved_by: str, late: bool
) -> Fields:
    """An attempt_receipt_v1."""
    receipt = change.receipt
    return {
        "delivery_id": delivery_id,
        "number": change.number,
        "accepted_at": accepted_at,
        "receipt_status": receipt.status.value if receipt else None,
        "receipt_code": receipt.code if receipt else None,
        "receipt_at": receipt.at if receipt else None,
        "provider_message_id": change.provider_message_id,
        "closes": change.closes,
        "resolved_by": resolved_by,
        "late": late,
    }


def hand_over(id: UUID, token: UUID, *, dedicated_workflow: bool) -> Fields:
    """A hand_over_v1 of the claim with this token."""
    return {"id": id, "claim": token, "dedicated_workflow": dedicated_workflow}


def postponed_receipt(provider: str, event_key: str, wait_s: float | None) -> Fields:
    """A postponed_receipt_v1."""
    return {"provider": provider, "event_key": event_key, "wait_s": wait_s}


def device(row: Device) -> Fields:
    """A device_v1."""
    return {
        "device_id": row.device_id,
        "fcm_token": row.fcm_token,
        "apns_token": row.apns_token,
        "webpush": row.webpush,
    }


def setting(type: str, channel: Channel, *, enabled: bool) -> Fields:
    """A setting_v1."""
    return {"type": type, "channel": channel.value, "enabled": enabled}


def broadcast(row: NewBroadcast, status: BroadcastStatus, draft_kept_s: float) -> Fields:
    """A broadcast_v1; a draft is abandoned after `draft_kept_s` seconds."""
    window = row.window
    return {
        "id": row.id,
        "tenant": row.tenant,
        "idempotency_key": row.idempotency_key,
        "fingerprint": row.fingerprint.digest,
        "fingerprint_key_id": row.fingerprint.key_id,
        "fingerprint_version": row.fingerprint.version,
        "status": status.value,
        "type": row.type,
        "channels": row.channels,
        "strategy": row.strategy.value,
        "title": row.title,
        "body": row.body,
        "data": _json(row.data),
        "metadata": _json(row.metadata),
        "audience": row.audience.value,
        "query": _json(row.query) if row.query is not None else None,
        "rate_per_s": row.rate_per_s,
        "window_start": window.start if window else None,
        "window_end": window.end if window else None,
        "window_zone": window.time_zone if window else None,
        "start_at": row.start_at,
        "expires_at": row.expires_at,
        "total": len(row.recipients),
        "draft_kept_s": draft_kept_s,
    }


def broadcast_recipient(row: BroadcastRecipient) -> Fields:
    """A broadcast_recipient_v1."""
    return {
        "number": row.number,
        "user_id": row.user_id,
        "addresses": _json(row.addresses) if row.addresses else None,
        "data": _json(row.data) if row.data else None,
    }


def broadcast_refusal(row: Refusal) -> Fields:
    """A broadcast_refusal_v1."""
    return {"number": row.number, "code": row.code, "pointer": row.pointer, "message": row.message}


def audit_entry(row: StoredEntry) -> Fields:
    """An audit_entry_v1."""
    origin = row.origin
    return {
        "sequence": row.sequence,
        "at": row.at,
        "actor": origin.actor,
        "actor_name": origin.name,
        "tenant": origin.tenant,
        "action": row.action,
        "subject": row.subject,
        "before": _json(row.before) if row.before is not None else None,
        "after": _json(row.after) if row.after is not None else None,
        "reason": origin.reason,
        "request_id": origin.request_id,
        "previous": row.previous,
        "hash": row.hash,
    }


def _json(value: Mapping[Any, Any]) -> str:
    return json.dumps(dict(value)) if value else "{}"
