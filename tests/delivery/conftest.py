"""Workers over real stores and simulated vendors (tests/delivery_fixtures.py)."""

from delivery_fixtures import (
    alerts,
    ledger,
    limiter,
    make_worker,
    pool,
    receipts,
    stubbed,
    submitter,
    vendors,
    watched,
    worker,
)

__all__ = [
    "alerts",
    "ledger",
    "limiter",
    "make_worker",
    "pool",
    "receipts",
    "stubbed",
    "submitter",
    "vendors",
    "watched",
    "worker",
]
