"""Which provider is called next: in fallback order, never a blocked one, each at most once a pass."""

from dataclasses import replace

from decision_case import (
    DEVICES,
    attempt,
    attempt_lists,
    channels,
    delivery,
    notification,
    recipients,
    routes,
)
from decision_case import route as route_of
from hypothesis import given
from hypothesis import strategies as st

from domain.notification import Attempt, Channel, Recipient
from domain.outcome import Outcome, ReceiptStatus
from domain.routing import Route, rank


@given(channels, recipients, routes, attempt_lists, st.integers(0, 1))
def test_usable_candidates_are_ordered_and_allowed(
    channel: Channel, recipient: Recipient, route: Route, attempts: tuple[Attempt, ...], behind: int
) -> None:
    pass_number = max((made.pass_number for made in attempts), default=0) + behind
    case = delivery(channel, attempts=attempts, pass_number=pass_number)
    ranked = rank(notification(case, recipient=recipient), case, route)
    devices: list[str | None] = [device.device_id for device in recipient.devices]
    if channel is not Channel.PUSH:
        devices = [None]
    places = [
        (devices.index(candidate.target.device_id), route.order.index(candidate.provider))
        for candidate in ranked.known
    ]
    assert places == sorted(set(places)), "devices before providers, each once"
    assert [candidate for candidate in ranked.known if candidate in ranked.usable] == list(ranked.usable)
    refused = {(a.provider, a.device_id) for a in attempts if a.outcome is Outcome.REJECTED_RECIPIENT}
    taken = {(a.provider, a.device_id) for a in attempts if a.outcome is Outcome.ACCEPTED}
    asked = {(a.provider, a.device_id) for a in attempts if a.pass_number == pass_number}
    for candidate in ranked.usable:
        way = (candidate.provider, candidate.target.device_id)
        assert candidate.provider not in route.blocked
        assert way not in refused | taken | asked
        assert candidate.target.address
    if refused and channel is not Channel.PUSH:
        assert ranked.known == (), "a refused number rules out every provider"
    of_use = {candidate.provider for candidate in ranked.usable}
    assert set(ranked.skipped) == set(route.order) - of_use, "every other provider has a reason"


@given(channels, recipients, routes)
def test_a_pass_calls_each_usable_candidate_once_and_ends(
    channel: Channel, recipient: Recipient, route: Route
) -> None:
    case = delivery(channel)
    asked: list[tuple[str, str | None]] = []
    while usable := rank(notification(case, recipient=recipient), case, route).usable:
        chosen = usable[0]
        asked.append((chosen.provider, chosen.target.device_id))
        failed = attempt(len(asked), chosen.provider, Outcome.UNAVAILABLE, device_id=chosen.target.device_id)
        case = replace(case, attempts=(*case.attempts, failed))
    assert len(asked) == len(set(asked))
    if channel is Channel.EMAIL or (channel is Channel.SMS and recipient.sms):
        assert [provider for provider, _ in asked] == [p for p in route.order if p not in route.blocked]


def test_devices_come_before_providers() -> None:
    case = delivery(Channel.PUSH)
    ranked = rank(notification(case, recipient=Recipient(devices=DEVICES[:2])), case, route_of())
    assert [(c.target.device_id, c.provider) for c in ranked.usable] == [
        ("d1", "one"),
        ("d1", "two"),
        ("d1", "three"),
        ("d2", "one"),
        ("d2", "two"),
    ]


def test_a_dead_token_rules_out_only_its_own_candidate() -> None:
    dead = attempt(1, "one", Outcome.REJECTED_RECIPIENT, device_id="d1")
    case = delivery(Channel.PUSH, attempts=(dead,), pass_number=1)
    ranked = rank(notification(case, recipient=Recipient(devices=DEVICES[:1])), case, route_of())
    assert [candidate.provider for candidate in ranked.known] == ["two", "three"]
    assert ranked.skipped == {"one": "recipient_refused"}


def test_an_undelivered_receipt_does_not_count_as_tried() -> None:
    failed = attempt(1, "one", Outcome.ACCEPTED, receipt_status=ReceiptStatus.UNDELIVERED)
    case = delivery(attempts=(failed,))
    ranked = rank(notification(case), case, route_of(blocked={"two": "drained", "three": "circuit_open"}))
    assert (ranked.usable, ranked.tried) == ((), False)
    assert ranked.skipped == {"one": "accepted_not_delivered", "two": "drained", "three": "circuit_open"}
    fallback = rank(notification(case), case, route_of())
    assert fallback.usable[0].provider == "two"
    assert fallback.skipped == {"one": "accepted_not_delivered"}
