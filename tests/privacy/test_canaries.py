"""Contacts, contents, codes and credentials appear only where they belong, in every outcome."""

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote
from uuid import UUID

import httpx
import pytest
import pytest_asyncio
from canaries import Canaries, command_lines, histories, measured, tables, written

from devstack.demo import CONFIG
from devstack.ports import Ports
from devstack.scenarios.case import StackClients
from devstack.scenarios.waiting import until
from devstack.stack import TENANT, Stack
from domain.status import PARKED

pytestmark = pytest.mark.stack

PATIENCE_S = 60.0
SMS = ("twilio", "termii")


@dataclass(slots=True)
class Run:
    """One run through every outcome, and the data that it leaves."""

    stage: StackClients
    canaries: Canaries = field(default_factory=Canaries)
    ids: list[str] = field(default_factory=list[str])
    codes: dict[str, str] = field(default_factory=dict[str, str])
    """The notification id of each one-time code."""

    async def submit(
        self, type: str, channels: list[str], *statuses: str, code: str = "", **more: Any
    ) -> str:
        """Submit with canaries in every private field, and wait for one of the statuses."""
        word = self.canaries.word
        body = {
            "user_id": f"user-{len(self.ids)}",
            "type": type,
            "channels": channels,
            "content": {"title": word("title"), "body": f"{word('body')} {code}"},
            "metadata": {"note": word("metadata")},
        }
        answer = await self.stage.api.submit(body | more, word("key"))
        assert answer.status == 202, answer.body
        self.ids.append(answer.id)
        if code:
            self.codes[f"code {code}"] = answer.id
        await self.becomes(answer.id, *statuses)
        return answer.id

    async def becomes(self, id: str, *statuses: str) -> None:
        await until(
            f"{id} becomes {' or '.join(statuses)}",
            lambda: self.stage.api.notification(id),
            lambda seen: seen["status"] in statuses,
            PATIENCE_S,
        )

    async def fault(self, kind: str, to: str, vendors: tuple[str, ...] = SMS, **more: Any) -> None:
        for vendor in vendors:
            await self.stage.simulators.fault(vendor, kind, to, **more)


async def delivered(run: Run) -> None:
    code = run.canaries.code()
    await run.submit("otp", ["sms"], "delivered", code=code, to={"sms": run.canaries.phone()})
    await run.submit("statement", ["email"], "delivered", to={"email": run.canaries.email()})
    user = "pushed"
    devices = [
        {"device_id": "gone", "fcm_token": run.canaries.fcm_token("unregistered-")},
        {"device_id": "both", "fcm_token": run.canaries.fcm_token(), "apns_token": run.canaries.apns_token()},
    ]
    await run.stage.api.put(f"/users/{user}/devices", {"devices": devices})
    await run.submit("statement", ["push"], "sent", user_id=user)
    browser = {"device_id": "browser", "webpush": run.canaries.browser()}
    await run.stage.api.put("/users/surfs/devices", {"devices": [browser]})
    await run.submit("statement", ["push"], "sent", user_id="surfs")
    phone, email, whatsapp = run.canaries.phone(), run.canaries.email(), run.canaries.phone()
    contacts = {"phone": phone, "email": email, "whatsapp": whatsapp}
    await run.stage.api.put("/users/known/contacts", contacts)
    await run.submit("otp", ["whatsapp"], "delivered", user_id="known", code=run.canaries.code())
    absent = run.canaries.phone()
    await run.stage.simulators.callbacks("whatsapp_cloud", absent, final="undelivered", code=131026)
    await run.submit("debit_alert", ["whatsapp"], "undelivered", to={"whatsapp": absent})
    await run.submit("price_alert", ["sms", "email"], "delivered", user_id="known")


async def refused_by_vendors(run: Run) -> None:
    phone, email, token = run.canaries.phone(), run.canaries.email(), run.canaries.fcm_token("bad-")
    await run.fault("status", phone, status=400, code=21211)
    await run.fault("status", email, ("sendgrid", "mailgun"), status=400)
    await run.stage.api.put("/users/bad/devices", {"devices": [{"device_id": "bad", "fcm_token": token}]})
    ended = ("failed", "undelivered", "dead_lettered")
    await asyncio.gather(
        run.submit("otp", ["sms"], *ended, code=run.canaries.code(), to={"sms": phone}),
        run.submit("statement", ["email"], *ended, to={"email": email}),
        run.submit("statement", ["push"], *ended, user_id="bad"),
    )


async def ambiguous(run: Run) -> None:
    closed, garbled, silent = (run.canaries.phone() for _ in range(3))
    email = run.canaries.email()
    await run.stage.simulators.fault("twilio", "accept_then_close", closed)
    await run.fault("malformed", garbled)
    await run.fault("black_hole", silent, ("twilio",), times=1)
    await run.fault("reset", email, ("sendgrid",), times=1)
    ended = ("sent", "delivered", "outcome_unknown", "dead_lettered", "failed")
    await asyncio.gather(
        run.submit("debit_alert", ["sms"], *ended, to={"sms": closed}),
        run.submit("debit_alert", ["sms"], *ended, to={"sms": garbled}),
        run.submit("otp", ["sms"], *ended, code=run.canaries.code(), to={"sms": silent}),
        run.submit("statement", ["email"], *ended, to={"email": email}),
    )


async def dead_lettered(run: Run) -> None:
    down, mended = run.canaries.phone(), run.canaries.phone()
    await run.fault("status", down, status=503)
    id = await run.submit("debit_alert", ["sms"], "dead_lettered", to={"sms": down})
    answer = await run.stage.api.post(f"/dead-letters/{id}/retry", {"to": {"sms": mended}})
    assert answer.status == 200, answer.body
    await run.becomes(id, "delivered")


async def codes_that_are_not_used(run: Run) -> None:
    """One-time codes in the states in which they wait, each with the code in its metadata and its address."""
    down = run.canaries.phone()
    await run.fault("status", down, status=503)
    code, later = run.canaries.code(), run.canaries.code()
    metadata = {"code": code, "note": run.canaries.word("metadata")}
    await run.submit("otp", ["sms"], "dead_lettered", code=code, to={"sms": down}, metadata=metadata)
    at = (datetime.now(UTC) + timedelta(hours=1)).isoformat()
    phone = run.canaries.phone()
    await run.submit("otp", ["sms"], "scheduled", code=later, to={"sms": phone}, send_at=at)


async def suppressed(run: Run) -> None:
    address = run.canaries.email()
    await run.stage.api.post("/suppressions", {"channel": "email", "address": address})
    await run.submit("statement", ["email"], "suppressed", to={"email": address})


async def operated(run: Run) -> None:
    """What operators do, with canaries in all that they read and write."""
    api, phone, email = run.stage.api, run.canaries.phone(), run.canaries.email()
    contacts = {"phone": phone, "email": email}
    devices = [{"device_id": "one", "fcm_token": run.canaries.fcm_token(), "webpush": run.canaries.browser()}]
    await api.put("/users/operated/contacts", contacts)
    await api.put("/users/operated/devices", {"devices": devices})
    assert (await api.get("/users/operated/contacts"))["phone"] == phone
    assert (await api.get("/users/operated/devices"))["devices"]
    body = {"channel": "sms", "address": phone, "reason": f"{email} asked from {phone}"}
    assert (await api.post("/suppressions", body)).status == 201
    assert (await api.get(f"/suppressions?channel=sms&address={quote(phone)}"))["suppressions"]
    down = run.canaries.phone()
    await run.fault("status", down, status=503)
    id = await run.submit("debit_alert", ["sms"], "dead_lettered", to={"sms": down})
    assert (await api.post(f"/dead-letters/{id}/discard")).status == 200
    async with httpx.AsyncClient(base_url=run.stage.stack.api_url, trust_env=False, timeout=10) as client:
        headers = {
            "Authorization": f"Bearer {run.stage.stack.operator_key}",
            "Herald-Tenant": TENANT,
            "Herald-Reason": f"{phone} and {email} called, with hk_{run.canaries.word('secret')}",
        }
        for status in ("drained", "active"):
            done = await client.patch("/v1/providers/resend", json={"status": status}, headers=headers)
            assert done.status_code in (200, 409), done.text
        channel = {"channel": "sms", "address": phone}
        assert (await client.delete("/v1/suppressions", params=channel, headers=headers)).is_success


async def refused_by_the_api(run: Run) -> None:
    word, api = run.canaries.word, run.stage.api
    wrong: list[dict[str, Any]] = [
        {"user_id": "x", "type": word("type"), "channels": ["sms"], "content": {"body": word("body")}},
        {
            "user_id": "x",
            "type": "otp",
            "channels": ["sms"],
            "content": {"body": word("body")},
            "to": {"sms": word("to")},
        },
        {"user_id": "x", "type": "otp", "channels": ["sms"], "content": {"body": f"{word('body')}\0"}},
        {
            "user_id": "x",
            "type": "otp",
            "channels": ["sms"],
            "content": {"body": word("body")},
            word("field"): 1,
        },
    ]
    for mistake in wrong:
        body = {"user_id": "x", "type": "otp", "channels": ["sms"], "content": {"body": word("body")}}
        assert (await api.submit(body | mistake, word("key"))).status == 422
    async with httpx.AsyncClient(base_url=run.stage.stack.api_url, trust_env=False, timeout=10) as client:
        headers = {"Authorization": f"Bearer hk_{word('secret')}"}
        assert (await client.get("/v1/notifications", headers=headers)).status_code == 401
        for vendor in ("twilio", "termii", "sendgrid", "mailgun", "whatsapp_cloud"):
            forged = await client.post(
                f"/v1/callbacks/{vendor}?ref={word('ref')}",
                content=f'{{"to": "{run.canaries.phone()}", "text": "{word("callback")}"}}',
                headers={"X-Twilio-Signature": word("signature")},
            )
            assert forged.status_code in (400, 401, 403), forged.text
        cut = await client.post(
            "/v1/notifications",
            content=f'{{"content": {{"body": "{word("malformed")}',
            headers={
                "Authorization": f"Bearer {run.stage.stack.api_key}",
                "Content-Type": "application/json",
            },
        )
        assert cut.status_code == 400


@pytest_asyncio.fixture(scope="module")
async def run(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Run]:
    environment = {name: value for name, value in os.environ.items() if not name.startswith("HERALD_")}
    environment |= {"HERALD_CONFIG": str(CONFIG), "HERALD_LOG_LEVEL": "DEBUG"}
    environment["HERALD_ROUTES__PUSH"] = "fcm,apns,webpush"
    directory: Path = tmp_path_factory.mktemp("stack")
    async with Stack(directory, Ports.free(), environment) as stack, StackClients.connect(stack) as stage:
        run = Run(stage)
        # The simulators' settings stand for the credentials of every vendor account.
        for name, value in stack.environment.items():
            if name.startswith("HERALD_") and name.endswith(("_TOKEN", "_KEY", "_SECRET", "ACCOUNT_SID")):
                run.canaries.known(name, value)
        run.canaries.known("the API key", stack.api_key)
        run.canaries.known("the key of the installation", stack.operator_key)
        await asyncio.gather(
            *(
                part(run)
                for part in (
                    *(delivered, refused_by_vendors, ambiguous, dead_lettered, suppressed),
                    operated,
                    codes_that_are_not_used,
                    refused_by_the_api,
                )
            )
        )
        yield run


async def test_histories_hold_ids_and_codes_only(run: Run) -> None:
    found = await histories(run.stage.stack)
    shown = "\n".join(found.values())
    # Proof that the search decodes payloads: every notification's id is in one, unless it is not due yet.
    missing = [id for id in run.ids if id not in shown]
    assert [(await run.stage.api.notification(id))["status"] for id in missing] == ["scheduled"]
    assert "•" in shown
    assert run.canaries.seen_in(found) == []


async def test_logs_and_the_stores_files_hold_no_canary(run: Run) -> None:
    found = written(run.stage.stack)
    assert {"logs/api.log", "logs/worker.log", "logs/worker_critical.log"} <= found.keys()
    assert any(run.ids[0] in text for place, text in found.items() if place.startswith("temporal/"))
    own = {place: text for place, text in found.items() if "simulators" not in place}
    assert run.canaries.seen_in(own) == []


async def test_metrics_hold_no_canary(run: Run) -> None:
    found = await measured(run.stage.stack)
    assert all("herald_" in text for text in found.values())
    assert run.canaries.seen_in(found) == []


async def test_command_lines_hold_no_canary(run: Run) -> None:
    found = command_lines(run.stage.stack)
    assert len(found) == 8
    assert run.canaries.seen_in(found) == []


async def test_the_ledger_keeps_canaries_in_the_private_tables_only(run: Run) -> None:
    belongs = await tables(run.stage.ledger, private=True)
    assert len(run.canaries.seen_in(belongs)) > len(run.ids), "the canaries were never there"
    actions = {row["action"] for row in await run.stage.ledger.fetch("SELECT action FROM audit_log")}
    assert actions >= {"contacts.read", "devices.read", "suppressions.read", "suppression.add"}
    assert actions >= {"dead_letter.retry", "dead_letter.discard", "suppression.remove"}
    keys = {name for name in run.canaries.spellings if name.startswith("canarykey")}
    elsewhere = await tables(run.stage.ledger, private=False)
    # The idempotency key is the client's name for a notification and must be comparable.
    seen = [s for s in run.canaries.seen_in(elsewhere) if s.partition(" in ")[0] not in keys]
    assert seen == []


async def test_codes_are_deleted_once_a_notification_is_final(run: Run) -> None:
    """A parked notification keeps its code until its expiry: an operator may retry it."""
    views = {code: await run.stage.api.notification(id) for code, id in run.codes.items()}
    parked = {code for code, view in views.items() if view["status"] in PARKED}
    assert views.keys() - parked
    everywhere = await tables(run.stage.ledger, private=True)
    kept = {seen.partition(" in ")[0] for seen in run.canaries.seen_in(everywhere)}
    waiting = {code for code, view in views.items() if view["status"] == "scheduled"}
    assert waiting
    assert kept & views.keys() == parked | waiting


async def test_codes_are_deleted_everywhere_once_they_have_expired(run: Run) -> None:
    """Last, because it changes the notifications: their time is moved, and the worker's loop removes them."""
    ids = [UUID(id) for id in run.codes.values()]
    for table, key in (
        ("deliveries", "notification_id"),
        ("notifications", "id"),
        ("expiring_contents", "notification_id"),
    ):
        past = f"UPDATE {table} SET expires_at = now() - interval '1 second' WHERE {key} = ANY($1)"
        await run.stage.ledger.execute(past, ids)
    for code, id in run.codes.items():
        view = await run.stage.api.notification(id)
        assert code.removeprefix("code ") not in str(view["metadata"])

    async def left() -> set[str]:
        places = {
            **await tables(run.stage.ledger, private=True),
            **await tables(run.stage.ledger, private=False),
        }
        return {seen for seen in run.canaries.seen_in(places) if seen.startswith("code ")}

    await until("the codes are gone", left, lambda seen: not seen, PATIENCE_S)
    everywhere = {**await histories(run.stage.stack), **written(run.stage.stack)}
    own = {place: text for place, text in everywhere.items() if "simulators" not in place}
    assert [seen for seen in run.canaries.seen_in(own) if seen.startswith("code ")] == []
