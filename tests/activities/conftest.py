"""Workers over real stores and simulated vendors (tests/delivery_fixtures.py)."""

from delivery_fixtures import (
    alerts,
    limiter,
    make_worker,
    receipts,
    stubbed,
    submitter,
    vendors,
    watched,
    worker,
)

__all__ = [
    "alerts",
    "limiter",
    "make_worker",
    "receipts",
    "stubbed",
    "submitter",
    "vendors",
    "watched",
    "worker",
]
