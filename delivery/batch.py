"""A batch: claims due notifications of its lane in portions, and sends them with bounded concurrency."""

import asyncio
import contextlib
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from uuid import UUID

import structlog

from delivery.batch_item import BatchItemResult, BatchItems
from domain.batching import PORTION_MIN, Pace, is_always_batched
from domain.contracts import BatchProgress
from domain.fairness import Shares, Turns
from domain.notification import Lane
from domain.notification_types import DispatchPolicy
from storage.batch_queue import BatchClaim, BatchQueue, HandOver
from storage.group import LedgerError
from telemetry.metrics import Metrics

log = structlog.stdlib.get_logger(__name__)

BATCH_S_MAX = 120.0
"""A batch claims nothing after this time: batches must not delay the upgrade of a worker."""
IDLE_S = 1.0
"""How long a batch looks for more before it ends, while nothing is due in its lane."""
LOOK_S = 0.1
CONTENDED_LOOK_S = 0.02
"""How soon a batch claims again while several tenants are active in its lane: others wait for that."""
LEASE_LEFT_S = 1.0
"""A notification with less than this left of its lease is not started: it falls due again."""
LEDGER_AWAY_S = 1.0


class Batch:
    """One run of a batch. The ledger's compare-and-sets keep it correct beside other senders."""

    def __init__(
        self,
        id: UUID,
        lane: Lane,
        queue: BatchQueue,
        items: BatchItems,
        policy: DispatchPolicy,
        metrics: Metrics,
        turns: Turns,
        backlog: Collection[int] = (),
    ) -> None:
        """`backlog`: the turns with a backlog when the batch was started."""
        self._id = id
        self._lane = lane
        self._queue = queue
        self._items = items
        self._policy = policy
        self._metrics = metrics
        self._turns = turns
        self._own = set(backlog)
        self._slots = asyncio.Semaphore(policy.batch_concurrency)
        self._under_way: set[asyncio.Task[None]] = set()
        self._held: Counter[int] = Counter()
        self._counts: Counter[BatchItemResult] = Counter()
        self._taken = 0
        self._stopping = asyncio.Event()
        self._ended = ""

    @property
    def progress(self) -> BatchProgress:
        """Its progress."""
        counts = self._counts
        return BatchProgress(
            taken=self._taken,
            settled=counts[BatchItemResult.SETTLED],
            waiting=counts[BatchItemResult.WAITING],
            promoted=counts[BatchItemResult.DEDICATED_WORKFLOW],
            left=counts[BatchItemResult.LEFT],
            ended=self._ended,
        )

    def stop(self, why: str) -> None:
        """Claim nothing more; sends under way finish."""
        self._ended = self._ended or why
        self._stopping.set()
        # Wakes a waiter for a slot at once; it sees that the batch stops, and starts nothing.
        self._slots.release()

    async def run(self) -> BatchProgress:
        """Send what is due until the batch is full, nothing more is due, or it is stopped.

        Returns once all its sends have finished, also if cancelled: no call is interrupted.
        """
        try:
            await self._take()
        finally:
            await self._let_end()
        return self.progress

    async def _let_end(self) -> None:
        cancelled: asyncio.CancelledError | None = None
        while self._under_way:
            try:
                await asyncio.wait(self._under_way)
            except asyncio.CancelledError as error:
                cancelled = error
        if cancelled is not None:
            raise cancelled

    async def _take(self) -> None:
        pace, ends, idle_since = Pace(), time.monotonic() + BATCH_S_MAX, time.monotonic()
        seen = self._counts.copy()
        while not self._stopping.is_set():
            if self._taken >= self._policy.batch_size or time.monotonic() > ends:
                self.stop("full")
                return
            portion, rooms = pace.portion, dict[int, int]()
            contended = self._turns.is_contended(self._lane, time.monotonic())
            if contended:
                # What another tenant submits meanwhile is in the next portion.
                portion, rooms = PORTION_MIN, self._rooms()
            started = time.monotonic()
            claims = await self._claim(min(portion, self._policy.batch_size - self._taken), rooms)
            burst = bool(self._turns.bursting(self._lane))
            if claims and (contended or not burst):
                now = time.monotonic()
                self._turns.batch_rooms[self._lane].took(now - started, now, burst=burst)
            if claims:
                await self._begin(claims, started + self._policy.lease_s - LEASE_LEFT_S)
                idle_since = time.monotonic()
            elif rooms and not any(rooms.values()):
                # Held back: more may be due.
                idle_since = time.monotonic()
                await self._rest(CONTENDED_LOOK_S)
                continue
            elif time.monotonic() - idle_since > IDLE_S:
                self.stop("nothing more is due")
                return
            else:
                await self._rest(LOOK_S)
                continue
            # All results since the last portion, including those that arrived while it rested.
            results, seen = self._counts - seen, self._counts.copy()
            if results[BatchItemResult.LEFT]:
                log.warning("batch_items_left", batch_id=str(self._id), count=results[BatchItemResult.LEFT])
            unavailable = results[BatchItemResult.WAITING] + results[BatchItemResult.LEFT]
            pace = pace.after(results.total() - unavailable, unavailable, time.monotonic() - started)
            if len(claims) < PORTION_MIN:
                # Little is due: what comes next may be another tenant's burst.
                pace = replace(pace, portion=PORTION_MIN)
            await self._rest(max(pace.rest_s, CONTENDED_LOOK_S if contended else 0.0))

    def _rooms(self) -> dict[int, int]:
        """How many each tenant with a burst may get now, while others are active; only those are limited."""
        bursting, room = self._turns.bursting(self._lane), self._turns.batch_rooms[self._lane]
        # A claim costs the same for many as for few.
        return room.rooms(bursting, self._policy.turn_weights, self._held, time.monotonic(), at_once=True)

    async def _claim(self, limit: int, rooms: Mapping[int, int]) -> Sequence[BatchClaim]:
        try:
            claims = await self._queue.claim(
                self._lane,
                limit,
                self._policy.lease_s,
                self._id,
                None if is_always_batched(self._lane) else self._own | self._turns.spiking[self._lane],
                Shares(self._policy.turn_weights, rooms, after=self._turns.last[self._lane]),
            )
        except LedgerError as error:
            log.warning("batch_claiming_failed", batch_id=str(self._id), why=type(error).__name__)
            await self._rest(LEDGER_AWAY_S)
            return ()
        if claims:
            self._metrics.claims.add(len(claims), lane=self._lane)
            self._taken += len(claims)
        now = time.monotonic()
        for claim in claims:
            # A turn that it began stays with it: what is left of a backlog may be below the threshold.
            self._own.add(claim.turn)
            self._turns.claimed(self._lane, claim.turn, now, claim.late_s)
            self._metrics.due_lag_seconds.record(claim.late_s, lane=self._lane)
        return claims

    async def _begin(self, claims: Sequence[BatchClaim], until: float) -> None:
        """Start each as soon as a slot is free. `until`: when the claims are too old (monotonic)."""
        for place, claim in enumerate(claims):
            await self._slots.acquire()
            if self._stopping.is_set() or time.monotonic() > until:
                self._slots.release()
                self._counts[BatchItemResult.LEFT] += len(claims) - place
                if self._stopping.is_set():
                    await self._give_back(claims[place:])
                return
            self._held[claim.turn] += 1
            task = asyncio.create_task(self._carry(claim))
            self._under_way.add(task)
            task.add_done_callback(self._under_way.discard)

    async def _carry(self, claim: BatchClaim) -> None:
        try:
            result = await self._result_of(claim)
            if result is BatchItemResult.DEDICATED_WORKFLOW:
                await self._queue.hand_over(HandOver(claim, dedicated_workflow=True))
        except LedgerError as error:
            # It falls due again when its claim ends.
            log.debug("batch_item_interrupted", notification_id=str(claim.id), why=type(error).__name__)
            result = BatchItemResult.LEFT
        finally:
            self._slots.release()
            self._held[claim.turn] -= 1
        self._counts[result] += 1
        self._metrics.batch_items.add(lane=self._lane, result=result)

    async def _result_of(self, claim: BatchClaim) -> BatchItemResult:
        try:
            return await self._items.run(claim.id)
        except LedgerError:
            raise
        except Exception as error:
            # Only this notification is broken: its dedicated workflow makes the error visible in Temporal.
            log.error("batch_item_failed", notification_id=str(claim.id), why=type(error).__name__)
            return BatchItemResult.DEDICATED_WORKFLOW

    async def _give_back(self, claims: Sequence[BatchClaim]) -> None:
        try:
            await asyncio.gather(
                *(self._queue.hand_over(HandOver(claim, dedicated_workflow=False)) for claim in claims)
            )
        except LedgerError as error:
            log.warning("batch_items_not_released", batch_id=str(self._id), why=type(error).__name__)

    async def _rest(self, seconds: float) -> None:
        """Wait `seconds`, or until the batch is stopped."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(max(seconds, 0)):
                await self._stopping.wait()
