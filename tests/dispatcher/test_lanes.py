"""How slots are shared and when claiming slows down, over real claims and a fake Temporal."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Collection
from uuid import UUID

import pytest
import pytest_asyncio
from temporalio.service import RPCStatusCode
from worker_harness import ORDINARY, FakeTemporal, WorkerHarness, until

from delivery.prefetch import PrefetchCache
from delivery.slots import InFlightSlots
from dispatcher.dispatcher import Dispatcher, lane_turns
from dispatcher.listener import Listener
from dispatcher.loop import run_rounds
from domain import fairness
from domain.fairness import SAMPLES, UNDER_WAY, Turns, turn_of
from domain.notification import Lane, Notification
from domain.notification_types import DispatchPolicy
from storage.group import LedgerUnavailable
from storage.ledger import Ledger
from telemetry.metrics import Metrics

Begin = Callable[..., FakeTemporal]

LATE = "UPDATE due SET due_at = now() - interval '1 min' WHERE turn = $1"


@pytest_asyncio.fixture
async def begin(harness: WorkerHarness, database: str) -> AsyncIterator[Begin]:
    """Starts a dispatcher over a fake Temporal, after removing everything that was due."""
    await harness.execute("DELETE FROM due")
    metrics, tasks = Metrics(), list[asyncio.Task[None]]()

    def begun(
        lanes: tuple[Lane, ...] = ORDINARY,
        in_flight_max: int = 1,
        prefetched: PrefetchCache | None = None,
        ledger: Ledger | None = None,
        turns: Turns | None = None,
        **temporal: object,
    ) -> FakeTemporal:
        slots = InFlightSlots(in_flight_max)
        fake = FakeTemporal(slots, **temporal)  # pyright: ignore[reportArgumentType] (its own fields)
        policy = DispatchPolicy(in_flight_max=in_flight_max, lease_s=60, sweep_s=0.1)
        listener = Listener(database, ("herald_due",))
        dispatcher = Dispatcher(
            fake,  # pyright: ignore[reportArgumentType] (stands for the client)
            ledger or harness.ledger,
            lanes,
            policy,
            slots,
            prefetched or PrefetchCache(),
            listener,
            metrics,
            turns or Turns(),
        )
        tasks.append(asyncio.create_task(run_rounds(dispatcher)))
        return fake

    yield begun
    for task in tasks:
        task.cancel()
    ended = await asyncio.gather(*tasks, return_exceptions=True)
    assert all(isinstance(end, asyncio.CancelledError) for end in ended), ended


async def _many(harness: WorkerHarness, lane: Lane, count: int) -> dict[str, Lane]:
    ids = await asyncio.gather(*(harness.accept(lane=lane) for _ in range(count)))
    return {str(id): lane for id in ids}


async def _is(fake: FakeTemporal, started: int) -> bool:
    return len(fake.started) >= started


@pytest.mark.parametrize("places", [1, 2, 10])
async def test_lanes_share_the_slots_by_weight(harness: WorkerHarness, begin: Begin, places: int) -> None:
    lanes: dict[str, Lane] = {}
    for lane in ORDINARY:
        lanes |= await _many(harness, lane, 40)
    fake = begin(in_flight_max=places)
    await until(lambda: _is(fake, 120))
    shares = Counter(lanes[id] for id in fake.started[:70])
    assert shares[Lane.HIGH] == pytest.approx(40, abs=places)
    assert shares[Lane.NORMAL] == pytest.approx(20, abs=places)
    assert shares[Lane.BULK] == pytest.approx(10, abs=places)
    assert len(set(fake.started)) == 120, "each once"


async def test_the_most_urgent_lane_goes_first_and_uses_spare_slots(
    harness: WorkerHarness, begin: Begin
) -> None:
    lanes = await _many(harness, Lane.BULK, 3) | await _many(harness, Lane.HIGH, 30)
    fake = begin(in_flight_max=14)
    await until(lambda: _is(fake, 33))
    assert [lanes[id] for id in fake.started[:8]] == [Lane.HIGH] * 8
    assert Counter(lanes[id] for id in fake.started[:14]) == {Lane.HIGH: 12, Lane.BULK: 2}


@pytest.mark.parametrize("weights", [{Lane.HIGH: 4, Lane.NORMAL: 2, Lane.BULK: 1}, {Lane.CRITICAL: 8}])
def test_turns_repeat_each_lane_by_its_weight(weights: dict[Lane, int]) -> None:
    order = lane_turns(weights)
    assert Counter(order) == weights
    if len(weights) > 1:
        assert not any(a == b == c for a, b, c in zip(order, order[1:], order[2:], strict=False))


async def test_resource_exhaustion_halves_the_window_once_a_round(
    harness: WorkerHarness, begin: Begin
) -> None:
    await _many(harness, Lane.HIGH, 60)
    fake = begin(in_flight_max=16, refuses=RPCStatusCode.RESOURCE_EXHAUSTED)

    async def rounds(count: int) -> bool:
        return len(fake.rounds) >= count

    await until(lambda: rounds(3))
    assert fake.rounds[:3] == [16, 8, 4]
    assert fake.started == []
    fake.refuses = None
    await until(lambda: _is(fake, 60))
    grown = fake.rounds[fake.rounds.index(max(1, fake.rounds[2] // 2), 2) :]
    assert grown[:3] == sorted(grown[:3]), "one more each round"


async def test_a_refused_start_is_returned_and_claimed_again(harness: WorkerHarness, begin: Begin) -> None:
    [id] = await _many(harness, Lane.HIGH, 1)
    fake = begin(refuses=RPCStatusCode.UNAVAILABLE)

    async def given_back() -> bool:
        return bool(fake.rounds) and await harness.ledger.pool.fetchval(
            "SELECT lease_until IS NULL AND due_at <= now() + interval '1 s' FROM due WHERE id = $1::uuid",
            id,
        )

    await until(given_back)
    fake.refuses = None
    await until(lambda: _is(fake, 1))
    assert fake.started == [id]


async def test_an_invalid_start_delays_no_other(harness: WorkerHarness, begin: Begin) -> None:
    [poison] = await _many(harness, Lane.HIGH, 1)
    others = await _many(harness, Lane.HIGH, 20)
    loop = asyncio.get_running_loop()
    before = loop.time()
    fake = begin(in_flight_max=2, poison=frozenset({poison}))
    await until(lambda: _is(fake, 20))
    assert set(fake.started) == set(others)
    assert loop.time() - before < 5, "no pause because of it"


async def test_claims_are_prefetched(harness: WorkerHarness, begin: Begin) -> None:
    ids = [UUID(id) for id in await _many(harness, Lane.HIGH, 3)]
    prefetched = PrefetchCache()
    fake = begin(in_flight_max=5, prefetched=prefetched)
    await until(lambda: _is(fake, 3))
    assert [found.id for id in ids if (found := prefetched.take(id))] == ids


class BlindLedger(Ledger):
    """Accepts claims, and cannot be read."""

    async def load(self, notification_id: UUID) -> Notification | None:
        raise LedgerUnavailable("it cannot be read")


async def test_a_claim_that_cannot_be_read_is_started(harness: WorkerHarness, begin: Begin) -> None:
    lanes = await _many(harness, Lane.HIGH, 3)
    fake = begin(in_flight_max=5, ledger=BlindLedger(harness.ledger.pool))
    await until(lambda: _is(fake, 3))
    assert set(fake.started) == lanes.keys()


async def _of(harness: WorkerHarness, tenant: str, count: int) -> dict[str, str]:
    ids = await asyncio.gather(*(harness.accept(lane=Lane.HIGH, tenant=tenant) for _ in range(count)))
    return {str(id): tenant for id in ids}


async def test_a_burst_leaves_other_tenants_their_turn(harness: WorkerHarness, begin: Begin) -> None:
    tenants = await _of(harness, "burst", 60) | await _of(harness, "quiet", 3)
    fake = begin(in_flight_max=10)
    await until(lambda: _is(fake, 63))
    assert Counter(tenants[id] for id in fake.started[:8])["quiet"] == 3
    assert set(fake.started) == tenants.keys()


async def test_a_burst_is_held_back_while_another_tenant_is_active(
    harness: WorkerHarness, begin: Begin
) -> None:
    tenants = await _of(harness, "burst", 60) | await _of(harness, "quiet", 3)
    await harness.execute(LATE, turn_of("burst"))
    fake = begin(in_flight_max=40, holds=True)
    await until(lambda: _is(fake, 1))
    # Nobody has been active before: the first round knows of no contention.
    fake.release(len(fake.started))
    for _ in range(3):
        held = len(fake.started)
        await until(lambda: _is(fake, held + 1))  # noqa: B023 (awaited in this turn)
        assert 1 <= Counter(tenants[id] for id in fake.under_way())["burst"] <= 2
        more = await _of(harness, "quiet", 2)
        tenants |= more
        await until(lambda: _are(fake, more))  # noqa: B023 (awaited in this turn)
        assert 1 <= Counter(tenants[id] for id in fake.under_way())["burst"] <= 2
        fake.release(len(fake.started))
    fake.holds = False
    fake.release(len(fake.started))
    await until(lambda: _is(fake, len(tenants)))


async def test_a_burst_goes_one_at_a_time_once_requests_are_slow(
    harness: WorkerHarness, begin: Begin
) -> None:
    turns = Turns()
    for took_s, burst in [(1e-6, False)] + [(1.0, True)] * 6:
        for _ in range(SAMPLES):
            turns.start_room.took(took_s, time.monotonic(), burst=burst)
    tenants = await _of(harness, "burst", 20)
    await harness.execute(LATE, turn_of("burst"))
    for tenant in ("burst", "quiet"):
        turns.claimed(Lane.HIGH, turn_of(tenant), time.monotonic(), 60.0 if tenant == "burst" else 0.0)
    fake = begin(in_flight_max=40, holds=True, turns=turns)
    for _ in range(2):
        held = len(fake.started)
        await until(lambda: _is(fake, held + 1))  # noqa: B023 (awaited in this turn)
        quiet = await _of(harness, "quiet", 3)
        tenants |= quiet
        await until(lambda: _are(fake, quiet))  # noqa: B023 (awaited in this turn)
        assert Counter(tenants[id] for id in fake.under_way()) == {"burst": 1, "quiet": 3}
        fake.release(len(fake.started))
    # What may be the beginning of another burst is limited from its first claim on.
    tenants |= await _of(harness, "quiet", 12)
    await until(lambda: _under_way(fake, tenants, "quiet", UNDER_WAY))
    await until(lambda: _under_way(fake, tenants, "burst", 1))
    assert Counter(tenants[id] for id in fake.under_way()) == {"burst": 1, "quiet": UNDER_WAY}


async def test_a_burst_waits_for_the_passes_of_others_and_is_measured_by_them(
    harness: WorkerHarness, begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fairness, "YIELD_S", 60.0)
    turns, measured = Turns(), list[bool]()

    def took(*_: float, burst: bool, own: bool = False) -> None:
        assert burst
        measured.append(own)

    monkeypatch.setattr(turns.start_room, "took", took)
    tenants = await _of(harness, "quiet", 2)
    for tenant, late_s in (("burst", 60.0), ("quiet", 0.0)):
        turns.claimed(Lane.HIGH, turn_of(tenant), time.monotonic(), late_s)
    fake = begin(in_flight_max=40, holds=True, turns=turns)
    await until(lambda: _is(fake, 2))
    tenants |= await _of(harness, "burst", 3)
    await harness.execute(LATE, turn_of("burst"))
    tenants |= await _of(harness, "quiet", 1)
    await until(lambda: _is(fake, 3))
    assert {tenants[id] for id in fake.started} == {"quiet"}
    fake.release(3)
    await until(lambda: _is(fake, 4))
    assert tenants[fake.started[-1]] == "burst"
    await until(lambda: _has(measured, 4))
    assert measured == [False, False, False, True]


async def test_a_slow_start_delays_no_other(harness: WorkerHarness, begin: Begin) -> None:
    [slow] = await _many(harness, Lane.HIGH, 1)
    fake = begin(in_flight_max=10, slow=frozenset({slow}))
    for _ in range(3):
        others = await _many(harness, Lane.HIGH, 2)
        await until(lambda: _are(fake, others))  # noqa: B023 (awaited in this turn)
    assert slow not in fake.started
    fake.answer.set()
    await until(lambda: _are(fake, {slow}))


async def _has(items: list[bool], count: int) -> bool:
    return len(items) == count


async def _under_way(fake: FakeTemporal, tenants: dict[str, str], tenant: str, least: int) -> bool:
    return Counter(tenants[id] for id in fake.under_way())[tenant] >= least


async def _are(fake: FakeTemporal, ids: Collection[str]) -> bool:
    return set(ids) <= set(fake.started)
