"""Limits and spend caps as `herald.toml` configures them."""

import math
import re
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


@pytest.mark.parametrize("endless", [math.inf, math.nan, 1e17])
def test_no_duration_or_rate_is_endless(endless: float) -> None:
    """A store that cannot keep a window refuses its script, and would count as lost."""
    limit = {"channel": "sms", "max": 3, "per_s": endless}
    for wrong in (
        {"limits": [{**limit, "by": "tenant"}]},
        {"types": {"otp": {"limits": [limit]}}},
        {"types": {"otp": {"expires_s": endless}}},
        {"types": {"otp": {"retry_s": [endless]}}},
        {"providers": {"twilio": {"timeout_s": endless}}},
        {"providers": {"twilio": {"rate_per_s": endless}}},
        {"dispatch": {"promotions_per_s": endless}},
        {"parking": {"keep_s": endless}},
        {"api": {"key_failures_per_minute": endless}},
    ):
        with pytest.raises(ValidationError, match=r"(greater|less) than"):
            read(**wrong)


TENANT_COUNTRY = ["tenant", "country"]
NEVER = [
    ("country", "ng"),
    ("country", "Nigeria"),
    ("country", "XX"),
    ("country", "bank/NG"),
    ("country", ""),
    ("tenant", "my bank"),
    ("tenant", "test:bank"),
    ("tenant", "NG/bank"),
    (TENANT_COUNTRY, "NG"),
    (TENANT_COUNTRY, "NG/bank"),
    (TENANT_COUNTRY, "bank/ng"),
    (TENANT_COUNTRY, "bank/NG/x"),
    (["country", "tenant"], "bank/NG"),
]
"""What a limit counts by, and a value that nothing counts under."""


@pytest.mark.parametrize(("by", "value"), NEVER)
def test_a_maximum_that_never_applies_is_refused(by: Any, value: str) -> None:
    says = f"`max_of`: {re.escape(repr(value))} never applies"
    with pytest.raises(ValidationError, match=says):
        read(limits=[{"by": by, "max": 3, "per_s": 60, "max_of": {value: 1}}])
    cap = {"by": by, "max": 3, "currency": "USD", "max_of": {value: 1}}
    with pytest.raises(ValidationError, match=says):
        read(sms={"spend": [cap]})


def test_a_cap_of_the_installation_has_one_maximum() -> None:
    with pytest.raises(ValidationError, match="`max_of` needs `by`"):
        read(sms={"spend": [{"max": 3, "currency": "USD", "max_of": {"NG": 1}}]})


@pytest.mark.parametrize(
    ("by", "value"),
    [("country", "NG"), ("country", "ZZ"), ("tenant", "bank-2.x"), (["country", "tenant"], "NG/bank")],
)
def test_a_maximum_of_any_value_that_counts_is_read(by: Any, value: str) -> None:
    of = {"by": by, "max": 3, "max_of": {value: 1}}
    made = read(limits=[{**of, "per_s": 60}], sms={"spend": [{**of, "currency": "USD"}]})
    assert (made.limits[0].max_for(value), made.sms.spend[0].max_for(value)) == (1, 1)


@pytest.mark.parametrize("name", ["", "my bank", "bank:x", "-bank", "bänk", "b" * 65])
def test_names_that_no_tenant_can_have_are_refused(name: str) -> None:
    for wrong in ({"dispatch": {"tenant_weights": {name: 2}}}, {"api": {"tenants": {name: {"per_s": 1}}}}):
        with pytest.raises(ValidationError, match="no tenant can have the name"):
            read(**wrong)


@pytest.mark.parametrize("name", ["bank", "B-1.x_y", "test:bank"])
def test_tenants_have_their_own_weight_and_rate(name: str) -> None:
    made = read(dispatch={"tenant_weights": {name: 2}}, api={"tenants": {name: {"per_s": 1}}})
    assert (made.dispatch.tenant_weights[name], made.api.tenant_rate(name)) == (2, 1)


def test_one_value_may_have_another_maximum() -> None:
    limit = SharedLimit(by=(By.TENANT, By.COUNTRY), max=10, max_of={"bank/NG": 500}, per_s=60)
    assert [limit.max_for(value) for value in ("bank/NG", "bank/GH", "shop/NG")] == [500, 10, 10]


def test_the_lane_of_the_type_counts_and_not_that_of_the_submission() -> None:
    catalog = Catalog(types={"otp": NotificationType(lane=Lane.CRITICAL)})
    assert catalog.shared_limits("otp", Channel.SMS), "whatever lane a client chooses"
