"""Tenants take turns in the queue, whatever the size of another one's backlog."""

from collections import Counter
from collections.abc import AsyncIterator
from uuid import UUID, uuid4

import pytest
import pytest_asyncio
from ledger_case import submission

from domain.fairness import Shares, turn_of
from domain.notification import LANE_RANK, Lane, Strategy
from storage.batch_queue import BatchQueue
from storage.ledger import Ledger
from storage.maintenance import requeue_live_without_due
from storage.postgres import Pool

LEASE_S = 60.0
TENANTS = ("acme", "bank", "test:acme", "Zürich", "銀行", "", "a" * 255)


@pytest_asyncio.fixture(autouse=True)
async def empty_queue(pool: Pool) -> AsyncIterator[None]:
    """Remove due entries of other tests."""
    await pool.execute("DELETE FROM due")
    yield


@pytest_asyncio.fixture
async def queue(pool: Pool) -> AsyncIterator[BatchQueue]:
    queue = BatchQueue(pool)
    yield queue
    await queue.close(1)


async def _accept(ledger: Ledger, tenant: str, count: int, **changes: object) -> list[UUID]:
    rows = [submission(tenant=tenant, **changes) for _ in range(count)]
    await ledger.accept_all(rows)
    return [row.id for row in rows]


class Claims:
    """Claims in one of the two ways, and says whose notifications they were."""

    def __init__(self, way: str, ledger: Ledger, queue: BatchQueue, tenants: dict[UUID, str]) -> None:
        self._way = way
        self._ledger = ledger
        self._queue = queue
        self._tenants = tenants
        self._after = 0

    def begin_after(self, turn: int) -> None:
        """Let the next claim begin there."""
        self._after = turn

    async def accept(self, tenant: str, count: int, **changes: object) -> None:
        self._tenants.update(dict.fromkeys(await _accept(self._ledger, tenant, count, **changes), tenant))

    async def claim(
        self, limit: int, weights: dict[str, int] | None = None, rooms: dict[str, int] | None = None
    ) -> list[str]:
        """Whose notifications the next claim takes, in order."""
        by_turn = {turn_of(tenant): weight for tenant, weight in (weights or {}).items()}
        rooms_by_turn = {turn_of(tenant): room for tenant, room in (rooms or {}).items()}
        shares = Shares(by_turn, rooms_by_turn, after=self._after)
        if self._way == "single":
            claims = await self._ledger.claim(Lane.NORMAL, limit, LEASE_S, shares=shares)
        else:
            claims = await self._queue.claim(Lane.NORMAL, limit, LEASE_S, uuid4(), None, shares)
        tenants = [self._tenants[claim.id] for claim in claims]
        self._after = turn_of(tenants[-1])
        return tenants


@pytest.fixture(params=["single", "batch"])
def claims(request: pytest.FixtureRequest, ledger: Ledger, queue: BatchQueue) -> Claims:
    return Claims(request.param, ledger, queue, {})


async def test_a_backlog_leaves_the_others_their_turn(claims: Claims) -> None:
    await claims.accept("burst", 300)
    await claims.accept("quiet", 3)
    claimed = await claims.claim(20)
    assert Counter(claimed) == {"burst": 10, "quiet": 3}
    assert "quiet" in (await _again(claims, "quiet", 20))[:2], "the first of each come first"


async def _again(claims: Claims, tenant: str, limit: int) -> list[str]:
    await claims.accept(tenant, 1)
    return await claims.claim(limit)


async def test_a_tenant_alone_gets_everything(claims: Claims) -> None:
    await claims.accept("burst", 50)
    assert len(await claims.claim(40)) == 40


@pytest.mark.parametrize(
    ("weights", "expected"),
    [
        ({"big": 3}, {"big": 30, "small": 10}),
        ({"small": 7}, {"big": 5, "small": 35}),
        ({"absent": 9}, {"big": 20, "small": 20}),
    ],
    ids=str,
)
async def test_tenants_are_weighted(
    claims: Claims, weights: dict[str, int], expected: dict[str, int]
) -> None:
    await claims.accept("big", 60)
    await claims.accept("small", 60)
    assert Counter(await claims.claim(40, weights)) == expected


async def test_a_tenant_gets_no_more_than_its_room(claims: Claims) -> None:
    await claims.accept("burst", 60)
    await claims.accept("quiet", 30)
    assert Counter(await claims.claim(40, rooms={"burst": 3})) == {"burst": 3, "quiet": 20}
    assert Counter(await claims.claim(40, rooms={"burst": 0})) == {"quiet": 10}


async def test_each_of_more_tenants_than_a_claim_has_places_gets_its_turn(claims: Claims) -> None:
    tenants = [f"tenant-{number}" for number in range(30)]
    for tenant in tenants:
        await claims.accept(tenant, 4)
    served: Counter[str] = Counter()
    for _ in range(3):
        claimed = await claims.claim(10)
        assert len(set(claimed)) == 10, "one each"
        served.update(claimed)
    assert served == dict.fromkeys(tenants, 1)


async def test_a_tenant_without_anything_due_takes_no_share(claims: Claims, pool: Pool) -> None:
    await claims.accept("later", 5)
    await pool.execute("UPDATE due SET due_at = now() + interval '1 hour'")
    await claims.accept("now", 30)
    assert Counter(await claims.claim(20)) == {"now": 20}


async def test_entries_of_the_previous_release_take_turns_as_one(claims: Claims, pool: Pool) -> None:
    await claims.accept("old", 30)
    await pool.execute("UPDATE due SET turn = 0")
    await claims.accept("new", 30)
    assert Counter(await claims.claim(20)) == {"old": 10, "new": 10}


async def test_the_kinds_of_one_tenant_do_not_displace_another(ledger: Ledger) -> None:
    await _accept(ledger, "burst", 100)
    await _accept(ledger, "burst", 100, strategy=Strategy.FIRST)
    quiet = await _accept(ledger, "quiet", 5)
    claimed = {claim.id for claim in await ledger.claim(Lane.NORMAL, 30, LEASE_S)}
    assert set(quiet) <= claimed


@pytest.mark.parametrize(
    ("rooms", "room", "expected"),
    [
        ({"burst": 0}, None, {"quiet": 20}),
        ({"burst": 2}, None, {"burst": 2, "quiet": 20}),
        ({}, 3, {"burst": 3, "quiet": 3}),
        ({"quiet": 8}, 1, {"burst": 1, "quiet": 8}),
        ({"burst": 0, "quiet": 0}, None, {}),
    ],
    ids=str,
)
async def test_a_tenant_gets_at_most_its_room(
    ledger: Ledger, rooms: dict[str, int], room: int | None, expected: dict[str, int]
) -> None:
    for tenant in ("burst", "quiet"):
        await _accept(ledger, tenant, 50)
    shares = Shares({}, {turn_of(tenant): most for tenant, most in rooms.items()}, room)
    claimed = await ledger.claim(Lane.NORMAL, 40, LEASE_S, shares=shares)
    assert Counter(claim.tenant for claim in claimed) == expected


async def test_turns_that_batches_take_are_left_to_them(ledger: Ledger, queue: BatchQueue) -> None:
    await _accept(ledger, "burst", 50)
    await _accept(ledger, "burst", 2, dedicated_workflow=True)
    await _accept(ledger, "quiet", 5)
    batched = [turn_of("burst")]
    claimed = await ledger.claim(Lane.NORMAL, 40, LEASE_S, batched=batched)
    assert Counter(claim.tenant for claim in claimed) == {"burst": 2, "quiet": 5}
    await _accept(ledger, "quiet", 5)
    batch = await queue.claim(Lane.NORMAL, 100, LEASE_S, uuid4(), batched)
    assert [claim.turn for claim in batch] == batched * 50
    assert await queue.backlog([Lane.NORMAL], 100) == {Lane.NORMAL: {turn_of("quiet"): 5}}


@pytest.mark.parametrize("tenant", TENANTS)
async def test_python_and_sql_number_tenants_alike(ledger: Ledger, pool: Pool, tenant: str) -> None:
    [id] = await _accept(ledger, tenant, 1)
    assert await pool.fetchval("SELECT turn FROM due WHERE id = $1", id) == turn_of(tenant)


async def test_a_requeued_notification_has_its_tenants_turn(ledger: Ledger, pool: Pool) -> None:
    [id] = await _accept(ledger, "lost", 1)
    await pool.execute("DELETE FROM due WHERE id = $1", id)
    for table, column in (("notifications", "id"), ("deliveries", "notification_id")):
        await pool.execute(
            f"UPDATE {table} SET accepted_at = accepted_at - interval '5 minutes' WHERE {column} = $1", id
        )
    assert await requeue_live_without_due(pool, 1000)
    assert await pool.fetchval("SELECT turn FROM due WHERE id = $1", id) == turn_of("lost")


@pytest.mark.parametrize("begin", [-(2**31), -(2**30), 0, 2**30, 2**31 - 1])
async def test_one_claim_passes_over_thousands_of_tenants_with_nothing_due_yet(
    claims: Claims, pool: Pool, begin: int
) -> None:
    await pool.execute(
        "INSERT INTO due (id, lane, dedicated_workflow, turn, due_at)"
        " SELECT gen_random_uuid(), $1, kind, (n * 1200000::bigint - 2100000000)::integer,"
        " now() + interval '1 hour'"
        " FROM generate_series(0, 3500) AS n, unnest('{true,false}'::boolean[]) AS kind",
        LANE_RANK[Lane.NORMAL],
    )
    await claims.accept("bank", 1)
    claims.begin_after(begin)
    assert await claims.claim(20) == ["bank"]
