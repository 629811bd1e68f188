"""Web Push: used only if the route names it; dead subscriptions are removed."""

from collections.abc import Callable

import pytest
from delivery_case import Case, Submitter, Worker, catalog

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
def worker(make_worker: Callable[..., Worker]) -> Worker:
    return make_worker(catalog(TYPES))


async def _accept(submitter: Submitter, type: str = "browser") -> Case:
    return await submitter.accept(type, channels=(Channel.PUSH,), title="News")


async def test_a_user_with_only_a_browser_is_reached(submitter: Submitter, worker: Worker) -> None:
    case = await _accept(submitter)
    await submitter.add_device(case, None, None, webpush=browser(case))
    assert (await worker.run(case, Channel.PUSH)).status is Status.SENT
    assert await case.outcomes() == [("webpush", "accepted")]
    assert len(await case.received("webpush")) == 1
    [attempt] = await case.attempts()
    assert attempt["target_masked"] == f"https://{webpush.HOST}/…"


async def test_a_browser_is_not_reached_without_a_webpush_route(submitter: Submitter, worker: Worker) -> None:
    case = await _accept(submitter, "news")
    await submitter.add_device(case, None, None, webpush=browser(case))
    result = await worker.run(case, Channel.PUSH)
    assert (result.status, result.reason) == (Status.DEAD_LETTERED, Reason.NO_PROVIDER)
    assert await case.outcomes() == []


async def test_a_dead_subscription_is_removed_and_the_next_device_tried(
    submitter: Submitter, worker: Worker
) -> None:
    case = await _accept(submitter)
    await submitter.add_device(case, None, None, webpush=browser(case, "gone-"))
    await submitter.add_device(case, f"token-{case.id}", None, ago_s=60)
    assert (await worker.run(case, Channel.PUSH)).status is Status.SENT
    assert await case.outcomes() == [("webpush", "rejected_recipient"), ("fcm", "accepted")]
    [dead] = await submitter.ledger.pool.fetch(
        "SELECT webpush, deactivated_reason FROM devices WHERE user_id = $1 AND deactivated_at IS NOT NULL",
        case.user_id,
    )
    assert (dead["webpush"], dead["deactivated_reason"]) == (None, "errno_106")


async def test_a_suppressed_endpoint_is_not_sent_to(submitter: Submitter, worker: Worker) -> None:
    case = await _accept(submitter)
    await submitter.add_device(case, None, None, webpush=browser(case))
    await submitter.suppress(browser(case).partition("#")[0], Channel.PUSH)
    assert (await worker.run(case, Channel.PUSH)).status is Status.SUPPRESSED
    assert not await case.received("webpush")


async def test_a_second_copy_replaces_the_first(submitter: Submitter, worker: Worker) -> None:
    case = await _accept(submitter, "again")
    await submitter.add_device(case, None, None, webpush=browser(case, "offline-"))
    await submitter.simulators.fault("webpush", "accept_then_close", browser(case, "offline-"), times=1)
    assert (await worker.settle(case, Channel.PUSH)).status is Status.SENT
    assert await case.outcomes() == [("webpush", "unknown"), ("webpush", "accepted")]
    assert len(await case.received("webpush")) == 1
