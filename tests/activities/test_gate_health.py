"""What a refusal says about its provider: only what concerns it opens its circuit."""

import pytest
from pass_case import TYPES, Worker

from domain.notification import Channel, Recipient
from domain.outcome import Outcome, SendResult


@pytest.mark.parametrize(
    ("about_provider", "blocked"), [(True, {"twilio": "circuit_open"}), (False, {})], ids=["its own", "ours"]
)
def test_only_a_failure_of_the_provider_opens_its_circuit(
    worker: Worker, about_provider: bool, blocked: dict[str, str]
) -> None:
    refused = SendResult(Outcome.REJECTED, "21408", 400, about_provider=about_provider)
    for _ in range(30):
        worker.gate.report("twilio", refused)
    assert worker.gate.route(Channel.SMS, TYPES["news"], Recipient()).blocked == blocked


@pytest.mark.parametrize(
    ("about_provider", "blocked"), [(True, {"apns": "asked_to_wait"}), (False, {})], ids=["all", "one device"]
)
def test_a_wait_for_one_recipient_keeps_no_other_away(
    worker: Worker, about_provider: bool, blocked: dict[str, str]
) -> None:
    throttled = SendResult(
        Outcome.THROTTLED, "too_many_requests", 429, None, 60.0, about_provider=about_provider
    )
    worker.gate.report("apns", throttled)
    assert worker.gate.route(Channel.PUSH, TYPES["news"], Recipient()).blocked == blocked
