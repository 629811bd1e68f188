"""What a broadcast needs next, and how it ends. Pure."""

from dataclasses import dataclass, replace
from typing import Final

from domain.broadcasts import Audience, Broadcast, BroadcastStatus, Ended, Waits
from domain.contracts import BroadcastStep, BroadcastTurn

SHORT_WAIT_S: Final = 5.0
"""A worker waits for the rate by itself for at most this many seconds."""
PAUSED_S: Final = 86_400.0
"""How often a paused broadcast reads the ledger: the most that a lost wake-up delays it."""
IN_FLIGHT_S: Final = 5.0
"""How long after a cancel the sends that were under way are checked again, in seconds."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a running broadcast ends: its status, and why if it was cancelled."""

    status: BroadcastStatus
    reason: Ended | None = None


def turn_of(broadcast: Broadcast | None) -> BroadcastTurn:
    """What a broadcast needs next; one that does not exist needs nothing."""
    if broadcast is None:
        return BroadcastTurn(BroadcastStep.OVER)
    step, wait_s, waits_for = _step(broadcast)
    counts = broadcast.counts
    return BroadcastTurn(
        step=step,
        status=broadcast.status,
        wait_s=wait_s,
        waits_for=waits_for,
        cursor=broadcast.cursor,
        total=broadcast.total,
        accepted=broadcast.accepted,
        refused=broadcast.refused,
        active=counts.active,
        sent=counts.sent,
        delivered=counts.delivered,
        failed=counts.failed,
    )


def is_short_wait(turn: BroadcastTurn) -> bool:
    """Whether the broadcast waits for its rate, and so briefly that no workflow timer is worth it."""
    return turn.step is BroadcastStep.WAIT and turn.waits_for == Waits.RATE and turn.wait_s <= SHORT_WAIT_S


def ending(broadcast: Broadcast, *, any_left: bool) -> Ending | None:
    """How a running broadcast ends now; None if it continues. `any_left`: recipients are left to accept."""
    if broadcast.expires_at is not None and broadcast.expires_at <= broadcast.now:
        return Ending(BroadcastStatus.CANCELLED, Ended.EXPIRED)
    return None if any_left else Ending(BroadcastStatus.COMPLETED)


def stop_turn(turn: BroadcastTurn, *, unchecked: bool, under_way: bool) -> BroadcastTurn:
    """The turn after chunks of a cancelled broadcast were stopped.

    `unchecked`: chunks are left, which are stopped at once. `under_way`: notifications were being sent, and
    are checked again.
    """
    if turn.step is BroadcastStep.OVER or not (unchecked or under_way):
        return turn
    return replace(turn, step=BroadcastStep.STOP, wait_s=0.0 if unchecked else IN_FLIGHT_S)


def _step(broadcast: Broadcast) -> tuple[BroadcastStep, float, str]:
    if broadcast.ended_at is not None:
        return BroadcastStep.OVER, 0.0, ""
    match broadcast.status:
        case BroadcastStatus.DRAFT:
            return BroadcastStep.OVER, 0.0, ""
        case BroadcastStatus.PAUSED:
            return BroadcastStep.WAIT, PAUSED_S, "resume"
        case BroadcastStatus.CANCELLED if (
            broadcast.reason_code == Ended.CANCELLED_BY_CLIENT and not broadcast.stopped
        ):
            return BroadcastStep.STOP, 0.0, ""
        case BroadcastStatus.CANCELLED | BroadcastStatus.COMPLETED:
            return BroadcastStep.FOLLOW, 0.0, ""
        case BroadcastStatus.RUNNING:
            waits = broadcast.waits
            if waits is not None:
                what, until = waits
                return BroadcastStep.WAIT, max(0.0, (until - broadcast.now).total_seconds()), what
            gathered = broadcast.audience is not Audience.QUERY or broadcast.gathered
            return BroadcastStep.ACCEPT if gathered else BroadcastStep.GATHER, 0.0, ""
