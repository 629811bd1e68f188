"""Passes through providers that are in no default route: what each can resolve decides how they end."""

from collections.abc import Callable

import pytest
from pass_case import Case, Desk, Dressed, Worker, phone

from domain.notification import Channel
from domain.status import Status
from providers.base import Provider


async def _mail(desk: Desk, type: str) -> Case:
    to = f"{phone().lstrip('+')}@customers.example"
    return await desk.accept(type, channels=(Channel.EMAIL,), to=to, to_email=to, title="News")


@pytest.mark.parametrize("kind", ["accept_then_close", "reset", "malformed"])
async def test_resend_is_asked_again_and_sends_once(
    desk: Desk,
    dressed: dict[str, Dressed],
    vendors: dict[str, Provider],
    hire: Callable[..., Worker],
    kind: str,
) -> None:
    dressed["sendgrid"] = Dressed(vendors["resend"])
    worker, case = hire(), await _mail(desk, "stop")
    await desk.simulators.fault("resend", kind, case.to, times=1)
    assert (await worker.settle(case, Channel.EMAIL)).state is Status.SENT
    assert await case.outcomes() == [("sendgrid", "accepted")]
    assert len(await case.received("resend")) == 1
    assert await case.is_proven("resend")
    assert not await case.received("mailgun")


@pytest.mark.parametrize(
    ("place", "name", "channel"),
    [("sendgrid", "smtp", Channel.EMAIL), ("twilio", "africastalking", Channel.SMS)],
)
@pytest.mark.parametrize(
    ("type", "state", "outcomes"),
    [("stop", Status.OUTCOME_UNKNOWN, ["unknown"]), ("failover", Status.SENT, ["unknown", "accepted"])],
)
async def test_what_cannot_be_asked_ends_as_its_type_says(
    desk: Desk,
    dressed: dict[str, Dressed],
    vendors: dict[str, Provider],
    hire: Callable[..., Worker],
    place: str,
    name: str,
    channel: Channel,
    type: str,
    state: Status,
    outcomes: list[str],
) -> None:
    dressed[place] = Dressed(vendors[name])
    worker, case = hire(), await (desk.accept(type) if channel is Channel.SMS else _mail(desk, type))
    await desk.simulators.fault(name, "accept_then_close", case.to)
    assert (await worker.settle(case, channel)).state is state
    assert [outcome for _, outcome in await case.outcomes()] == outcomes
    assert len(await case.received(name)) == 1


async def test_a_refusal_of_the_mail_server_goes_to_the_next_provider(
    desk: Desk, dressed: dict[str, Dressed], vendors: dict[str, Provider], hire: Callable[..., Worker]
) -> None:
    dressed["sendgrid"] = Dressed(vendors["smtp"])
    worker, case = hire(), await _mail(desk, "news")
    await desk.simulators.fault("smtp", "reset", case.to, stage="data")
    assert (await worker.run(case, Channel.EMAIL)).state is Status.SENT
    assert await case.outcomes() == [("sendgrid", "not_sent"), ("mailgun", "accepted")]
