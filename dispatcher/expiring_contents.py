"""Removes the contents of expired notifications whose type demands it, such as one-time passwords."""

import asyncio
from typing import Final

from delivery.prefetch import PrefetchCache
from dispatcher.loop import Rounds
from storage import maintenance
from storage.postgres import Pool
from telemetry.metrics import Metrics

SWEEP_S: Final = 15.0
"""How long a content may outlive its expiry, in seconds, while a worker runs."""
ROWS_MAX: Final = 500
"""The most contents of one statement: it holds their locks until its end."""


class ContentSweeper(Rounds):
    """The loop that removes expired contents, from the ledger and from this process's memory."""

    failure = "expired_contents_kept"

    def __init__(self, pool: Pool, prefetched: PrefetchCache, metrics: Metrics) -> None:
        self._pool = pool
        self._prefetched = prefetched
        self._metrics = metrics

    async def rest(self) -> None:
        """Wait for one sweep interval."""
        await asyncio.sleep(SWEEP_S)

    async def round(self) -> None:
        """Remove everything that has expired. Several processes at once share the work."""
        self._prefetched.drop_old()
        taken = ROWS_MAX
        while taken == ROWS_MAX:
            taken, removed = await maintenance.scrub_expired(self._pool, ROWS_MAX)
            if removed:
                self._metrics.removed.add(removed, kind="expired_contents")
