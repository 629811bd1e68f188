"""Opt-outs, unsubscribes, rate limits and cancellations."""

from datetime import UTC, datetime, timedelta

import httpx

from devstack.scenarios.case import Case
from devstack.scenarios.scenario import Scenario

LIMIT = 3
"""SMS per user and hour of the type price_alert, as configured."""


async def opted_out(case: Case) -> None:
    await case.api.put(f"/users/{case.user()}/contacts", {"phone": case.phone()})
    await case.api.put(f"/users/{case.user()}/preferences", {"types": {"*": {"sms": False}}})
    unwanted = await case.accepted("price_alert", ["sms"])
    required = await case.accepted("debit_alert", ["sms"])
    seen = await case.becomes(unwanted, "suppressed")
    case.expect(seen["reason_code"] == "opted_out", f"reason {seen['reason_code']}")
    await case.becomes(required, "delivered")
    await case.expect_received(twilio=1)
    case.expect(not await case.api.attempts(unwanted), "the opted-out notification has attempts")


async def rate_limited(case: Case) -> None:
    await case.api.put(f"/users/{case.user()}/contacts", {"phone": case.phone()})
    for n in range(LIMIT):
        id = await case.accepted("price_alert", ["sms"], content={"body": f"Scenario 8: price {n}"})
        await case.becomes(id, "delivered")
    above = await case.accepted("price_alert", ["sms"], content={"body": "Scenario 8: above the limit"})
    await case.becomes(above, "rate_limited")
    otp = await case.accepted("otp", ["sms"])
    await case.becomes(otp, "delivered")
    await case.expect_received(twilio=LIMIT + 1)
    texts = [message["text"] for _, message in await case.received()]
    case.expect("Scenario 8: above the limit" not in texts, "the message above the limit was sent")


async def cancelled(case: Case) -> None:
    at = datetime.now(UTC) + timedelta(seconds=10)
    id = await case.accepted("statement", ["email"], to={"email": case.email()}, send_at=at.isoformat())
    seen = await case.api.notification(id)
    case.expect(seen["status"] == "scheduled", f"it was {seen['status']} before it was cancelled")
    response = await case.api.post(f"/notifications/{id}/cancel")
    case.expect(response.status == 200, f"the cancellation returned {response.status}")
    await case.becomes(id, "cancelled")
    until_due = at + timedelta(seconds=2) - datetime.now(UTC)
    await case.receives_nothing_more(until_due.total_seconds())
    await case.expect_received()


async def unsubscribed(case: Case) -> None:
    to = {"email": case.email()}
    first = await case.accepted("statement", ["email"], to=to)
    await case.becomes(first, "delivered")
    link = str((await case.only_message())["headers"]["List-Unsubscribe"]).strip("<>")
    async with httpx.AsyncClient(trust_env=False) as mailbox:
        click = await mailbox.post(link, data={"List-Unsubscribe": "One-Click"})
    case.expect(click.status_code == 200, f"the unsubscribe link returned {click.status_code}")
    second = await case.accepted("statement", ["email"], to=to, content={"body": "Scenario 20: the next one"})
    seen = await case.becomes(second, "suppressed")
    case.expect(seen["reason_code"] == "opted_out", f"reason {seen['reason_code']}")
    required = await case.accepted("debit_alert", ["email"], to=to)
    await case.becomes(required, "delivered")
    # The total over all vendors: scenarios that run at the same time may open one vendor's circuit.
    received = len(await case.received())
    case.expect(received == 2, f"{received} messages, expected 2")
    kinds = [entry["kind"] for entry in await case.api.timeline(first)]
    case.expect("unsubscribed" in kinds, "the timeline has no entry `unsubscribed`")


OPTED_OUT = Scenario(7, "opted-out user", "suppressed; a required type is still sent", opted_out)
RATE_LIMITED = Scenario(
    8, "fourth SMS within the hour", "rate_limited; an OTP is still sent: it has its own limit", rate_limited
)
UNSUBSCRIBED = Scenario(
    20, "one-click unsubscribe", "the next is suppressed; a required type is still sent", unsubscribed
)
CANCELLED = Scenario(15, "scheduled, then cancelled", "cancelled; nothing sent", cancelled)
