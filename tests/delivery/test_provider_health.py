"""Provider health: only failures of the provider open its circuit."""

import pytest
from delivery_case import TYPES, Worker

from domain.notification import Channel, Recipient
from domain.outcome import Outcome, SendResult
from providers.email.smtp_replies import Stage, parse_result


@pytest.mark.parametrize(
    ("about_provider", "blocked"), [(True, {"twilio": "circuit_open"}), (False, {})], ids=["its own", "ours"]
)
def test_only_failures_about_the_provider_open_its_circuit(
    worker: Worker, about_provider: bool, blocked: dict[str, str]
) -> None:
    rejected = SendResult(Outcome.REJECTED, "21408", 400, about_provider=about_provider)
    for _ in range(30):
        worker.health.report("twilio", rejected)
    assert worker.health.route(Channel.SMS, TYPES["news"], Recipient()).blocked == blocked


def test_refused_smtp_credentials_open_the_circuit(worker: Worker) -> None:
    """SMTP replies have no HTTP status, but still count."""
    us = parse_result(535, "5.7.8 Authentication credentials invalid", Stage.CONNECTING)
    for _ in range(30):
        worker.health.report("sendgrid", us)
    route = worker.health.route(Channel.EMAIL, TYPES["news"], Recipient())
    assert route.blocked == {"sendgrid": "circuit_open"}


@pytest.mark.parametrize("outcome", [Outcome.REJECTED, Outcome.REJECTED_RECIPIENT])
def test_a_refusal_by_the_adapter_does_not_count(worker: Worker, outcome: Outcome) -> None:
    down = SendResult(Outcome.UNAVAILABLE, "http_503", 503)
    for _ in range(30):
        worker.health.report("twilio", down)
        worker.health.report("twilio", SendResult(outcome, "address_malformed", asked=False))
    assert worker.health.route(Channel.SMS, TYPES["news"], Recipient()).blocked == {"twilio": "circuit_open"}


@pytest.mark.parametrize(
    ("about_provider", "blocked"), [(True, {"apns": "retry_after"}), (False, {})], ids=["all", "one device"]
)
def test_retry_after_for_one_recipient_does_not_block_the_provider(
    worker: Worker, about_provider: bool, blocked: dict[str, str]
) -> None:
    throttled = SendResult(
        Outcome.THROTTLED, "too_many_requests", 429, None, 60.0, about_provider=about_provider
    )
    worker.health.report("apns", throttled)
    assert worker.health.route(Channel.PUSH, TYPES["news"], Recipient()).blocked == blocked
