"""How every statement is asked whose plan tests/storage/test_query_plans.py holds. A new statement gets a
line here: its arguments over the filling of tests/storage/plans.py, and how many rows it may read of a table.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import uuid4

from plans import ROWS, row_id

FEW = 40
LIVE = ROWS // 5 + FEW
PARKED = ROWS // 1000 + FEW
ORPHANS = ROWS // 500 + FEW


@dataclass(frozen=True)
class Asked:
    """A statement's arguments. It may read `rows_max` rows of each table; and `whole`, where it is set, says
    why it is right that it reads an index (or a small table) from one end to the other.
    """

    arguments: tuple[Any, ...] = ()
    rows_max: int = FEW
    whole: str | None = None


def every_statement(now: datetime) -> dict[str, Asked]:
    """By name; `now` is the filling's moment: notification `no` was accepted `no` milliseconds before."""
    return {
        **_shown(now),
        **_people(now),
        **_receipts(now),
        **_upkeep(),
        **_installation(),
        **_broadcasts(now),
    }


def _shown(now: datetime) -> dict[str, Asked]:
    id, accepted = row_id("n", 7), now - timedelta(milliseconds=7)
    return {
        "attempts": Asked((id,)),
        "backlog": Asked(([1, 2, 3], 10)),
        "events": Asked((id, accepted)),
        "give_back": Asked((id, uuid4(), 1.0)),
        "readdress": Asked((id, {"sms": "+15550100"})),
        "receipts_shown": Asked((id,)),
        "shown": Asked(([row_id("n", no) for no in range(1, 11)],)),
    }


def _people(now: datetime) -> dict[str, Asked]:
    user = ("acme", "user-7")
    return {
        "deactivate_token": Asked((*user, "fcm-one7", "dead", now)),
        "devices": Asked(user),
        "ensure_user": Asked(user),
        "set_contacts": Asked((*user, "+1", None, None)),
        "set_devices": Asked((*user, ["one", "three"], ["fcm-a", "fcm-b"], [None, None], [None, None])),
        "set_quiet_hours": Asked((*user, "UTC", "22:00", "07:00")),
        "set_settings": Asked((*user, ["*"], ["sms"], [False])),
        "hear": Asked(("twilio", "event-new", "sms", "sms-7", "stop", None)),
        "settings": Asked(user),
        "stop": Asked(("sms", "sms-7", "twilio")),
        "stopped": Asked(("sms", "sms-7")),
        "subscription": Asked((row_id("d", 7),)),
        "suppress": Asked(("acme", "sms", "sms-7", "asked")),
        "suppress_verdict": Asked(("acme", "sms", "sms-7", "bounce", "twilio")),
        "unsubscribe": Asked((row_id("d", 7),)),
        "unsuppress": Asked(("acme", "sms", "sms-7")),
        "user": Asked(user),
    }


def _receipts(now: datetime) -> dict[str, Asked]:
    numbers = range(1, 11)
    deliveries, ones = [row_id("d", no) for no in numbers], [1] * 10
    accepted = [now - timedelta(milliseconds=no) for no in numbers]
    twilio, keys = ["twilio"] * 10, [f"event-{no}" for no in numbers]
    none: list[Any] = [None] * 10
    no = [False] * 10
    return {
        "receipt_addresses": Asked((deliveries, ones)),
        "receipt_applied": Asked((twilio, keys)),
        "receipt_attempt": Asked((deliveries, ones)),
        "receipt_attempts": Asked(
            (deliveries, ones, accepted, ["delivered"] * 10, none, [now] * 10, none, no, none, no)
        ),
        "receipt_claim": Asked((10, None, None, 0.0)),
        "receipt_deliveries": Asked(
            (deliveries, [0] * 10, ["delivered"] * 10, none, none, none, ["test"] * 10, ["{}"] * 10)
        ),
        "receipt_final": Asked(([row_id("n", no) for no in numbers],)),
        "receipt_keep": Asked(
            (
                *(deliveries, ones, twilio, keys, accepted, ["delivered"] * 10, none, no, none, [now] * 10),
                ["callback"] * 10,
            )
        ),
        "receipt_postpone": Asked((twilio, keys, [1.0] * 10)),
        "receipt_read": Asked((deliveries,)),
        "receipt_store": Asked(
            (twilio, keys, none, none, none, ["delivered"] * 10, none, no, ["keep"] * 10, none)
        ),
    }


def _upkeep() -> dict[str, Asked]:
    live = "what is live is looked at as a whole: a bounded number, whatever there was before"
    parked = "everything that waits for an operator is counted: its own index holds nothing else"
    orphans = "the orphans' own index holds nothing else"
    return {
        "retention_messages": Asked((1, 10)),
        # As if the coming month had begun long ago: everything is old.
        "retention_notifications": Asked((-1, 10), whole="the first tenant is the first row of an index"),
        "retention_partitions": Asked((6,)),
        "parked_count": Asked(rows_max=PARKED, whole=parked),
        "upkeep_dead_letters": Asked(rows_max=PARKED, whole=parked),
        "upkeep_drift": Asked((LIVE,), rows_max=LIVE, whole=f"{live}; so are open attempts, and orphans"),
        "upkeep_drop_orphans": Asked((3600.0, 10), rows_max=FEW),
        "upkeep_parked_too_long": Asked((300.0, 1000), rows_max=PARKED, whole=parked),
        "upkeep_requeue": Asked((1000,), rows_max=LIVE, whole=live),
        "upkeep_revive_orphans": Asked((1000,), rows_max=ORPHANS, whole=orphans),
    }


def _installation() -> dict[str, Asked]:
    one = "one row is read, whichever comes first"
    return {
        "drained_providers": Asked(whole="one row a provider"),
        "has_attempts": Asked(whole=one),
        "key_create": Asked(("key7", "acme", "backend", b"\x00")),
        "key_lookup": Asked(("key7",)),
        "key_revoke": Asked(("key7",)),
        "keys_listed": Asked(rows_max=ROWS // 10 + FEW, whole="the operator asks for every key"),
        "provider_states": Asked(whole="one row a provider"),
        "set_circuit": Asked(("twilio", "open")),
        "set_provider_state": Asked(("twilio", "drained")),
    }


def _broadcasts(now: datetime) -> dict[str, Asked]:
    id, one, none = row_id("b", 10), [1], [None]
    new = (uuid4(), "acme", "key-new", b"\x00", "k", 1, "running", "marketing", ["sms"], "all")
    text = (None, "Hello", "{}", "{}", "query", "{}", None, None, None, None, None, None, 0, 60.0)
    refusals = (one, ["charset"], [""], [""])
    tallies = "rows are folded together before they are many"
    return {
        "broadcast_abandon": Asked((id, "abandoned")),
        "broadcast_advance": Asked((id, 0, 0, 9, [uuid4()], *refusals, 60.0)),
        "broadcast_clear": Asked((row_id("b", 11), 10)),
        "broadcast_create": Asked((*new, *text)),
        "broadcast_decide": Asked((id, "acme", ["running"], "paused", None)),
        "broadcast_due": Asked((id, 60.0)),
        "broadcast_end": Asked((id, 0, "completed", None)),
        "broadcast_ended": Asked((row_id("b", 51),)),
        "broadcast_fold": Asked((id,)),
        "broadcast_gather": Asked((id, 10, 60.0)),
        "broadcast_lock": Asked((id, 0)),
        "broadcast_named": Asked(("acme", "key-7")),
        "broadcast_next": Asked((id, 0, 0, 10)),
        "broadcast_put": Asked((id, 1, one, ["user-1"], none, none)),
        "broadcast_refuse": Asked((id, 1, *refusals)),
        "broadcast_refused": Asked((id, 0, 0, 10)),
        "broadcast_shown": Asked(([row_id("b", no) for no in range(51, 56)],), rows_max=2 * FEW),
        "broadcast_stopped": Asked((id, 10)),
        "broadcast_unstopped": Asked((id, 10)),
        "broadcast_upload_begin": Asked((id, "acme", 60.0)),
        "broadcast_upload_end": Asked((id, 0, 1, 0, b"\x00")),
        "broadcasts_claim": Asked((10, 60.0)),
        "broadcasts_listed": Asked(("acme", 10, now, uuid4())),
        "broadcasts_untidy": Asked((300, 10), rows_max=ROWS // 10 + FEW, whole=tallies),
    }
