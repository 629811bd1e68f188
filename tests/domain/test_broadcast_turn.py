"""What a broadcast needs next in each status, and how it ends."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest

from domain.broadcast_turn import (
    IN_FLIGHT_S,
    PAUSED_S,
    SHORT_WAIT_S,
    Ending,
    ending,
    is_short_wait,
    stop_turn,
    turn_of,
)
from domain.broadcasts import Audience, Broadcast, BroadcastStatus, Ended, Window
from domain.contracts import BroadcastStep, BroadcastTurn
from domain.fingerprint import Fingerprint
from domain.notification import Channel, Strategy
from domain.status import Status

NOW = datetime(2031, 5, 6, 12, tzinfo=UTC)
RUNNING, CANCELLED = BroadcastStatus.RUNNING, BroadcastStatus.CANCELLED
BROADCAST = Broadcast(
    *(
        UUID(int=1),
        "bank",
        "key",
        Fingerprint(b"f", "k"),
        RUNNING,
        None,
        "news",
        (Channel.SMS,),
        Strategy.ALL,
    ),
    *(None, "Hello", {}, {}, Audience.LIST, None, True, None, None, None, None),
    next_at=NOW - timedelta(seconds=1),
    upload=0,
    digest=None,
    total=30,
    accepted=20,
    refused=1,
    cursor=21,
    created_at=NOW,
    started_at=NOW,
    ended_at=None,
    now=NOW,
    changes={Status.ACCEPTED: -12, Status.SENT: 6, Status.DELIVERED: 4, Status.FAILED: 2},
)


def after(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


@pytest.mark.parametrize(
    ("changes", "step", "wait_s", "waits_for"),
    [
        ({}, BroadcastStep.ACCEPT, 0, ""),
        ({"audience": Audience.QUERY, "gathered": False}, BroadcastStep.GATHER, 0, ""),
        ({"audience": Audience.QUERY}, BroadcastStep.ACCEPT, 0, ""),
        ({"start_at": after(60)}, BroadcastStep.WAIT, 60, "start"),
        ({"window": Window("13:00", "20:00", "UTC")}, BroadcastStep.WAIT, 3600, "window"),
        ({"window": Window("08:00", "20:00", "UTC")}, BroadcastStep.ACCEPT, 0, ""),
        ({"next_at": after(2)}, BroadcastStep.WAIT, 2, "rate"),
        ({"status": BroadcastStatus.PAUSED}, BroadcastStep.WAIT, PAUSED_S, "resume"),
        ({"status": BroadcastStatus.DRAFT}, BroadcastStep.OVER, 0, ""),
        ({"status": BroadcastStatus.COMPLETED}, BroadcastStep.FOLLOW, 0, ""),
        ({"status": BroadcastStatus.COMPLETED, "ended_at": NOW}, BroadcastStep.OVER, 0, ""),
        (
            {"status": CANCELLED, "reason_code": Ended.CANCELLED_BY_CLIENT, "stopped": False},
            *(BroadcastStep.STOP, 0, ""),
        ),
        ({"status": CANCELLED, "reason_code": Ended.CANCELLED_BY_CLIENT}, BroadcastStep.FOLLOW, 0, ""),
        # What was accepted before it expired is still sent.
        (
            {"status": CANCELLED, "reason_code": Ended.EXPIRED, "stopped": False},
            *(BroadcastStep.FOLLOW, 0, ""),
        ),
    ],
)
def test_the_status_says_what_is_next(
    changes: dict[str, Any], step: BroadcastStep, wait_s: float, waits_for: str
) -> None:
    turn = turn_of(replace(BROADCAST, **changes))
    assert (turn.step, turn.wait_s, turn.waits_for) == (step, wait_s, waits_for)


def test_a_turn_reports_the_progress() -> None:
    assert turn_of(BROADCAST) == BroadcastTurn(
        *(BroadcastStep.ACCEPT, RUNNING, 0.0, ""),
        *(21, 30, 20, 1),
        active=8,
        sent=6,
        delivered=4,
        failed=2,
    )


def test_a_broadcast_that_does_not_exist_is_over() -> None:
    assert turn_of(None) == BroadcastTurn(BroadcastStep.OVER)


@pytest.mark.parametrize(
    ("changes", "short"),
    [
        ({"next_at": after(SHORT_WAIT_S)}, True),
        ({"next_at": after(SHORT_WAIT_S + 1)}, False),
        ({"start_at": after(1)}, False),
        ({}, False),
    ],
)
def test_only_a_brief_wait_for_the_rate_is_short(changes: dict[str, Any], short: bool) -> None:
    assert is_short_wait(turn_of(replace(BROADCAST, **changes))) is short


@pytest.mark.parametrize(
    ("expires_at", "any_left", "expected"),
    [
        (None, True, None),
        (after(1), True, None),
        (None, False, Ending(BroadcastStatus.COMPLETED)),
        (NOW, True, Ending(CANCELLED, Ended.EXPIRED)),
        (NOW, False, Ending(CANCELLED, Ended.EXPIRED)),
    ],
)
def test_it_ends_by_its_expiry_or_its_last_recipient(
    expires_at: datetime | None, any_left: bool, expected: Ending | None
) -> None:
    assert ending(replace(BROADCAST, expires_at=expires_at), any_left=any_left) == expected


@pytest.mark.parametrize(
    ("unchecked", "under_way", "step", "wait_s"),
    [
        (False, False, BroadcastStep.FOLLOW, 0),
        (True, False, BroadcastStep.STOP, 0),
        (False, True, BroadcastStep.STOP, IN_FLIGHT_S),
        (True, True, BroadcastStep.STOP, 0),
    ],
)
def test_stopping_continues_while_something_may_still_be_sent(
    unchecked: bool, under_way: bool, step: BroadcastStep, wait_s: float
) -> None:
    turn = stop_turn(BroadcastTurn(BroadcastStep.FOLLOW), unchecked=unchecked, under_way=under_way)
    assert (turn.step, turn.wait_s) == (step, wait_s)
    over = BroadcastTurn(BroadcastStep.OVER)
    assert stop_turn(over, unchecked=unchecked, under_way=under_way) == over
