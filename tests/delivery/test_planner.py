"""The plan: what preferences, contacts and clocks decide, and the remaining steps."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from delivery_case import TENANT, Case, Submitter, Worker, catalog
from phone_numbers import unused_number

from domain.contracts import Action, Plan, Step
from domain.notification import Channel, Strategy
from domain.notification_types import ParkingPolicy
from domain.reasons import Reason
from domain.status import Status

MakeWorker = Callable[..., Worker]


def _actions(plan: Plan) -> list[tuple[str, Action]]:
    return [(step.channel, step.action) for step in plan.steps]


async def _quiet(submitter: Submitter, case: Case, start: datetime, end: datetime) -> None:
    await submitter.ledger.pool.execute(
        "INSERT INTO users (tenant, user_id, time_zone, quiet_start, quiet_end)"
        " VALUES ($1, $2, 'UTC', $3, $4)",
        *(TENANT, case.user_id, f"{start:%H:%M}", f"{end:%H:%M}"),
    )


async def test_a_new_notification_is_sent_over_each_channel(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(channels=(Channel.SMS, Channel.EMAIL), to_email="a@example.com")
    plan = await worker.plan(case)
    assert _actions(plan) == [("sms", Action.SEND), ("email", Action.SEND)]
    assert (plan.type, plan.lane, plan.status) == ("news", "normal", "accepted")
    assert case.to not in repr(plan)


async def test_quiet_hours_defer_all_but_required_types(submitter: Submitter, worker: Worker) -> None:
    now = datetime.now(UTC)
    start, end = now - timedelta(hours=1), now + timedelta(hours=2)
    case, urgent = await submitter.accept(), await submitter.accept("must")
    for one in (case, urgent):
        await _quiet(submitter, one, start, end)
    assert (await worker.plan(case)).steps == []
    delivery = await case.delivery()
    assert (delivery.status, delivery.reason_code) == (Status.DEFERRED, Reason.QUIET_HOURS)
    assert delivery.next_pass_at == delivery.due_at == end.replace(second=0, microsecond=0)
    data = await submitter.ledger.pool.fetchval(
        "SELECT data FROM timeline WHERE notification_id = $1", case.id
    )
    assert data == {"reason_code": "quiet_hours", "until": delivery.due_at.isoformat()}
    assert _actions(await worker.plan(urgent)) == [("sms", Action.SEND)]


async def test_no_contact_fails(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept(contact=False)
    plan = await worker.plan(case)
    assert (plan.steps, plan.status) == ([], Status.FAILED)
    assert (await case.delivery()).reason_code == Reason.NO_CONTACT


async def test_an_opt_out_suppresses(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    await submitter.opt_out(case)
    assert (await worker.plan(case)).status == Status.SUPPRESSED
    assert (await case.delivery()).reason_code == Reason.OPTED_OUT


async def test_an_expired_delivery_is_not_planned(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept()
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await worker.plan(case)).status == Status.EXPIRED


@pytest.mark.parametrize("why", ["no_contact", "opted_out"])
async def test_strategy_first_plans_the_next_channel(submitter: Submitter, worker: Worker, why: str) -> None:
    case = await submitter.accept(
        channels=(Channel.SMS, Channel.EMAIL),
        strategy=Strategy.FIRST,
        to_email="b@example.com",
        contact=why != "no_contact",
    )
    if why == "opted_out":
        await submitter.opt_out(case)
    assert _actions(await worker.plan(case)) == [("email", Action.SEND)]
    assert "next_channel" in await case.timeline()


async def test_a_delivery_that_waits_for_a_retry_is_planned_as_retry(
    submitter: Submitter, worker: Worker
) -> None:
    case = await submitter.accept()
    await submitter.fail(case)
    await worker.run(case)
    [step] = (await worker.plan(case)).steps
    assert step.action is Action.RETRY
    assert 25 < step.wait_s <= 34


async def test_a_deferred_delivery_needs_no_workflow(submitter: Submitter, worker: Worker) -> None:
    worker.health.drain(frozenset({"twilio", "termii"}))
    case = await submitter.accept()
    await worker.run(case)
    assert (await worker.plan(case)).steps == []


async def test_parked_notifications_keep_a_workflow_up_to_a_limit(
    submitter: Submitter, make_worker: MakeWorker
) -> None:
    worker = make_worker(catalog(parking=ParkingPolicy(open_workflows_max=1, keep_s=1000)))

    async def parked() -> Step:
        case = await submitter.accept()
        await submitter.fail(case)
        await worker.settle(case)
        [step] = (await worker.plan(case)).steps
        return step

    await submitter.ledger.pool.execute(
        "UPDATE notifications SET status = 'failed' WHERE status IN ('dead_lettered', 'outcome_unknown')"
    )
    first, second = await parked(), await parked()
    assert (
        (first.action, first.keeps_workflow)
        == (second.action, not second.keeps_workflow)
        == (Action.PARKED, True)
    )
    assert 900 < first.wait_s <= 1000


async def test_parked_too_long_fails(submitter: Submitter, worker: Worker) -> None:
    case = await submitter.accept("alone")
    await submitter.fail(case)
    assert (await worker.settle(case)).status is Status.DEAD_LETTERED
    await case.execute("UPDATE deliveries SET due_at = now() WHERE notification_id = $1")
    plan = await worker.plan(case)
    assert (plan.steps, plan.status) == ([], Status.FAILED)
    assert (await case.delivery()).reason_code == Reason.PARKED_TOO_LONG


async def test_nothing_is_planned_for_a_missing_notification(worker: Worker, submitter: Submitter) -> None:
    case = await submitter.accept(to=unused_number())
    await case.execute("DELETE FROM notifications WHERE id = $1")
    assert (await worker.plan(case)).steps == []


async def test_the_plan_defers_while_every_provider_is_blocked(submitter: Submitter, worker: Worker) -> None:
    worker.health.drain(frozenset({"twilio", "termii"}))
    case = await submitter.accept()
    assert (await worker.plan(case)).steps == []
    delivery = await case.delivery()
    assert (delivery.status, delivery.reason_code) == (Status.DEFERRED, Reason.PROVIDER_DOWN)
    assert await case.timeline() == ["provider_down"]


async def test_the_plan_alerts_once_for_a_delivery_it_parks(
    submitter: Submitter, make_worker: MakeWorker, alerts: Callable[[], list[str]]
) -> None:
    worker = make_worker()
    del worker.providers["twilio"]  # pyright: ignore[reportIndexIssue] (the test's own dict)
    case = await submitter.accept("alone")
    [step] = (await worker.plan(case)).steps
    assert (step.action, step.reason) == (Action.PARKED, Reason.NO_PROVIDER)
    await worker.plan(case)
    assert (await worker.run(case)).action is Action.PARKED
    assert alerts() == [Status.DEAD_LETTERED]
