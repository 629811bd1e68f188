"""Which provider is called next: in the passes of a delivery, also after an operator's retry."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from uuid import uuid4

import pytest

from domain.notification import (
    Attempt,
    Channel,
    Content,
    Delivery,
    Lane,
    Notification,
    Recipient,
    Strategy,
)
from domain.outcome import Outcome
from domain.routing import Ranked, Route, rank
from domain.status import Status

NOW = datetime(2026, 11, 22, 12, tzinfo=UTC)
ROUTE = Route(["first", "second"])


def failed(*asked: tuple[int, str]) -> tuple[Attempt, ...]:
    return tuple(
        Attempt(number, provider, pass_number, None, NOW, NOW, Outcome.UNAVAILABLE)
        for number, (pass_number, provider) in enumerate(asked, 1)
    )


def ranked(pass_number: int, attempts: Sequence[Attempt]) -> Ranked:
    delivery = Delivery(
        id=uuid4(), channel=Channel.SMS, position=0, status=Status.ACCEPTED, reason_code=None, version=1,
        pass_number=pass_number, next_pass_at=NOW, expires_at=NOW, due_at=NOW, attempts=tuple(attempts),
    )  # fmt: skip
    notification = Notification(
        id=uuid4(), tenant="t", user_id="u", type="news", lane=Lane.NORMAL, strategy=Strategy.ALL,
        status=Status.ACCEPTED, accepted_at=NOW, expires_at=NOW, content=Content("text"),
        recipient=Recipient(sms="+2348031234567"), deliveries=(delivery,), now=NOW,
    )  # fmt: skip
    return rank(notification, delivery, ROUTE)


def names(found: Ranked) -> list[str]:
    return [candidate.provider for candidate in found.usable]


ONCE_THROUGH = [(0, "first"), (0, "second"), (1, "first"), (1, "second")]


@pytest.mark.parametrize(
    ("pass_number", "asked", "usable"),
    [
        (0, [], ["first", "second"]),
        (0, [(0, "first")], ["second"]),
        (0, [(0, "first"), (0, "second")], []),
        (1, [(0, "first"), (0, "second")], ["first", "second"]),
    ],
)
def test_a_pass_calls_each_candidate_once(
    pass_number: int, asked: list[tuple[int, str]], usable: list[str]
) -> None:
    found = ranked(pass_number, failed(*asked))
    assert names(found) == usable
    assert found.tried is any(number == pass_number for number, _ in asked)


def test_a_retried_dead_letter_calls_every_provider_again() -> None:
    again = ranked(2, failed(*ONCE_THROUGH))
    assert names(again) == ["first", "second"]
    assert not again.tried
    half = ranked(2, failed(*ONCE_THROUGH, (2, "first")))
    assert names(half) == ["second"]
    assert half.tried


def test_a_refused_number_rules_out_every_provider() -> None:
    (attempt,) = failed((0, "first"))
    found = ranked(0, [replace(attempt, outcome=Outcome.REJECTED_RECIPIENT)])
    assert not found.known
