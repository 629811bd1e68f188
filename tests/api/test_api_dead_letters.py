"""Dead letters: listed, sent again, discarded, replayed in bulk."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import httpx
import pytest
from api_case import Parked, attempted, loaded
from deliveries import delivery_over

from domain.notification import Channel
from domain.status import Status
from storage.ledger import Ledger
from storage.maintenance import scrub_expired
from storage.postgres import Pool

HOUR = timedelta(hours=1)


async def listed(api: httpx.AsyncClient, **query: str) -> set[str]:
    answer = await api.get("/dead-letters", params=query)
    assert answer.status_code == 200, answer.text
    return {shown["id"] for shown in answer.json()["notifications"]}


async def test_dead_letters_are_listed(api: httpx.AsyncClient, parked: Parked) -> None:
    live = (await parked.submit())["id"]
    dead, unknown = await parked(), await parked(Status.OUTCOME_UNKNOWN, type="debit_alert")
    everything = await listed(api)
    assert {dead, unknown} <= everything
    assert live not in everything
    assert await listed(api, status="outcome_unknown") == {unknown}
    assert await listed(api, type="debit_alert") == {unknown}
    assert dead in await listed(api, channel="sms", reason_code="providers_exhausted")
    assert await listed(api, channel="push") == set()
    wrong = await api.get("/dead-letters", params={"status": "sent"})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/query/status")


async def test_a_retry_starts_afresh(
    api: httpx.AsyncClient, parked: Parked, ledger: Ledger, pool: Pool
) -> None:
    id = await parked()
    answer = await api.post(f"/dead-letters/{id}/retry")
    assert (answer.status_code, answer.json()["status"]) == (200, "accepted")
    delivery = delivery_over((await loaded(ledger, id)), Channel.SMS)
    # Pass numbers continue; the retry schedule restarts.
    assert delivery.status is Status.ACCEPTED
    assert delivery.pass_number == delivery.round_pass > 0
    due = await pool.fetchrow("SELECT due_at <= now() AS due, lease_until FROM due WHERE id = $1", UUID(id))
    assert due is not None
    assert tuple(due) == (True, None)
    # The ledger accepts an intent: the delivery can be sent.
    await attempted(ledger, id)
    again = await api.post(f"/dead-letters/{id}/retry")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_status")


async def test_an_expired_dead_letter_needs_a_new_expiry(
    api: httpx.AsyncClient, parked: Parked, ledger: Ledger
) -> None:
    id = await parked(expires_at=datetime.now(UTC) - HOUR)
    refused = await api.post(f"/dead-letters/{id}/retry", json={})
    assert (refused.status_code, refused.json()["code"]) == (409, "expired")
    assert refused.json()["errors"][0]["pointer"] == "/expires_at"
    past = await api.post(f"/dead-letters/{id}/retry", json={"expires_at": "2020-01-01T00:00:00Z"})
    assert (past.status_code, past.json()["errors"][0]["pointer"]) == (422, "/expires_at")
    expiry = datetime.now(UTC) + HOUR
    taken = await api.post(f"/dead-letters/{id}/retry", json={"expires_at": expiry.isoformat()})
    assert taken.status_code == 200
    assert delivery_over((await loaded(ledger, id)), Channel.SMS).expires_at == expiry


@pytest.mark.parametrize("status", [Status.DEAD_LETTERED, Status.OUTCOME_UNKNOWN])
@pytest.mark.parametrize("removed", [False, True], ids=["hidden", "removed"])
async def test_a_content_that_is_gone_is_not_sent_again(
    api: httpx.AsyncClient, parked: Parked, pool: Pool, status: Status, removed: bool
) -> None:
    id = await parked(status, type="otp", expires_at=datetime.now(UTC) - HOUR)
    if removed:
        past = "UPDATE expiring_contents SET expires_at = now() WHERE notification_id = $1"
        await pool.execute(past, UUID(id))
        await scrub_expired(pool, 1000)
    new = {"expires_at": (datetime.now(UTC) + HOUR).isoformat()}
    assume = {"assume": "send_again"} if status is Status.OUTCOME_UNKNOWN else {}
    refused = await api.post(f"/dead-letters/{id}/retry", json=new | assume)
    assert (refused.status_code, refused.json()["code"]) == (409, "content_gone")
    replay = await api.post("/dead-letters/replay", json={"filter": {"type": "otp"}, "dry_run": False} | new)
    assert (replay.status_code, replay.json()["replayed"]) == (200, 0), replay.text
    if assume:
        assert (await api.post(f"/dead-letters/{id}/retry", json={"assume": "sent"})).status_code == 200
    else:
        assert (await api.post(f"/dead-letters/{id}/discard")).status_code == 200


async def test_a_retry_may_fix_the_recipient(api: httpx.AsyncClient, parked: Parked, ledger: Ledger) -> None:
    id = await parked()
    wrong = await api.post(f"/dead-letters/{id}/retry", json={"to": {"sms": "12"}})
    assert (wrong.status_code, wrong.json()["errors"][0]["pointer"]) == (422, "/to/sms")
    other = await api.post(f"/dead-letters/{id}/retry", json={"to": {"email": "ada@example.com"}})
    assert (other.status_code, other.json()["errors"][0]["pointer"]) == (409, "/to/email")
    fixed = await api.post(f"/dead-letters/{id}/retry", json={"to": {"sms": "+234 803 123 0001"}})
    assert fixed.status_code == 200
    assert (await loaded(ledger, id)).recipient.sms == "+2348031230001"
    entries = (await api.get(f"/notifications/{id}/timeline")).json()["entries"]
    (retried,) = [entry["data"] for entry in entries if entry["kind"] == "retried"]
    assert retried["by"].startswith("key:")
    assert retried["by"].endswith(" (tests)")
    assert (retried["to"], retried["reason_code"]) == ({"sms": "+234•••••0001"}, "replayed")


async def test_an_unknown_outcome_needs_a_decision(api: httpx.AsyncClient, parked: Parked) -> None:
    id = await parked(Status.OUTCOME_UNKNOWN)
    refused = await api.post(f"/dead-letters/{id}/retry")
    assert (refused.status_code, refused.json()["code"]) == (409, "assume_required")
    taken = await api.post(f"/dead-letters/{id}/retry", json={"assume": "sent"})
    assert (taken.status_code, taken.json()["status"]) == (200, "sent")
    assert taken.json()["final_at"]
    again = await parked(Status.OUTCOME_UNKNOWN)
    sent = await api.post(f"/dead-letters/{again}/retry", json={"assume": "send_again"})
    assert (sent.status_code, sent.json()["status"]) == (200, "accepted")
    dead = await parked()
    never = await api.post(f"/dead-letters/{dead}/retry", json={"assume": "sent"})
    assert (never.status_code, never.json()["code"]) == (409, "wrong_status")


async def test_discarding_does_not_start_the_next_channel(
    api: httpx.AsyncClient, parked: Parked, pool: Pool
) -> None:
    id = await parked(channels=["sms", "email"], strategy="first")
    answer = await api.post(f"/dead-letters/{id}/discard")
    assert answer.status_code == 200
    assert [delivery["status"] for delivery in answer.json()["deliveries"]] == ["failed", "cancelled"]
    assert (answer.json()["status"], answer.json()["reason_code"]) == ("failed", "discarded")
    assert await pool.fetchval("SELECT count(*) FROM due WHERE id = $1", UUID(id)) == 0
    again = await api.post(f"/dead-letters/{id}/discard")
    assert (again.status_code, again.json()["code"]) == (409, "wrong_status")


async def test_a_replay_keeps_its_rate(
    api: httpx.AsyncClient, parked: Parked, ledger: Ledger, pool: Pool
) -> None:
    ids = [await parked(type="statement") for _ in range(4)]
    expired = await parked(type="statement", expires_at=datetime.now(UTC) - HOUR)
    unknown = await parked(Status.OUTCOME_UNKNOWN, type="statement")
    other = await parked(type="marketing")
    asked: dict[str, Any] = {
        "filter": {"type": "statement", "channel": "sms", "reason_code": "providers_exhausted"},
        "rate_per_s": 0.5,
    }
    dry = (await api.post("/dead-letters/replay", json=asked)).json()
    assert (dry["dry_run"], dry["matched"], dry["replayed"], dry["expired"]) == (True, 5, 0, 1)
    assert set(dry["sample"]) == set(ids)
    assert set(ids) <= await listed(api)

    done = (await api.post("/dead-letters/replay", json=asked | {"dry_run": False})).json()
    assert (done["replayed"], done["expired"], done["already_handled"]) == (4, 1, 0)
    left = await listed(api)
    assert {expired, unknown, other} <= left
    assert not left & set(ids)
    starts = [delivery_over((await loaded(ledger, id)), Channel.SMS).next_pass_at for id in ids]
    assert [round((later - starts[0]).total_seconds()) for later in starts] == [0, 2, 4, 6]
    due = await pool.fetch("SELECT due_at FROM due WHERE id = ANY($1) ORDER BY due_at", list(map(UUID, ids)))
    assert [row["due_at"] for row in due] == starts

    renewed = asked | {"dry_run": False, "expires_at": (datetime.now(UTC) + HOUR).isoformat()}
    assert (await api.post("/dead-letters/replay", json=renewed)).json()["replayed"] == 1


async def test_a_replay_is_a_dry_run_unless_it_says_otherwise(api: httpx.AsyncClient, parked: Parked) -> None:
    id = await parked(type="marketing")
    answer = await api.post("/dead-letters/replay", json={"filter": {}})
    assert answer.json()["dry_run"] is True
    assert id in await listed(api)


@pytest.mark.parametrize(
    ("asked", "pointer"),
    [
        ({}, "/filter"),
        ({"filter": {"user": "x"}}, "/filter/user"),
        ({"filter": {}, "rate_per_s": 0}, "/rate_per_s"),
        ({"filter": {}, "dry_run": "no"}, "/dry_run"),
        ({"filter": {}, "dry_run": 0}, "/dry_run"),
        ({"filter": {"channel": "fax"}}, "/filter/channel"),
    ],
)
async def test_an_invalid_field_of_a_replay_is_named(
    api: httpx.AsyncClient, asked: dict[str, Any], pointer: str
) -> None:
    answer = await api.post("/dead-letters/replay", json=asked)
    assert (answer.status_code, answer.json()["errors"][0]["pointer"]) == (422, pointer)
