"""One idempotency key, one notification."""

import asyncio

from devstack.scenarios.case import Case
from devstack.scenarios.scenario import Scenario

AT_ONCE = 20


async def same_request(case: Case) -> None:
    to = {"sms": case.phone()}
    responses = await asyncio.gather(
        *(case.submit("debit_alert", ["sms"], key="the-same", to=to) for _ in range(AT_ONCE))
    )
    new = [response for response in responses if response.status == 202]
    replayed = [response for response in responses if response.status == 200 and response.replayed]
    case.expect((len(new), len(replayed)) == (1, AT_ONCE - 1), f"{len(new)} new and {len(replayed)} replayed")
    case.expect(len(case.notifications) == 1, f"{len(case.notifications)} ids")
    await case.becomes(case.notifications[0], "delivered")
    await case.expect_received(twilio=1)


async def other_body(case: Case) -> None:
    to = {"sms": case.phone()}
    first = await case.submit("debit_alert", ["sms"], key="the-same", to=to)
    changed = {"body": "Scenario 6: another amount"}
    second = await case.submit("debit_alert", ["sms"], key="the-same", to=to, content=changed)
    case.expect(first.status == 202, f"the first submission returned {first.status}")
    case.expect(
        (second.status, second.code) == (422, "idempotency_key_reused"),
        f"the second submission returned {second.status} {second.code}",
    )
    await case.becomes(first.id, "delivered")
    await case.expect_received(twilio=1)
    texts = [message["text"] for _, message in await case.received()]
    case.expect(changed["body"] not in texts, "the second body was sent")


SAME_REQUEST = Scenario(5, f"{AT_ONCE} concurrent requests with one key", "one message", same_request)
OTHER_BODY = Scenario(6, "the same key with another body", "422; the first is delivered", other_body)
