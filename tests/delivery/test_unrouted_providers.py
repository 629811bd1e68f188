"""Passes through providers in no default route: their capability to resolve decides the result."""

from collections.abc import Callable

import pytest
from delivery_case import Case, StubbedProvider, Submitter, Worker
from phone_numbers import unused_number

from domain.notification import Channel
from domain.status import Status
from providers.base import Provider


async def _mail(submitter: Submitter, type: str) -> Case:
    to = f"{unused_number().lstrip('+')}@customers.example"
    return await submitter.accept(type, channels=(Channel.EMAIL,), to=to, to_email=to, title="News")


@pytest.mark.parametrize("kind", ["accept_then_close", "reset", "malformed"])
async def test_resend_is_called_again_and_sends_once(
    submitter: Submitter,
    stubbed: dict[str, StubbedProvider],
    vendors: dict[str, Provider],
    make_worker: Callable[..., Worker],
    kind: str,
) -> None:
    stubbed["sendgrid"] = StubbedProvider(vendors["resend"])
    worker, case = make_worker(), await _mail(submitter, "stop")
    await submitter.simulators.fault("resend", kind, case.to, times=1)
    assert (await worker.settle(case, Channel.EMAIL)).status is Status.SENT
    assert await case.outcomes() == [("sendgrid", "accepted")]
    assert len(await case.received("resend")) == 1
    assert await case.is_proven("resend")
    assert not await case.received("mailgun")


@pytest.mark.parametrize(
    ("place", "name", "channel"),
    [("sendgrid", "smtp", Channel.EMAIL), ("twilio", "africastalking", Channel.SMS)],
)
@pytest.mark.parametrize(
    ("type", "status", "outcomes"),
    [("stop", Status.OUTCOME_UNKNOWN, ["unknown"]), ("failover", Status.SENT, ["unknown", "accepted"])],
)
async def test_without_a_lookup_the_type_decides(
    submitter: Submitter,
    stubbed: dict[str, StubbedProvider],
    vendors: dict[str, Provider],
    make_worker: Callable[..., Worker],
    place: str,
    name: str,
    channel: Channel,
    type: str,
    status: Status,
    outcomes: list[str],
) -> None:
    stubbed[place] = StubbedProvider(vendors[name])
    worker, case = (
        make_worker(),
        await (submitter.accept(type) if channel is Channel.SMS else _mail(submitter, type)),
    )
    await submitter.simulators.fault(name, "accept_then_close", case.to)
    assert (await worker.settle(case, channel)).status is status
    assert [outcome for _, outcome in await case.outcomes()] == outcomes
    assert len(await case.received(name)) == 1


async def test_a_refusal_by_the_mail_server_fails_over(
    submitter: Submitter,
    stubbed: dict[str, StubbedProvider],
    vendors: dict[str, Provider],
    make_worker: Callable[..., Worker],
) -> None:
    stubbed["sendgrid"] = StubbedProvider(vendors["smtp"])
    worker, case = make_worker(), await _mail(submitter, "news")
    await submitter.simulators.fault("smtp", "reset", case.to, stage="data")
    assert (await worker.run(case, Channel.EMAIL)).status is Status.SENT
    assert await case.outcomes() == [("sendgrid", "not_sent"), ("mailgun", "accepted")]
