"""The plan: what preferences, contacts and clocks settle, and what is left to be done."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
from pass_case import TENANT, Case, Desk, Worker, catalog, phone
from temporalio.exceptions import ApplicationError, ApplicationErrorCategory

from domain.notification import Channel, Strategy
from domain.notification_types import ParkingPolicy
from domain.reasons import Reason
from domain.status import Status
from domain.steps import Action, Plan, Step

Hire = Callable[..., Worker]


def _actions(plan: Plan) -> list[tuple[str, Action]]:
    return [(step.channel, step.action) for step in plan.steps]


async def _quiet(desk: Desk, case: Case, start: datetime, end: datetime) -> None:
    await desk.ledger.pool.execute(
        "INSERT INTO users (tenant, user_id, time_zone, quiet_start, quiet_end)"
        " VALUES ($1, $2, 'UTC', $3, $4)",
        *(TENANT, case.user_id, f"{start:%H:%M}", f"{end:%H:%M}"),
    )


async def test_a_new_one_is_sent_over_each_channel(desk: Desk, worker: Worker) -> None:
    case = await desk.accept(channels=(Channel.SMS, Channel.EMAIL), to_email="a@example.com")
    plan = await worker.plan(case)
    assert _actions(plan) == [("sms", Action.SEND), ("email", Action.SEND)]
    assert (plan.type, plan.lane, plan.status) == ("news", "normal", "accepted")
    assert case.to not in repr(plan)


async def test_quiet_hours_defer_what_can_wait(desk: Desk, worker: Worker) -> None:
    now = datetime.now(UTC)
    start, end = now - timedelta(hours=1), now + timedelta(hours=2)
    case, urgent = await desk.accept(), await desk.accept("must")
    for one in (case, urgent):
        await _quiet(desk, one, start, end)
    assert (await worker.plan(case)).steps == []
    delivery = await case.delivery()
    assert (delivery.state, delivery.reason_code) == (Status.DEFERRED, Reason.QUIET_HOURS)
    assert delivery.next_pass_at == delivery.due_at == end.replace(second=0, microsecond=0)
    told = await desk.ledger.pool.fetchval("SELECT data FROM timeline WHERE notification_id = $1", case.id)
    assert told == {"reason_code": "quiet_hours", "until": delivery.due_at.isoformat()}
    assert _actions(await worker.plan(urgent)) == [("sms", Action.SEND)]


async def test_without_a_contact_it_fails(desk: Desk, worker: Worker) -> None:
    case = await desk.accept(contact=False)
    plan = await worker.plan(case)
    assert (plan.steps, plan.status) == ([], Status.FAILED)
    assert (await case.delivery()).reason_code == Reason.NO_CONTACT


async def test_an_opt_out_is_suppressed(desk: Desk, worker: Worker) -> None:
    case = await desk.accept()
    await desk.opt_out(case)
    assert (await worker.plan(case)).status == Status.SUPPRESSED
    assert (await case.delivery()).reason_code == Reason.OPTED_OUT


async def test_an_expired_one_is_not_planned(desk: Desk, worker: Worker) -> None:
    case = await desk.accept()
    await case.execute("UPDATE deliveries SET expires_at = now() WHERE notification_id = $1")
    assert (await worker.plan(case)).status == Status.EXPIRED


@pytest.mark.parametrize("why", ["no_contact", "opted_out"])
async def test_strategy_first_goes_on_to_the_next_channel(desk: Desk, worker: Worker, why: str) -> None:
    case = await desk.accept(
        channels=(Channel.SMS, Channel.EMAIL),
        strategy=Strategy.FIRST,
        to_email="b@example.com",
        contact=why != "no_contact",
    )
    if why == "opted_out":
        await desk.opt_out(case)
    assert _actions(await worker.plan(case)) == [("email", Action.SEND)]
    assert "next_channel" in await case.timeline()


async def test_what_waits_for_its_retry_keeps_a_retry(desk: Desk, worker: Worker) -> None:
    case = await desk.accept()
    await desk.fail(case)
    await worker.run(case)
    [step] = (await worker.plan(case)).steps
    assert step.action is Action.RETRY
    assert 25 < step.wait_s <= 34


async def test_what_waits_in_the_ledger_needs_no_workflow(desk: Desk, worker: Worker) -> None:
    worker.health.drain(frozenset({"twilio", "termii"}))
    case = await desk.accept()
    await worker.run(case)
    assert (await worker.plan(case)).steps == []


async def test_an_open_attempt_is_for_the_retried_activity(desk: Desk, worker: Worker) -> None:
    case = await desk.accept("stop")
    await desk.simulators.fault("twilio", "reset", case.to, times=1)
    await worker.run(case)
    assert _actions(await worker.plan(case)) == [("sms", Action.RETRY)]
    with pytest.raises(ApplicationError) as early:
        await worker.deliver(case)
    assert early.value.category is ApplicationErrorCategory.BENIGN
    assert early.value.next_retry_delay
    assert early.value.next_retry_delay > timedelta(0)
    assert case.to not in str(early.value)


async def test_parked_ones_hold_a_workflow_up_to_a_number(desk: Desk, hire: Hire) -> None:
    worker = hire(catalog(parking=ParkingPolicy(open_workflows_max=1, keep_s=1000)))

    async def parked() -> Step:
        case = await desk.accept()
        await desk.fail(case)
        await worker.settle(case)
        [step] = (await worker.plan(case)).steps
        return step

    await desk.ledger.pool.execute(
        "UPDATE notifications SET status = 'failed' WHERE status IN ('dead_lettered', 'outcome_unknown')"
    )
    first, second = await parked(), await parked()
    assert (first.action, first.hold) == (second.action, not second.hold) == (Action.PARKED, True)
    assert 900 < first.wait_s <= 1000


async def test_parked_too_long_is_failed(desk: Desk, worker: Worker) -> None:
    case = await desk.accept("alone")
    await desk.fail(case)
    assert (await worker.settle(case)).state is Status.DEAD_LETTERED
    await case.execute("UPDATE deliveries SET due_at = now() WHERE notification_id = $1")
    plan = await worker.plan(case)
    assert (plan.steps, plan.status) == ([], Status.FAILED)
    assert (await case.delivery()).reason_code == Reason.PARKED_TOO_LONG


async def test_only_one_that_sends_in_the_workflow_task_keeps_its_place(desk: Desk, worker: Worker) -> None:
    case = await desk.accept()
    id = str(case.id)
    worker.slots.take(id)
    [step] = (await worker.plan(case)).steps
    assert step.fast
    assert worker.slots.free() == 9
    for _ in range(60):
        with worker.health.call("twilio"):
            pass
    for latencies in worker.health._latencies.values():  # pyright: ignore[reportPrivateUsage] (no slow vendor is waited for)
        latencies.extend([30.0] * 60)
    [step] = (await worker.plan(case)).steps
    assert not step.fast
    assert worker.slots.free() == 10, "a slow provider's call is not made in the workflow task"


async def test_nothing_is_planned_for_what_does_not_exist(worker: Worker, desk: Desk) -> None:
    case = await desk.accept(to=phone())
    await case.execute("DELETE FROM notifications WHERE id = $1")
    assert (await worker.plan(case)).steps == []
