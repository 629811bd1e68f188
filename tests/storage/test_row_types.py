"""Each row that Python passes to Postgres has exactly the fields of its row type, by name."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

import pytest
import pytest_asyncio

from domain.audit import Origin, StoredEntry
from domain.broadcasts import Audience, BroadcastRecipient, BroadcastStatus, Refusal, Window
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Device, Lane, Strategy
from domain.outcome import AddressVerdict, Outcome, Receipt, ReceiptStatus
from domain.receipt_policy import AttemptChange, Report
from domain.status import Status
from domain.transition import Transition
from storage import row_types, statements
from storage.postgres import Pool, open_pool
from storage.receipt_records import Matched
from storage.records import AttemptOutcome, DeliveryUpdate, Intent, NewBroadcast, Renewal, Submission

NOW = datetime(2031, 5, 6, tzinfo=UTC)
N, D = uuid4(), uuid4()
NEXT = Transition(Status.SENT, NOW, "reason", 1, True, NOW, NOW, True, "event", {"why": "test"})
REPORT = Report(1, ReceiptStatus.DELIVERED, NOW, code="0", permanent=True, provider_message_id="SM1")
RECEIPT = Receipt(event_key="e1", status=ReceiptStatus.DELIVERED, provider_message_id="SM1", occurred_at=NOW)
SUBMISSION = Submission(
    *(N, "acme", "ada", "otp", "key", Fingerprint(b"x", "k"), Lane.HIGH, Strategy.ALL),
    *((Channel.SMS, Channel.EMAIL), "Hello"),
)
BROADCAST = NewBroadcast(
    *(N, "acme", "key", Fingerprint(b"x", "k"), "news", (Channel.SMS, Channel.EMAIL), Strategy.ALL),
    *("Title", "Hello {{ name }}", Audience.QUERY, {"name": "you"}, {"order": "1"}, {"time_zone": "UTC"}),
    *((), 2.5, Window("08:00", "20:00", "UTC"), NOW, NOW),
)
ORIGIN = Origin("key:1a2b3c4d", "till", "acme", "a reason", "a request")
ROWS: dict[str, dict[str, Any]] = {
    "submission_v1": row_types.submission(SUBMISSION),
    "submission_key_v1": row_types.submission_key(SUBMISSION),
    "hand_over_v1": row_types.hand_over(N, D, dedicated_workflow=True),
    "device_v1": row_types.device(Device("phone", "fcm", "apns", "https://push.example#key")),
    "setting_v1": row_types.setting("news", Channel.SMS, enabled=False),
    "intent_v1": row_types.intent(Intent(N, D, 0, "twilio", 1, 2, "+1", "+•", {"a": 1}, required=True)),
    "renewal_v1": row_types.renewal(Renewal(N, D, 1, 2, 1.5, 2.5, 60.0, "+1", required=True)),
    "attempt_outcome_v1": row_types.attempt_outcome(
        AttemptOutcome(N, D, 1, 2, Outcome.ACCEPTED, NEXT, "0", 201, "SM1", 12)
    ),
    "delivery_update_v1": row_types.delivery_update(DeliveryUpdate(N, D, 2, NEXT)),
    "inbox_receipt_v1": row_types.inbox_receipt("twilio", RECEIPT, (D, 1)),
    "receipt_v1": row_types.kept_receipt(
        Matched(N, D, NOW, "twilio", "e1", REPORT, AddressVerdict.KEEP, NOW, NOW, "callback")
    ),
    "attempt_receipt_v1": row_types.attempt_receipt(
        D, NOW, AttemptChange(1, REPORT, True, False, "SM1"), resolved_by="callback", late=False
    ),
    "postponed_receipt_v1": row_types.postponed_receipt("twilio", "e1", 2.5),
    "audit_entry_v1": row_types.audit_entry(
        StoredEntry(1, NOW, ORIGIN, "key.create", "abc", {"a": 1}, {"a": 2}, b"\x00", b"\x01")
    ),
    "broadcast_v1": row_types.broadcast(BROADCAST, BroadcastStatus.RUNNING, 60.0),
    "broadcast_recipient_v1": row_types.broadcast_recipient(
        BroadcastRecipient(1, "ada", {"sms": "+1"}, {"name": "A"})
    ),
    "broadcast_refusal_v1": row_types.broadcast_refusal(Refusal(1, "charset", "no text", "/body")),
}


@pytest_asyncio.fixture
async def pool(database: str) -> AsyncIterator[Pool]:
    pool = await open_pool(database, size_max=1)
    yield pool
    await pool.close()


def test_every_row_type_has_a_test_row() -> None:
    assert ROWS.keys() == set(statements.row_types())


@pytest.mark.parametrize("name", ROWS)
async def test_the_fields_are_those_of_the_type(name: str, pool: Pool) -> None:
    fields = await pool.fetch(
        "SELECT attname FROM pg_attribute WHERE attrelid = $1::text::regclass AND attnum > 0 ORDER BY attnum",
        name,
    )
    assert {row["attname"] for row in fields} == ROWS[name].keys()
    row = await pool.fetchval(f"SELECT $1::{name}", ROWS[name])
    assert dict(row) == {key: list(v) if isinstance(v, tuple) else v for key, v in ROWS[name].items()}


async def test_a_field_that_the_type_does_not_have_is_refused(pool: Pool) -> None:
    with pytest.raises(Exception, match="'unknown' is not a valid element"):
        await pool.fetchval("SELECT $1::broadcast_refusal_v1", {"unknown": 1})


async def test_a_connection_knows_the_types_from_its_start(pool: Pool) -> None:
    """No statement waits for asyncpg to query the catalogue."""
    queries: list[str] = []
    async with pool.acquire() as connection:
        connection.add_query_logger(lambda record: queries.append(record.query))
        for name in ROWS:
            await connection.fetchval(f"SELECT $1::{name}[]", [ROWS[name]])
    assert [query for query in queries if "pg_type" in query] == []
    assert len(queries) == len(ROWS)
