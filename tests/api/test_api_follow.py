"""Showing, listing and cancelling notifications; their attempts and timelines."""

import asyncio
from datetime import UTC, datetime, timedelta
from uuid import uuid4

import httpx
import pytest
from api_case import Submit, attempted, loaded, sent
from deliveries import delivery_over

from domain.notification import Channel
from domain.outcome import Outcome, Receipt, ReceiptStatus
from domain.status import Status
from domain.transition import Transition
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.receipts import Receipts
from storage.records import AttemptOutcome, DeliveryUpdate


async def test_lists_are_filtered(api: httpx.AsyncClient, submit: Submit, ledger: Ledger) -> None:
    user = f"listed-{uuid4()}"
    sms = (await submit(user_id=user))["id"]
    mail = (await submit(user_id=user, type="statement", channels=["email", "push"]))["id"]
    later = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    scheduled = (await submit(user_id=user, send_at=later))["id"]
    await sent(ledger, sms, f"SM-{user}")
    everything = [scheduled, mail, sms]
    for query, expected in (
        ({}, everything),
        ({"type": "statement"}, [mail]),
        ({"status": "scheduled"}, [scheduled]),
        ({"status": "sent"}, [sms]),
        ({"channel": "push"}, [mail]),
        ({"provider": "twilio"}, [sms]),
        ({"provider": "termii"}, []),
        ({"created_after": "2020-01-01T00:00:00Z"}, everything),
        ({"created_before": "2020-01-01T00:00:00Z"}, []),
        ({"channel": "sms", "created_after": "2020-01-01T00:00:00+01:00"}, [scheduled, sms]),
    ):
        answer = await api.get("/notifications", params={"user_id": user, **query})
        assert answer.status_code == 200, answer.text
        assert [shown["id"] for shown in answer.json()["notifications"]] == expected, query


async def test_pages_are_complete_and_stable(api: httpx.AsyncClient, submit: Submit) -> None:
    user = f"reader-{uuid4()}"
    ids = [(await submit(user_id=user))["id"] for _ in range(5)]
    seen: list[str] = []
    query: dict[str, str | int] = {"user_id": user, "limit": 2}
    for _ in range(3):
        page = (await api.get("/notifications", params=query)).json()
        seen += [shown["id"] for shown in page["notifications"]]
        if page["next_cursor"]:
            query["cursor"] = page["next_cursor"]
            # New notifications do not shift later pages.
            await submit(user_id=user)
    assert seen == ids[::-1]
    assert page["next_cursor"] is None


@pytest.mark.parametrize(
    ("query", "pointer"),
    [
        ({"cursor": "nonsense"}, "/query/cursor"),
        ({"cursor": "MjAyNi0xMS0yMg=="}, "/query/cursor"),
        ({"cursor": "é"}, "/query/cursor"),
        ({"limit": 0}, "/query/limit"),
        ({"limit": "many"}, "/query/limit"),
        ({"status": "lost"}, "/query/status"),
        ({"channel": "fax"}, "/query/channel"),
        ({"created_after": "yesterday"}, "/query/created_after"),
        ({"created_after": "0001-01-01T00:00:00+14:00"}, "/query/created_after"),
        ({"user_id": "\0"}, "/query/user_id"),
    ],
)
async def test_an_invalid_query_parameter_is_named(
    api: httpx.AsyncClient, query: dict[str, str], pointer: str
) -> None:
    answer = await api.get("/notifications", params=query)
    assert answer.status_code == 422
    assert [error["pointer"] for error in answer.json()["errors"]] == [pointer]


async def test_attempts_are_shown(api: httpx.AsyncClient, submit: Submit, ledger: Ledger) -> None:
    id = (await submit())["id"]
    assert (await api.get(f"/notifications/{id}/attempts")).json() == {"attempts": []}
    await attempted(ledger, id)
    (unfinished,) = (await api.get(f"/notifications/{id}/attempts")).json()["attempts"]
    assert (unfinished["provider"], unfinished["outcome"], unfinished["target_masked"]) == (
        "twilio",
        None,
        "+234•••••6789",
    )
    shown = (await api.get(f"/notifications/{id}")).json()
    assert shown["status"] == "sending"
    assert (shown["deliveries"][0]["provider"], shown["deliveries"][0]["attempts"]) == ("twilio", 1)


async def test_a_timeline_shows_every_event_in_order(
    api: httpx.AsyncClient, submit: Submit, ledger: Ledger, pool: Pool
) -> None:
    id = (await submit())["id"]
    notification, number = await attempted(ledger, id)
    delivery = delivery_over(notification, Channel.SMS)
    again = Transition(Status.ACCEPTED, notification.now, "retry", event="next_pass", data={"pass_number": 1})
    failed = AttemptOutcome(
        notification.id,
        delivery.id,
        number,
        delivery.version,
        Outcome.NOT_SENT,
        again,
        code="not_found",
        resolved_by="lookup",
    )
    assert await ledger.close_attempt(failed)
    await sent(ledger, id, f"SM-{id}")
    receipts = Receipts(pool)
    receipt = Receipt(f"event-{id}", ReceiptStatus.DELIVERED, provider_message_id=f"SM-{id}")
    await receipts.store("twilio", [receipt])
    assert (await receipts.apply_due(10)).taken == 1
    await receipts.close(timeout_s=5)

    timeline = (await api.get(f"/notifications/{id}/timeline")).json()
    assert timeline["workflow_id"] == f"ntf-{id}"
    assert timeline["temporal_ui_url"] == f"http://ui.example/namespaces/default/workflows/ntf-{id}"
    entries = timeline["entries"]
    kinds = [entry["kind"] for entry in entries]
    expected = [
        *(
            "accepted",
            "plan",
            "attempt",
            "attempt_resolved",
            "next_pass",
            "attempt",
            "sent",
            "receipt",
            "final",
        )
    ]
    # The timeline may also hold the receipt's own event.
    assert [kind for kind in kinds if kind in expected] == expected
    assert [entry["at"] for entry in entries[:-1]] == sorted(entry["at"] for entry in entries[:-1])
    [plan] = [entry["data"] for entry in entries if entry["kind"] == "plan"]
    assert plan["action"] == "send"
    attempts = [entry["data"] for entry in entries if entry["kind"] == "attempt"]
    assert [(a["number"], a["outcome"], a["resolved_by"]) for a in attempts] == [
        (1, "not_sent", "lookup"),
        (2, "accepted", "response"),
    ]
    assert attempts[1]["latency_ms"] == 12
    assert attempts[1]["selection"] == {"reason": "first in order"}
    assert entries[-1]["data"]["status"] == timeline["status"] == "delivered"


async def test_a_waiting_notification_is_cancelled(
    api: httpx.AsyncClient, submit: Submit, pool: Pool
) -> None:
    for changes in ({}, {"channels": ["sms", "email", "push"], "strategy": "first"}):
        id = (await submit(**changes))["id"]
        answer = await api.post(f"/notifications/{id}/cancel")
        assert answer.status_code == 200, answer.text
        shown = answer.json()
        assert (shown["status"], shown["reason_code"]) == ("cancelled", "cancelled_by_client")
        assert {delivery["status"] for delivery in shown["deliveries"]} == {"cancelled"}
        assert shown["final_at"]
        assert await pool.fetchval("SELECT count(*) FROM due WHERE id = $1", id) == 0
        assert (await api.post(f"/notifications/{id}/cancel")).json() == shown


async def test_a_sending_or_sent_notification_is_not_cancelled(
    api: httpx.AsyncClient, submit: Submit, ledger: Ledger
) -> None:
    sending = (await submit())["id"]
    await attempted(ledger, sending)
    over = (await submit())["id"]
    await sent(ledger, over, f"SM-{over}")
    for id in (sending, over):
        answer = await api.post(f"/notifications/{id}/cancel")
        assert (answer.status_code, answer.json()["code"]) == (409, "wrong_status")


async def test_a_cancel_stops_the_channels_that_are_not_sending(
    api: httpx.AsyncClient, submit: Submit, ledger: Ledger
) -> None:
    id = (await submit(channels=["sms", "email"], strategy="first"))["id"]
    notification, number = await attempted(ledger, id)
    answer = await api.post(f"/notifications/{id}/cancel")
    assert [delivery["status"] for delivery in answer.json()["deliveries"]] == ["sending", "cancelled"]
    delivery = delivery_over(notification, Channel.SMS)
    failed = Transition(Status.FAILED, None, "recipient_rejected")
    outcome = AttemptOutcome(
        notification.id, delivery.id, number, delivery.version, Outcome.REJECTED_RECIPIENT, failed
    )
    assert await ledger.close_attempt(outcome)
    shown = (await api.get(f"/notifications/{id}")).json()
    assert [delivery["status"] for delivery in shown["deliveries"]] == ["failed", "cancelled"]


async def test_a_cancel_never_starts_the_next_channel(
    api: httpx.AsyncClient, submit: Submit, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await submit(channels=["sms", "email", "push"], strategy="first"))["id"]
    update, turns, seen = Ledger.update, asyncio.Lock(), set[Status]()

    async def one_by_one(self: Ledger, asked: DeliveryUpdate) -> object:
        async with turns:
            updated = await update(self, asked)
            seen.update(d.status for d in (await loaded(ledger, id)).deliveries if d.position > 0)
            return updated

    monkeypatch.setattr(Ledger, "update", one_by_one)
    assert (await api.post(f"/notifications/{id}/cancel")).status_code == 200
    assert seen <= {Status.WAITING, Status.CANCELLED}


async def test_a_cancel_survives_a_concurrent_update(
    api: httpx.AsyncClient, submit: Submit, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    id = (await submit())["id"]
    update = Ledger.update

    async def late(self: Ledger, asked: DeliveryUpdate) -> object:
        monkeypatch.setattr(Ledger, "update", update)
        seen = await loaded(ledger, id)
        delivery = delivery_over(seen, Channel.SMS)
        deferred = Transition(Status.DEFERRED, seen.now + timedelta(hours=1), "quiet_hours")
        assert await update(ledger, DeliveryUpdate(seen.id, delivery.id, delivery.version, deferred))
        return await update(self, asked)

    monkeypatch.setattr(Ledger, "update", late)
    answer = await api.post(f"/notifications/{id}/cancel")
    assert (answer.status_code, answer.json()["status"]) == (200, "cancelled")
