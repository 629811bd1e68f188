"""Push: a message that is too large for every vendor does not count against their health."""

from collections.abc import Callable

from delivery_case import TYPES, Submitter, Worker, catalog
from phone_numbers import unused_number

from domain.notification import Channel, Recipient
from domain.notification_types import ProviderPolicy
from domain.status import Status

PUSH = Channel.PUSH


async def test_a_message_that_is_too_large_opens_no_circuit(
    submitter: Submitter, make_worker: Callable[..., Worker]
) -> None:
    worker = make_worker(catalog(every=ProviderPolicy(timeout_s=5, circuit_failures=1)))
    large = await submitter.accept(channels=(PUSH,), body="x" * 5000)
    await submitter.add_device(large, f"good-{unused_number()}-token", "cd" * 32)
    result = await worker.run(large, PUSH)
    assert (result.status, result.reason) == (Status.DEFERRED, "retry")
    attempts = await large.attempts()
    refused = [(attempt["provider"], attempt["code"], attempt["http_status"]) for attempt in attempts]
    assert refused == [("fcm", "payload_too_large", None), ("apns", "payload_too_large", None)]
    assert worker.health.route(PUSH, TYPES["news"], Recipient()).blocked == {}
    small = await submitter.accept(channels=(PUSH,))
    await submitter.add_device(small, f"good-{unused_number()}-token", None)
    assert (await worker.run(small, PUSH)).status is Status.SENT
