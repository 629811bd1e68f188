"""Passes to browsers: Web Push is asked where the route names it, and dead subscriptions are given up."""

from collections.abc import Callable

import pytest
from pass_case import Case, Desk, Worker, catalog

from domain.notification import Channel
from domain.notification_types import NotificationType, OnUnknown
from domain.reasons import Reason
from domain.status import Status
from domain.web_push import Subscription
from simulators import webpush

ROUTE = {Channel.PUSH: ("fcm", "webpush")}
TYPES = {
    "browser": NotificationType(routes=ROUTE),
    "again": NotificationType(routes=ROUTE, on_unknown=OnUnknown.FAILOVER),
}


def browser(case: Case, kind: str = "") -> str:
    """The address of a browser of the notification's user."""
    given = webpush.subscription(f"{kind}{case.id}")
    return Subscription(given["endpoint"], **given["keys"]).text


@pytest.fixture
def worker(hire: Callable[..., Worker]) -> Worker:
    return hire(catalog(TYPES))


async def _accept(desk: Desk, type: str = "browser") -> Case:
    return await desk.accept(type, channels=(Channel.PUSH,), title="News")


async def test_a_user_who_has_only_a_browser_is_reached_there(desk: Desk, worker: Worker) -> None:
    case = await _accept(desk)
    await desk.add_device(case, None, None, webpush=browser(case))
    assert (await worker.run(case, Channel.PUSH)).state is Status.SENT
    assert await case.outcomes() == [("webpush", "accepted")]
    assert len(await case.received("webpush")) == 1
    [attempt] = await case.attempts()
    assert attempt["target_masked"] == f"https://{webpush.HOST}/…"


async def test_a_browser_is_not_reached_where_the_route_does_not_say_so(desk: Desk, worker: Worker) -> None:
    case = await _accept(desk, "news")
    await desk.add_device(case, None, None, webpush=browser(case))
    result = await worker.run(case, Channel.PUSH)
    assert (result.state, result.reason) == (Status.DEAD_LETTERED, Reason.NO_PROVIDER)
    assert await case.outcomes() == []


async def test_a_dead_subscription_is_given_up_and_the_next_device_tried(desk: Desk, worker: Worker) -> None:
    case = await _accept(desk)
    await desk.add_device(case, None, None, webpush=browser(case, "gone-"))
    await desk.add_device(case, f"token-{case.id}", None, ago_s=60)
    assert (await worker.run(case, Channel.PUSH)).state is Status.SENT
    assert await case.outcomes() == [("webpush", "rejected_recipient"), ("fcm", "accepted")]
    [dead] = await desk.ledger.pool.fetch(
        "SELECT webpush, deactivated_reason FROM devices WHERE user_id = $1 AND deactivated_at IS NOT NULL",
        case.user_id,
    )
    assert (dead["webpush"], dead["deactivated_reason"]) == (None, "errno_106")


async def test_a_suppressed_endpoint_is_left_out(desk: Desk, worker: Worker) -> None:
    case = await _accept(desk)
    await desk.add_device(case, None, None, webpush=browser(case))
    await desk.suppress(browser(case).partition("#")[0], Channel.PUSH)
    assert (await worker.run(case, Channel.PUSH)).state is Status.SUPPRESSED
    assert not await case.received("webpush")


async def test_a_copy_of_an_unknown_send_replaces_it(desk: Desk, worker: Worker) -> None:
    case = await _accept(desk, "again")
    await desk.add_device(case, None, None, webpush=browser(case, "offline-"))
    await desk.simulators.fault("webpush", "accept_then_close", browser(case, "offline-"), times=1)
    assert (await worker.settle(case, Channel.PUSH)).state is Status.SENT
    assert await case.outcomes() == [("webpush", "unknown"), ("webpush", "accepted")]
    assert len(await case.received("webpush")) == 1
