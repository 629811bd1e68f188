"""The registry: configured providers are built, others are off, unknown names are reported."""

from typing import Any

import pytest
from contract import EMPTY_CATALOG, Vendors, settings_from

from domain.notification import Channel
from domain.notification_types import Catalog, NotificationType, ProviderPolicy
from providers import registry
from providers.settings import ProviderSettings, RouteSettings, SettingsError


def test_nothing_is_built_without_settings() -> None:
    assert registry.build(ProviderSettings(), EMPTY_CATALOG, "http://127.0.0.1:8000") == {}


async def test_only_what_is_configured_is_built(vendors: Vendors) -> None:
    termii = {name: value for name, value in vendors.variables.items() if "__TERMII__" in name}
    built = registry.build(settings_from(termii), EMPTY_CATALOG, vendors.listener.url)
    for provider in built.values():
        await provider.aclose()
    assert list(built) == ["termii"]


def test_every_default_route_leads_to_known_providers_of_its_channel() -> None:
    for channel in Channel:
        assert {registry.KNOWN[name] for name in RouteSettings().of(channel)} == {channel}


TWILIO = ProviderSettings.model_validate(
    {"twilio": {"account_sid": "AC0", "auth_token": "t", "from": "+15005550006"}}
)
PRICED = {"twilio": {"prices": {"currency": "USD", "per_segment": 0.05}}}
CAP = {"by": "tenant", "max": 10, "currency": "USD"}


@pytest.mark.parametrize(
    ("sms", "providers", "says"),
    [
        ({}, {}, r'countries is not set, and twilio would .* countries = \["NG", "GH"\], .* "all"'),
        ({"countries": "all", "spend": [CAP]}, {}, r"set per_segment in \[providers.twilio.prices\]"),
        (
            {"countries": "all", "spend": [CAP]},
            {"twilio": {"prices": {"currency": "USD", "by_country": {"NG": 0.05}}}},
            "needs the price of every SMS",
        ),
        ({"countries": "all", "spend": [{**CAP, "currency": "NGN"}]}, PRICED, "has no cap in USD"),
        ({"countries": ["NG"], "spend": [CAP]}, PRICED, None),
        ({"countries": []}, {}, None),
        ({"countries": "all"}, {}, None),
    ],
)
def test_the_rules_for_sms_are_decided_before_any_is_sent(
    sms: dict[str, Any], providers: dict[str, Any], says: str | None
) -> None:
    catalog = Catalog.model_validate({"types": {}, "sms": sms, "providers": providers})
    # Without a provider of SMS, there is nothing to decide.
    registry.check_sms(ProviderSettings(), catalog)
    if says is None:
        registry.check_sms(TWILIO, catalog)
        return
    with pytest.raises(SettingsError, match=says):
        registry.check_sms(TWILIO, catalog)


@pytest.mark.parametrize(
    ("catalog", "place"),
    [
        (Catalog(types={}, providers={"twillio": ProviderPolicy()}), "providers.twillio"),
        (Catalog(types={"otp": NotificationType(routes={Channel.SMS: ("nexmo",)})}), "types.otp.routes.sms"),
    ],
)
def test_a_catalog_that_names_an_unknown_provider_is_refused(catalog: Catalog, place: str) -> None:
    with pytest.raises(registry.UnknownProvider, match=place):
        registry.build(ProviderSettings(), catalog, "http://127.0.0.1:8000")
