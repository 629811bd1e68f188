"""Claims due notifications lane by lane, and starts or wakes their workflows."""

import asyncio
import time
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from itertools import cycle, islice
from uuid import UUID

import structlog
from temporalio.client import Client
from temporalio.service import RPCError, RPCStatusCode

from delivery.prefetch import PrefetchCache
from delivery.slots import InFlightSlots
from dispatcher.batches import BatchStarter
from dispatcher.listener import Listener
from dispatcher.loop import Rounds
from dispatcher.token_bucket import TokenBucket
from dispatcher.wakeups import wake
from domain.contracts import NotificationRef
from domain.fairness import Shares, Turns, turn_of
from domain.ids import workflow_id
from domain.masking import summary
from domain.notification import Lane, Notification, Strategy
from domain.notification_types import DispatchPolicy
from storage.ledger import Ledger
from storage.outages import DATABASE_UNAVAILABLE
from storage.records import Claim
from telemetry.metrics import Metrics
from temporal.client import start
from temporal.search_attributes import attributes
from temporal.task_queues import task_queue
from workflows.notification import NotificationWorkflow

log = structlog.stdlib.get_logger(__name__)

PAUSE_S_MIN = 0.25
PAUSE_S_MAX = 5.0
"""How long claiming pauses while Temporal does not answer: at first, and at most."""
TOGETHER = 0.2
TOGETHER_S = 0.05
"""While less than this share of the slots is free, claiming waits up to `TOGETHER_S` seconds: what is claimed
together is read and written together, and single rows cost several times as much.
"""
GIVE_BACK_S = 1.0
"""How long after its workflow could not be started a claim is due again, in seconds."""
_OF_ONE_CLAIM = (RPCStatusCode.INVALID_ARGUMENT, RPCStatusCode.NOT_FOUND)
"""What Temporal answers because of one workflow. Every other refusal concerns all."""


class Dispatcher(Rounds):
    """The loop of one worker process over the lanes it serves."""

    failure = "claiming_failed"

    def __init__(
        self,
        client: Client,
        ledger: Ledger,
        lanes: Sequence[Lane],
        policy: DispatchPolicy,
        slots: InFlightSlots,
        prefetched: PrefetchCache,
        listener: Listener,
        metrics: Metrics,
        turns: Turns,
        batches: BatchStarter | None = None,
    ) -> None:
        """`batches`: what they take is left to them."""
        self._client = client
        self._ledger = ledger
        self._lanes = sorted(lanes, key=list(Lane).index)
        self._policy = policy
        self._slots = slots
        self._prefetched = prefetched
        self._listener = listener
        self._metrics = metrics
        self._batches = batches
        self._promotions = TokenBucket(policy.promotions_per_s)
        # Grows by one with each round that Temporal takes, and halves when its resources are exhausted.
        self._window = policy.in_flight_max
        self._pause_s = 0.0
        self._claimed = 0
        self._turns = turns
        self._held_back = False
        # The claims whose workflows are being started, by notification.
        self._claims: dict[UUID, Claim] = {}
        self._starts: set[asyncio.Task[None]] = set()
        self._rounds = 0
        self._grown_for = 0
        self._refused_for = 0
        self._lane_turns = cycle(lane_turns({lane: policy.weights.get(lane, 1) for lane in self._lanes}))

    async def round(self) -> None:
        """Claim one round over the lanes, and start its workflows."""
        self._claimed = await self._dispatch()

    async def rest(self) -> None:
        """Pause while Temporal refuses or no slot is free; otherwise wait until something is due."""
        if self._pause_s:
            await asyncio.sleep(self._pause_s)
        elif not self._slots.free():
            await self._slots.wait_for(1, self._policy.sweep_s)
        elif not self._claimed and self._held_back:
            await self._due_or_released()
        elif not self._claimed:
            await self._listener.wait("herald_due", self._policy.sweep_s)
        await self._slots.wait_for(int(self._policy.in_flight_max * TOGETHER), TOGETHER_S)

    async def end(self) -> None:
        """Wait for the starts under way."""
        if self._starts:
            await asyncio.wait(self._starts)

    async def _due_or_released(self) -> None:
        """Wait until something is due, a slot is released or a burst has rested."""
        left_s = self._turns.start_room.resting_s(time.monotonic()) or None
        waits = {
            asyncio.create_task(self._listener.wait("herald_due", self._policy.sweep_s)),
            asyncio.create_task(self._slots.released()),
        }
        try:
            await asyncio.wait(waits, timeout=left_s, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for wait in waits:
                wait.cancel()

    async def _dispatch(self) -> int:
        """Claim and start one round. Returns how many were claimed."""
        limit = min(self._slots.free(), self._window, self._policy.claim_max)
        claims = await self._claim(limit)
        await self._read(claims)
        self._rounds += 1
        for claim in claims:
            known = claim.id in self._claims
            self._claims[claim.id] = claim
            if known:
                # Its start outlived the claim before this one, and goes on.
                continue
            # Now, so that the next round knows of it.
            self._slots.take(str(claim.id), turn_of(claim.tenant))
            start = asyncio.create_task(self._start_of(claim, self._rounds))
            self._starts.add(start)
            start.add_done_callback(self._starts.discard)
        return len(claims)

    async def _start_of(self, claim: Claim, number: int) -> None:
        """Start the claim's workflow. Starts do not wait for each other: a slow one delays no other.

        `number`: of the round that claimed it.
        """
        try:
            taken = await self._start(claim, number)
        except DATABASE_UNAVAILABLE as error:
            # It is due again when its lease ends.
            log.warning("claim_not_returned", why=type(error).__name__, notification_id=str(claim.id))
            return
        finally:
            self._claims.pop(claim.id, None)
        if taken:
            self._pause_s = 0.0
            if number > self._grown_for:
                self._grown_for = number
                self._window = min(self._window + 1, self._policy.in_flight_max)

    def _slow_down(self, status: RPCStatusCode, number: int) -> None:
        """Pause because Temporal refused a start of a round."""
        if number <= self._refused_for:
            return
        # Once for all starts that are under way: they were sent together.
        self._refused_for = self._rounds
        self._pause_s = min(max(self._pause_s * 2, PAUSE_S_MIN), PAUSE_S_MAX)
        if status is RPCStatusCode.RESOURCE_EXHAUSTED:
            self._window = max(1, self._window // 2)

    async def _claim(self, limit: int) -> list[Claim]:
        """Claim for each lane by its turns; slots that a lane does not use go to the most urgent one that
        can.

        Turns continue from round to round, so that a lane gets its share even if slots free up one by one.
        """
        self._held_back = False
        shares = Counter(islice(self._lane_turns, limit))
        claims: list[Claim] = []
        more: list[Lane] = []
        for lane in self._lanes:
            took = await self._claim_lane(lane, shares[lane])
            claims += took
            if len(took) == shares[lane]:
                more.append(lane)
        for lane in more:
            claims += await self._claim_lane(lane, limit - len(claims))
        return claims

    async def _read(self, claims: Sequence[Claim]) -> None:
        """Prefetch all claims in one statement for their first passes, which read what is missing here."""
        loads = (self._ledger.load(claim.id) for claim in claims)
        for claim, found in zip(claims, await asyncio.gather(*loads, return_exceptions=True), strict=True):
            if isinstance(found, Notification):
                self._prefetched.put(claim.id, found)

    async def _claim_lane(self, lane: Lane, limit: int) -> list[Claim]:
        if limit <= 0:
            return []
        busy = self._batches.busy(lane) if self._batches else ()
        claims = await self._ledger.claim(
            lane,
            limit,
            self._policy.lease_s,
            dedicated_only=self._batches is not None and self._batches.take_all(lane),
            batched=self._turns.spiking[lane],
            shares=self._shares(lane, busy, limit),
        )
        now = time.monotonic()
        for claim in claims:
            turn = turn_of(claim.tenant)
            self._turns.claimed(lane, turn, now, claim.late_s)
            self._promotions.take(turn in busy)
            self._metrics.due_lag_seconds.record(claim.late_s, lane=lane)
        if claims:
            self._metrics.claims.add(len(claims), lane=lane)
        else:
            self._turns.nothing_due(lane)
        return claims

    def _shares(self, lane: Lane, busy: Collection[int], limit: int) -> Shares:
        """How many of the lane each tenant may get now.

        Of the turns in `busy`, few: batches promote hundreds a second, which would use all of Temporal's
        capacity.
        """
        weights, now, room = self._policy.turn_weights, time.monotonic(), self._turns.start_room
        active = self._turns.active(lane, now)
        rooms = dict.fromkeys(active, limit)
        if len(active) > 1:
            held = self._slots.held()
            rooms = {turn: max(0, room.largest - held.get(turn, 0)) for turn in active}
            rooms |= room.rooms(self._turns.bursting(lane), weights, held, now)
            self._held_back = self._held_back or not all(rooms.values())
        left = max(0, self._promotions.left())
        rooms |= {turn: min(left, rooms.get(turn, left)) for turn in busy}
        # Of a tenant that was not active yet, too: it may be the beginning of a burst.
        return Shares(weights, rooms, room.places if active else None, self._turns.last[lane])

    async def _start(self, claim: Claim, number: int) -> bool:
        """Start the claim's workflow, or wake the running one. False: Temporal refused."""
        id = str(claim.id)
        read = self._prefetched.peek(claim.id)
        asked = time.monotonic()
        try:
            started = await start(
                self._client,
                NotificationWorkflow.run,
                NotificationRef(id),
                id=workflow_id(claim.id),
                task_queue=task_queue(claim.lane),
                summary=summary(
                    claim.type,
                    claim.channels,
                    read.recipient if read else claim.recipient,
                    read.strategy if read else Strategy.ALL,
                ),
                attributes=attributes(
                    claim.tenant, claim.type, [channel.value for channel in claim.channels]
                ),
                eager=True,
            )
        except RPCError as error:
            if error.status not in _OF_ONE_CLAIM:
                self._slow_down(error.status, number)
            self._slots.release(id)
            return await self._refused(claim, error)
        self._measure(claim, asked)
        if started:
            return True
        self._slots.release(id)
        self._prefetched.take(claim.id)
        return await self._wake(claim, number)

    def _measure(self, claim: Claim, asked: float) -> None:
        """Note how long a start took, unless its lane is one tenant's."""
        now, bursting = time.monotonic(), self._turns.bursting(claim.lane)
        if not bursting or self._turns.is_contended(claim.lane, now):
            others = self._turns.active(claim.lane, now) - bursting
            own = bool(others) and turn_of(claim.tenant) in bursting
            self._turns.start_room.took(now - asked, now, burst=bool(bursting), own=own)

    async def _wake(self, claim: Claim, number: int) -> bool:
        """Wake a running workflow whose notification is due: it has missed a change in the ledger."""
        error = await wake(self._client, claim.id)
        if error is None:
            return True
        if error.status not in _OF_ONE_CLAIM:
            self._slow_down(error.status, number)
        return await self._refused(claim, error)

    async def _refused(self, claim: Claim, error: RPCError) -> bool:
        """Make the claim due again. True: the refusal does not concern other claims."""
        if error.status is RPCStatusCode.INVALID_ARGUMENT:
            # Only this notification is invalid: leave it to its lease, without a pause.
            log.error("workflow_start_rejected", why=error.message[:200], notification_id=str(claim.id))
            return True
        await self._ledger.give_back(self._claims[claim.id], GIVE_BACK_S)
        if error.status is RPCStatusCode.NOT_FOUND:
            # It ended in the meantime; what it left due is claimed again.
            return True
        log.warning("temporal_refused", status=error.status.name, notification_id=str(claim.id))
        return False


def lane_turns(weights: Mapping[Lane, int]) -> list[Lane]:
    """One cycle of turns: each lane as often as its weight, spread evenly."""
    credit = dict.fromkeys(weights, 0)
    order: list[Lane] = []
    for _ in range(sum(weights.values())):
        for lane, weight in weights.items():
            credit[lane] += weight
        chosen = max(credit, key=credit.__getitem__)
        credit[chosen] -= sum(weights.values())
        order.append(chosen)
    return order
