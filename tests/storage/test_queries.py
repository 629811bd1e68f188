"""Pages of a filter with few matches: each examines a bounded number, and no match is missed or repeated."""

import itertools
from collections.abc import AsyncIterator
from uuid import UUID

import pytest
import pytest_asyncio
from ledger_case import submission

from domain.notification import Channel
from domain.status import Status
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.queries import Filter, Position, Queries

RARE_EACH, COUNT, LOOKS_MAX, LIMIT = 11, 60, 7, 2


@pytest_asyncio.fixture(scope="module")
async def queries(pool: Pool) -> AsyncIterator[Queries]:
    queries = Queries(pool)
    yield queries
    await queries.close(1)


@pytest_asyncio.fixture(scope="module")
async def rare(ledger: Ledger) -> set[UUID]:
    """The few of a tenant's notifications with type `otp`; twenty are accepted at a time."""
    submissions = [
        submission(tenant="lists", type="otp" if number % RARE_EACH == 0 else "debit_alert")
        for number in range(COUNT)
    ]
    for first in range(0, COUNT, 20):
        await ledger.accept_all(submissions[first : first + 20])
    return {one.id for one in submissions if one.type == "otp"}


async def _pages(queries: Queries, matching: Filter) -> list[list[UUID]]:
    """All pages of a list, in order."""
    found: list[list[UUID]] = []
    after: Position | None = None
    for _ in itertools.repeat(None, COUNT):
        page = await queries.list_page("lists", matching, LIMIT, after, looks_max=LOOKS_MAX)
        found.append([position.id for position in page.positions])
        after = page.next
        if after is None:
            return found
    raise AssertionError("the pages do not end")


async def test_pages_with_few_matches_are_short_and_miss_nothing(queries: Queries, rare: set[UUID]) -> None:
    found = await _pages(queries, Filter(type="otp"))
    ids = [id for page in found for id in page]
    assert (len(ids), set(ids)) == (len(rare), rare)
    assert len(found) > COUNT // LOOKS_MAX
    assert min(len(page) for page in found) < LIMIT


@pytest.mark.parametrize(
    "matching", [Filter(type="none"), Filter(status=Status.UNDELIVERED), Filter(channel=Channel.PUSH)]
)
async def test_pages_without_a_match_end_with_the_list(
    queries: Queries, rare: set[UUID], matching: Filter
) -> None:
    found = await _pages(queries, matching)
    assert rare
    assert (any(found), len(found)) == (False, COUNT // LOOKS_MAX + 1)


async def test_pages_without_conditions_are_full(queries: Queries, rare: set[UUID]) -> None:
    found = await _pages(queries, Filter())
    assert [len(page) for page in found] == [LIMIT] * (COUNT // LIMIT)
    assert rare < {id for page in found for id in page}
