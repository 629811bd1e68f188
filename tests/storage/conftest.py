"""A ledger over the test module's database."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from ledger_case import Case, Cases
from receipt_case import LedgerHarness, deadline

from storage.ledger import Ledger
from storage.postgres import Pool, open_pool
from storage.receipts import Receipts


@pytest_asyncio.fixture(scope="module")
async def other_pool(database: str) -> AsyncIterator[Pool]:
    """A second process's connections."""
    pool = await open_pool(database, size_max=6)
    yield pool
    await pool.close()


@pytest_asyncio.fixture(scope="module")
async def other_ledger(other_pool: Pool) -> AsyncIterator[Ledger]:
    """A second process's ledger."""
    ledger = Ledger(other_pool)
    yield ledger
    await ledger.close(timeout_s=5)


@pytest.fixture
def cases(ledger: Ledger) -> Cases:
    """Creates notifications: `case = await cases(channels=…)`."""
    return Cases(ledger)


@pytest_asyncio.fixture
async def case(cases: Cases) -> Case:
    """A newly accepted notification over SMS."""
    return await cases()


@pytest_asyncio.fixture
async def harness(pool: Pool) -> AsyncIterator[LedgerHarness]:
    """A ledger with an empty inbox of receipts."""
    await pool.execute("TRUNCATE receipt_inbox")
    ledger, receipts = Ledger(pool), Receipts(pool, receipt_deadline=deadline)
    yield LedgerHarness(pool, ledger, receipts)
    await ledger.close(5)
    await receipts.close(5)
