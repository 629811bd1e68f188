"""The arguments for every statement whose plan tests/storage/test_query_plans.py checks. A new statement gets
a line here: its arguments for the data of tests/storage/plans.py, and how many rows it may read of a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import uuid4

from plans import ROWS, row_id

from domain.audit import Origin, StoredEntry
from domain.broadcasts import Audience, BroadcastStatus
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Strategy
from storage import row_types
from storage.records import NewBroadcast

FEW = 40
LIVE = ROWS // 5 + FEW
LIVE_TOGETHER = 1000 // 5 + FEW
"""Live notifications that share one `accepted_at`: a page sorts them by their ids."""
PARKED = ROWS // 1000 + FEW
ORPHANS = ROWS // 500 + FEW


@dataclass(frozen=True)
class Query:
    """A statement's arguments. It may read `rows_max` rows of each table. `whole`, where it is set, is the
    reason why it may read an index (or a small table) from one end to the other.
    """

    arguments: tuple[Any, ...] = ()
    rows_max: int = FEW
    whole: str | None = None


def every_statement(now: datetime) -> dict[str, Query]:
    """By name. `now` is when the first notifications of the data were accepted."""
    return {
        **_shown(now),
        **_users(now),
        **_receipts(now),
        **_maintenance(),
        **_installation(now),
        **_broadcasts(now),
    }


def _shown(now: datetime) -> dict[str, Query]:
    id = row_id("n", 7)
    return {
        "list_attempts": Query((id,)),
        "count_backlog": Query(([1, 2, 3], 10, 0)),
        "list_timeline": Query((id, now)),
        "give_back_claim": Query((id, uuid4(), 1.0)),
        "readdress": Query((id, {"sms": "+15550100"})),
        "list_receipts": Query((id,)),
        "refresh_notifications": Query(([row_id("n", number) for number in range(1, 11)], [])),
        "notification_view": Query(([row_id("n", number) for number in range(1, 11)],)),
    }


def _users(now: datetime) -> dict[str, Query]:
    user = ("acme", "user-7")
    return {
        "deactivate_token": Query((*user, "fcm-one7", "dead", now)),
        "list_devices": Query(user),
        "ensure_user": Query(user),
        "set_contacts": Query((*user, "+1", None, None)),
        "set_devices": Query((*user, [_device("one", "fcm-a"), _device("three", "fcm-b")])),
        "set_quiet_hours": Query((*user, "UTC", "22:00", "07:00")),
        "set_settings": Query((*user, [{"type": "*", "channel": "sms", "enabled": False}])),
        "record_reply": Query(("twilio", "event-new", "sms", "sms-7", "stop", None)),
        "list_settings": Query(user),
        "suppress_globally": Query(("sms", "sms-7", "twilio")),
        "is_suppressed_globally": Query(("sms", "sms-7")),
        "find_subscription": Query((row_id("d", 7),)),
        "suppress": Query(("acme", "sms", "sms-7", "asked")),
        "suppress_by_verdict": Query(("acme", "sms", "sms-7", "bounce", "twilio")),
        "unsubscribe": Query((row_id("d", 7),)),
        "unsuppress": Query(("acme", "sms", "sms-7")),
        "find_user": Query(user),
    }


def _device(id: str, token: str) -> dict[str, Any]:
    return {"device_id": id, "fcm_token": token}


def _receipts(now: datetime) -> dict[str, Query]:
    numbers = range(1, 11)
    deliveries, ones = [row_id("d", number) for number in numbers], [1] * 10
    twilio, keys = ["twilio"] * 10, [f"event-{number}" for number in numbers]
    rows = [_receipt_fields(number, now) for number in numbers]
    return {
        "find_addresses": Query((deliveries, ones)),
        "remove_applied_receipts": Query((twilio, keys)),
        "find_receipt_attempts": Query((deliveries, ones)),
        "record_attempt_receipts": Query(
            (_fields(rows, "delivery_id number accepted_at receipt_status late"),)
        ),
        "claim_receipts": Query((10, None, None, 0.0)),
        "update_deliveries_by_receipts": Query((_fields(rows, "delivery_id version status event data"),)),
        "keep_receipts": Query(
            (_fields(rows, f"delivery_id attempt_number accepted_at received_at source {_REPORT}"),)
        ),
        "postpone_receipts": Query((_fields(rows, "provider event_key wait_s"),)),
        "read_deliveries": Query((deliveries,)),
        "store_receipts": Query((_fields(rows, f"address_verdict {_REPORT}"),)),
    }


_REPORT = "provider event_key status permanent"


def _receipt_fields(number: int, now: datetime) -> dict[str, Any]:
    return {
        "delivery_id": row_id("d", number),
        "number": 1,
        "attempt_number": 1,
        "accepted_at": now,
        "receipt_status": "delivered",
        "late": False,
        "version": 0,
        "status": "delivered",
        "event": "test",
        "data": "{}",
        "provider": "twilio",
        "event_key": f"event-{number}",
        "wait_s": 1.0,
        "permanent": False,
        "received_at": now,
        "source": "callback",
        "address_verdict": "keep",
    }


def _fields(rows: Sequence[Mapping[str, Any]], names: str) -> list[dict[str, Any]]:
    """The named fields of each row."""
    return [{name: row[name] for name in names.split()} for row in rows]


def _maintenance() -> dict[str, Query]:
    live = "all live notifications are read: a bounded number, whatever the history"
    parked = "everything that waits for an operator is counted: its index holds nothing else"
    orphans = "the index of orphans holds nothing else"
    return {
        "ensure_partitions": Query((3,)),
        "ping": Query(),
        "inspect_database": Query(),
        "remove_old_messages": Query((1, 10)),
        # With -1 months everything is old.
        "remove_old_notifications": Query((-1, 10), whole="the first tenant is the first row of an index"),
        "list_old_partitions": Query((6,)),
        "count_parked": Query(rows_max=PARKED, whole=parked),
        "count_dead_letters": Query(rows_max=PARKED, whole=parked),
        "count_drift": Query((LIVE,), rows_max=LIVE, whole=f"{live}; so are open attempts, and orphans"),
        "drop_orphans": Query((3600.0, 10), rows_max=FEW),
        "requeue_lost": Query((1000,), rows_max=LIVE, whole=live),
        "scrub_expired": Query((10,)),
        "watch_parked_contents": Query((1000,), rows_max=PARKED, whole=parked),
        "revive_orphans": Query((1000,), rows_max=ORPHANS, whole=orphans),
    }


def _installation(now: datetime) -> dict[str, Query]:
    one = "only the first row is read"
    return {
        "list_drained_providers": Query(whole="one row per provider"),
        "has_attempts": Query(whole=one),
        "create_api_key": Query(("key7", "acme", "backend", b"\x00", ["send"], False, None, None)),
        "find_api_key": Query(("key7",)),
        "hold_api_key": Query(("key7",)),
        "revoke_api_key": Query(("key7", "acme", False)),
        "note_use_of_api_keys": Query(([f"key{number}" for number in range(1, 11)],)),
        "list_api_keys": Query((now, "key7", 10)),
        "list_api_keys_of_tenant": Query((now, "key7", 10, "acme", False)),
        "list_providers": Query(whole="one row per provider"),
        "append_audit_entries": Query(([_audit_entry(now)],)),
        "lock_audit_log": Query(whole="only the last entry is read"),
        "read_audit_chain": Query(rows_max=ROWS + FEW, whole="the chain is verified whole"),
        "record_circuit": Query(("twilio", "open")),
        "set_provider_status": Query(("twilio", "drained")),
    }


def _audit_entry(now: datetime) -> dict[str, Any]:
    origin = Origin("key:7", "backend", "acme", None, None)
    return row_types.audit_entry(StoredEntry(10**9, now, origin, "key.create", "7", None, {}, b"", b""))


def _broadcasts(now: datetime) -> dict[str, Query]:
    id = row_id("b", 10)
    new = NewBroadcast(
        *(uuid4(), "acme", "key-new", Fingerprint(b"x", "k"), "marketing", (Channel.SMS,), Strategy.ALL),
        *(None, "Hello", Audience.QUERY),
        query={},
    )
    refusals = [{"number": 1, "code": "charset", "pointer": "", "message": ""}]
    tallies = "rows are folded before there are many"
    return {
        "abandon_draft": Query((id, "abandoned")),
        "advance_broadcast": Query((id, 0, 0, 9, [uuid4()], refusals, 60.0)),
        "clear_recipients": Query((row_id("b", 11), 10)),
        "create_broadcast": Query((row_types.broadcast(new, BroadcastStatus.RUNNING, 60.0),)),
        "apply_broadcast_command": Query((id, "acme", ["running"], "paused", None)),
        "expect_broadcast": Query((id, 60.0)),
        "end_broadcast": Query((id, 0, "completed", None)),
        "finish_broadcast": Query((row_id("b", 51),)),
        "fold_tallies": Query((id,)),
        "gather_recipients": Query((id, 10, 60.0)),
        "lock_broadcast": Query((id, 0)),
        "find_broadcast_by_key": Query(("acme", "key-7")),
        "next_recipients": Query((id, 0, 0, 10)),
        "add_recipients": Query((id, 1, [{"number": 1, "user_id": "user-1"}])),
        "add_refusals": Query((id, 1, refusals)),
        "list_refusals": Query((id, 0, 0, 10)),
        "broadcast_view": Query(([row_id("b", number) for number in range(51, 56)],), rows_max=2 * FEW),
        "mark_chunk_stopped": Query((id, 10)),
        "next_unstopped_chunk": Query((id, 10)),
        "begin_upload": Query((id, "acme", 60.0)),
        "end_upload": Query((id, 0, 1, 0, b"\x00")),
        "claim_broadcasts": Query((10, 60.0)),
        "list_broadcasts": Query(("acme", 10, now, uuid4())),
        "list_unfolded_tallies": Query((300, 10), rows_max=ROWS // 10 + FEW, whole=tallies),
    }
