"""SMS: routes by country, allowed countries, segments and costs."""

from collections.abc import Callable

import pytest
from delivery_case import Case, StubbedProvider, Submitter, Worker, catalog
from phone_numbers import unused_number
from structlog.testing import capture_logs

from domain.contracts import Action
from domain.notification import Channel, Strategy
from domain.notification_types import Prices, ProviderPolicy
from domain.outcome import Outcome, SendResult
from domain.reasons import Reason
from domain.sms_policy import SmsPolicy
from domain.status import Status
from storage.queries import Queries

MakeWorker = Callable[..., Worker]
BY_COUNTRY = {"NG": ("termii", "twilio"), "234": ("twilio",), "44": ("termii",)}
PRICED = ProviderPolicy(
    timeout_s=5,
    prices=Prices.model_validate({"currency": "USD", "by_country": {"NG": "0.0495", "1": "0.0083"}}),
)


async def _first(case: Case) -> tuple[str, str, list[str]]:
    attempt = (await case.attempts())[0]
    chosen = attempt["selection"]
    return attempt["provider"], chosen["route_of"], chosen["route"]


async def test_the_numbers_country_selects_the_route(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker = make_worker(sms_routes=BY_COUNTRY)
    nigerian, british = await submitter.accept(), await submitter.accept(to="+447400123456")
    american, own = await submitter.accept(to="+13125550123"), await submitter.accept("alone")
    for case in (nigerian, british, american, own):
        assert (await worker.run(case)).status is Status.SENT
    assert await _first(nigerian) == ("termii", "NG", ["termii", "twilio"])
    assert await _first(british) == ("termii", "44", ["termii"])
    assert await _first(american) == ("twilio", "general", ["twilio", "termii"])
    # A type's own route takes precedence over a country's.
    assert await _first(own) == ("twilio", "type", ["twilio"])


async def test_failover_follows_the_country_route(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker, case = make_worker(sms_routes=BY_COUNTRY), await submitter.accept()
    await submitter.fail(case, "termii")
    assert (await worker.run(case)).status is Status.SENT
    assert await case.outcomes() == [("termii", "unavailable"), ("twilio", "accepted")]


async def test_sms_are_sent_to_allowed_countries_only(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker = make_worker(catalog(sms=SmsPolicy(countries=("GH", "US"))))
    refused, allowed = await submitter.accept(), await submitter.accept(to="+13125550123")
    assert (await worker.plan(refused)).steps == []
    # Planned already, before its number or the list changed.
    late = await submitter.accept()
    assert (await worker.run(late)).action is Action.NOTHING
    for case in (refused, late):
        delivery = await case.delivery()
        assert (delivery.status, delivery.reason_code) == (Status.FAILED, Reason.COUNTRY_NOT_ALLOWED)
        assert (await case.received(), delivery.attempts) == ([], ())
    assert (await worker.run(allowed)).status is Status.SENT


async def test_a_forbidden_country_starts_the_next_channel(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker = make_worker(catalog(sms=SmsPolicy(countries=("GH",))))
    case = await submitter.accept(
        channels=(Channel.SMS, Channel.EMAIL),
        strategy=Strategy.FIRST,
        to_email="a@example.com",
    )
    await worker.plan(case)
    assert (await worker.run(case, Channel.EMAIL)).status is Status.SENT


@pytest.mark.parametrize(
    ("to", "tail", "expected"),
    [
        ("+234", "", (1, "gsm7", "0.0495", "USD")),
        ("+234", "ş" * 140, (3, "ucs2", "0.1485", "USD")),
        ("+1312", "", (1, "gsm7", "0.0083", "USD")),
        ("+44740", "", (1, "gsm7", None, None)),
    ],
)
async def test_an_attempt_records_segments_and_cost(
    submitter: Submitter, make_worker: MakeWorker, to: str, tail: str, expected: tuple[object, ...]
) -> None:
    worker = make_worker(catalog(every=PRICED))
    number = unused_number() if to == "+234" else {"+1312": "+13125550123", "+44740": "+447400123456"}[to]
    case = await submitter.accept(to=number, body=f"{submitter.text} {tail}")
    await worker.run(case)
    queries = Queries(submitter.ledger.pool)
    [shown] = await queries.attempts("bank", case.id) or []
    await queries.close(1)
    assert tuple(shown[name] for name in ("segments", "encoding", "cost", "currency")) == expected
    assert "sms" not in shown["selection"]
    metrics = worker.metrics.render().decode()
    assert f'herald_sms_segments_total{{provider="twilio"}} {expected[0]}.0' in metrics
    if expected[2]:
        assert f'herald_sms_cost_total{{currency="USD",provider="twilio"}} {expected[2]}' in metrics
    # The vendor counts with its own tables, and gets the same result.
    assert "herald_sms_segments_differ_total{" not in metrics


async def test_a_refused_sms_costs_nothing(submitter: Submitter, make_worker: MakeWorker) -> None:
    worker, case = make_worker(catalog(every=PRICED)), await submitter.accept("alone")
    await submitter.fail(case)
    await worker.run(case)
    assert "herald_sms_segments_total{" not in worker.metrics.render().decode()


async def test_a_different_segment_count_is_reported(
    submitter: Submitter, worker: Worker, stubbed: dict[str, StubbedProvider]
) -> None:
    stubbed["twilio"].answers = SendResult(Outcome.ACCEPTED, provider_message_id=unused_number(), segments=2)
    case = await submitter.accept()
    with capture_logs() as logs:
        await worker.run(case)
    [logged] = [entry for entry in logs if entry["event"] == "segments_differ"]
    assert (logged["provider"], logged["ours"], logged["theirs"]) == ("twilio", 1, 2)
    assert 'herald_sms_segments_differ_total{provider="twilio"} 1.0' in worker.metrics.render().decode()
