"""Notifications for tests of decisions, and hypothesis strategies over them."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from hypothesis import strategies as st

from domain.notification import (
    Attempt,
    Channel,
    Content,
    Delivery,
    Device,
    Lane,
    Notification,
    QuietHours,
    Recipient,
    Strategy,
)
from domain.notification_types import NotificationType, OnUnknown
from domain.outcome import Outcome, ReceiptStatus
from domain.reasons import Reason
from domain.routing import Route
from domain.sms_policy import EVERYWHERE, SmsPolicy
from domain.snapshot import DecisionContext, DeliverySnapshot, ProviderTraits
from domain.status import Status

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)
PROVIDERS = ("one", "two", "three")
NUMBER = "+2348031230000"
ADDRESS = "ada@example.com"
CONCLUSIVE = frozenset(Outcome) - {Outcome.AMBIGUOUS}
FAILURES = tuple(sorted(CONCLUSIVE - {Outcome.ACCEPTED, Outcome.REJECTED_RECIPIENT}))


def delivery(channel: Channel = Channel.SMS, **changes: Any) -> Delivery:
    """A delivery that is due."""
    fields: dict[str, Any] = {
        "id": UUID(int=1),
        "channel": channel,
        "position": 0,
        "status": Status.ACCEPTED,
        "reason_code": None,
        "version": 0,
        "pass_number": 0,
        "next_pass_at": NOW,
        "expires_at": NOW + timedelta(hours=4),
        "due_at": NOW,
        "attempts": (),
    }
    return Delivery(**(fields | changes))


def attempt(number: int, provider: str, outcome: Outcome | None, **changes: Any) -> Attempt:
    """One of the delivery's attempts."""
    fields: dict[str, Any] = {"pass_number": 0, "device_id": None, "intended_at": NOW, "send_deadline": NOW}
    return Attempt(number=number, provider=provider, outcome=outcome, **(fields | changes))


def notification(*deliveries: Delivery, **changes: Any) -> Notification:
    """A notification with these deliveries; its user has a number, an address and no device."""
    fields: dict[str, Any] = {
        "id": UUID(int=9),
        "tenant": "bank",
        "user_id": "ada",
        "type": "news",
        "lane": Lane.NORMAL,
        "strategy": Strategy.ALL,
        "status": Status.ACCEPTED,
        "accepted_at": NOW,
        "expires_at": NOW + timedelta(hours=4),
        "content": Content("body"),
        "recipient": Recipient(sms=NUMBER, email=ADDRESS),
        "deliveries": deliveries,
        "now": NOW,
    }
    return Notification(**(fields | changes))


def context(**changes: Any) -> DecisionContext:
    """A type with these fields; leases of 30 s, dead letters kept for a day, providers with receipts."""
    traits = {name: ProviderTraits(receipts=True) for name in PROVIDERS}
    return DecisionContext(NotificationType(**changes), lease_s=30, keep_parked_s=86_400, providers=traits)


def snapshot(
    case: Delivery,
    promised: DecisionContext | None = None,
    providers: Route | None = None,
    of: Notification | None = None,
    jitter: float = 0.5,
) -> DeliverySnapshot:
    """The delivery with this context and route. `of`: its notification."""
    of = of or notification(case)
    return DeliverySnapshot(of, case, of.now, promised or context(), providers or route(), jitter)


def route(order: Sequence[str] = PROVIDERS, blocked: dict[str, str] | None = None) -> Route:
    """Providers that reach every device by separate tokens, except `three`, which cannot reach `d2`."""

    def address_of(provider: str, device: Device) -> str | None:
        if provider == "three" and device.device_id == "d2":
            return None
        return f"{provider}-{device.device_id}"

    return Route(
        order, blocked or {}, {name: lambda device, name=name: address_of(name, device) for name in order}
    )


def _pass_of(row: tuple[str, Outcome, int, str | None, ReceiptStatus | None]) -> int:
    return row[2]


DEVICES = tuple(Device(f"d{n}", fcm_token=f"token {n}") for n in (1, 2, 3))

REACHABLE = Recipient(sms=NUMBER, email=ADDRESS, whatsapp=NUMBER, devices=DEVICES)

contexts = st.builds(
    context,
    retry_s=st.lists(st.floats(1, 5000), max_size=5).map(tuple),
    retry_jitter=st.floats(0, 0.5),
    on_unknown=st.sampled_from(OnUnknown),
    await_receipt=st.just(False),
    receipt_deadline_s=st.none() | st.floats(1, 5000),
)
routes = st.builds(
    route,
    st.permutations(PROVIDERS).flatmap(lambda order: st.integers(0, 3).map(lambda n: order[:n])),
    st.dictionaries(st.sampled_from(PROVIDERS), st.sampled_from(["drained", "circuit_open"])),
)
recipients = st.builds(
    Recipient,
    sms=st.none() | st.just(NUMBER),
    email=st.just(ADDRESS),
    devices=st.lists(st.sampled_from(DEVICES), unique=True).map(tuple),
)
attempt_lists = st.lists(
    st.tuples(
        st.sampled_from(PROVIDERS),
        st.sampled_from(sorted(CONCLUSIVE)),
        st.integers(0, 3),
        st.none() | st.sampled_from([device.device_id for device in DEVICES]),
        st.none() | st.sampled_from(ReceiptStatus),
    ),
    max_size=8,
).map(
    lambda rows: tuple(
        attempt(number, provider, outcome, pass_number=pass_number, device_id=device, receipt_status=receipt)
        # Attempts are ordered by their pass.
        for number, (provider, outcome, pass_number, device, receipt) in enumerate(
            sorted(rows, key=_pass_of), 1
        )
    )
)
channels = st.sampled_from(Channel)
times = st.sampled_from([NOW - timedelta(hours=1), NOW, NOW + timedelta(seconds=1), NOW + timedelta(hours=1)])
_settings = st.sampled_from([{}, {("*", channel.value): False for channel in Channel}])
_suppressed = st.sampled_from(
    [frozenset[tuple[Channel, str]](), frozenset({(Channel.SMS, NUMBER), (Channel.EMAIL, ADDRESS)})]
)
policies = st.sampled_from([EVERYWHERE, SmsPolicy(countries=("NG",)), SmsPolicy(countries=("GH",))])
_quiet_hours = st.none() | st.just(QuietHours("11:00", "13:00"))


@st.composite
def snapshots(
    draw: st.DrawFn, statuses: Sequence[Status] = tuple(Status), *, due: bool = False
) -> DeliverySnapshot:
    """Deliveries with any attempts at any time, also in combinations that the ledger never holds.

    `due`: the delivery's next pass may start now, and mostly nothing forbids it.
    """
    attempts = draw(attempt_lists)
    if due:
        attempts = attempts[: draw(st.integers(0, 1))]
    if not due and draw(st.booleans()):
        code = draw(st.none() | st.just("timeout"))
        open_one = attempt(
            len(attempts) + 1, draw(st.sampled_from(PROVIDERS)), None, send_deadline=draw(times), code=code
        )
        attempts = (*attempts, open_one)
    pass_number = draw(st.integers(0, 5))
    case = delivery(
        draw(channels),
        status=draw(st.sampled_from(statuses)),
        reason_code=draw(st.none() | st.sampled_from(Reason)),
        attempts=attempts,
        pass_number=pass_number,
        round_pass=draw(st.integers(0, pass_number)),
        next_pass_at=NOW if due else draw(times),
        expires_at=NOW + timedelta(hours=4) if due else draw(times),
        due_at=draw(st.none() | times),
    )
    recipient = replace(
        draw(st.just(REACHABLE) if due else recipients),
        settings=draw(_settings),
        suppressed=draw(_suppressed),
        quiet_hours=draw(_quiet_hours),
    )
    if due and draw(st.booleans()):
        recipient = REACHABLE
    behind = delivery(Channel.WHATSAPP, position=1, status=draw(st.sampled_from(Status)), due_at=None)
    of = notification(case, behind, strategy=draw(st.sampled_from(Strategy)), recipient=recipient)
    promised = replace(
        draw(contexts),
        sms=draw(policies),
    )
    order = draw(st.just(route()) | routes if due else routes)
    return snapshot(case, promised, order, of, draw(st.floats(0, 1)))
