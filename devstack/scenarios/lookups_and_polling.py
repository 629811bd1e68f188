"""Finding the outcome of a message without a response or a callback: by look-up, and by polling."""

from devstack.scenarios.case import PATIENCE_S, Case
from devstack.scenarios.scenario import Scenario
from devstack.scenarios.waiting import until


async def looked_up(case: Case) -> None:
    to = case.phone()
    # With callbacks held back, only a look-up can find the message.
    await case.vendors.callbacks("twilio", to, mode="held")
    await case.vendors.fault("twilio", "accept_then_close", to)
    id = await case.accepted("debit_alert", ["sms"], to={"sms": to})
    await case.becomes(id, "sent")
    attempt = await case.only_attempt(id)
    case.expect(attempt["resolved_by"] == "lookup", f"resolved by {attempt['resolved_by']}")
    case.expect(
        "message_matched" in [entry["kind"] for entry in await case.api.timeline(id)],
        "the timeline has no entry `message_matched`",
    )
    message = await case.only_message()
    await case.vendors.report("twilio", message["id"], "delivered")
    await case.becomes(id, "delivered")
    await case.expect_received(twilio=1)


async def polled(case: Case) -> None:
    to = case.phone()
    await case.vendors.callbacks("twilio", to, mode="lost")
    id = await case.accepted("otp", ["sms"], to={"sms": to})
    await until(
        "the receipt is polled",
        lambda: case.api.timeline(id),
        lambda entries: any(e["kind"] == "receipt" and e["data"]["source"] == "poll" for e in entries),
        PATIENCE_S,
    )
    await case.becomes(id, "delivered")
    case.note("receipt polled")
    await case.expect_received(twilio=1)


LOOKED_UP = Scenario(
    9,
    "Twilio accepts, then the connection closes",
    "found by look-up: exactly one message",
    looked_up,
)
POLLED = Scenario(12, "a callback is lost", "receipt polled: delivered", polled)
