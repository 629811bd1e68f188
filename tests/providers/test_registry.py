"""The registry: configured providers are built, others are off, unknown names are reported."""

import pytest
from contract import EMPTY_CATALOG, Vendors, settings_from

from domain.notification import Channel
from domain.notification_types import Catalog, NotificationType, ProviderPolicy
from providers import registry
from providers.settings import ProviderSettings, RouteSettings


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
