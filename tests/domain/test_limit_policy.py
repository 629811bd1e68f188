"""Limits and spend caps as `herald.toml` configures them."""

from typing import Any

import pytest
from pydantic import ValidationError

from domain.limit_policy import DEFAULT_LIMITS, By, SharedLimit, SpendCap
from domain.notification import Channel, Lane
from domain.notification_types import Catalog, NotificationType

TYPES: dict[str, Any] = {"otp": {"lane": "critical"}, "alert": {}}


def read(**values: Any) -> Catalog:
    return Catalog.model_validate({"types": TYPES, **values})


def test_by_default_only_critical_sms_are_limited_over_users() -> None:
    catalog = read()
    assert catalog.shared_limits("otp", Channel.SMS) == DEFAULT_LIMITS
    assert catalog.limited_channels("otp") == {Channel.SMS}
    assert catalog.limited_channels("alert") == frozenset()
    assert read(limits=[]).limited_channels("otp") == frozenset()


@pytest.mark.parametrize(
    ("chosen", "covered"),
    [
        ({}, {"otp", "alert"}),
        ({"lanes": ["critical"]}, {"otp"}),
        ({"types": ["alert"]}, {"alert"}),
        ({"types": ["alert"], "lanes": ["critical"]}, {"otp", "alert"}),
        ({"channel": "email", "by": "address"}, set()),
    ],
)
def test_a_limit_covers_the_types_that_it_chooses(chosen: dict[str, Any], covered: set[str]) -> None:
    catalog = read(limits=[{"by": ["tenant"], "max": 3, "per_s": 60, **chosen}])
    assert {name for name in TYPES if catalog.shared_limits(name, Channel.SMS)} == covered


@pytest.mark.parametrize(
    ("wrong", "says"),
    [
        ({"by": []}, "at least 1"),
        ({"by": ["tenant", "tenant"]}, "twice"),
        ({"by": "user"}, "'tenant', 'country'"),
        ({"channel": "email", "by": "country"}, "limit on email cannot count by country"),
        ({"channel": "push", "by": "address"}, "limit on push cannot count by address"),
        ({"by": "address", "max_of": {"+2348031236789": 1}}, "`max_of` needs"),
        ({"types": ["otpp"]}, "types that do not exist: otpp"),
        ({"max": 0}, "greater than 0"),
    ],
)
def test_a_limit_that_cannot_be_counted_is_refused(wrong: dict[str, Any], says: str) -> None:
    with pytest.raises(ValidationError, match=says):
        read(limits=[{"by": "tenant", "max": 3, "per_s": 60, **wrong}])


@pytest.mark.parametrize(
    "wrong", [{"by": "prefix"}, {"by": ["tenant", "tenant"]}, {"currency": "usd"}, {"max": 0}]
)
def test_a_cap_that_cannot_hold_is_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        SpendCap.model_validate({"by": ["tenant"], "max": 10, "currency": "USD", **wrong})


def test_one_value_may_have_another_maximum() -> None:
    limit = SharedLimit(by=(By.TENANT, By.COUNTRY), max=10, max_of={"bank/NG": 500}, per_s=60)
    assert [limit.max_for(value) for value in ("bank/NG", "bank/GH", "shop/NG")] == [500, 10, 10]


def test_the_lane_of_the_type_counts_and_not_that_of_the_submission() -> None:
    catalog = Catalog(types={"otp": NotificationType(lane=Lane.CRITICAL)})
    assert catalog.shared_limits("otp", Channel.SMS), "whatever lane a client chooses"
