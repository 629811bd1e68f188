"""The one list of providers. A new one is one line here: its adapter, and where its settings are."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeVar, cast

from domain.notification import Channel
from domain.notification_types import Catalog
from providers.base import Capabilities, Provider
from providers.email.mailgun import Mailgun
from providers.email.resend import Resend
from providers.email.sendgrid import SendGrid
from providers.email.smtp import Smtp
from providers.installation import Installation
from providers.push.apns import Apns
from providers.push.fcm import Fcm
from providers.push.webpush import WebPush
from providers.settings import ProviderSettings, RouteSettings, SettingsError
from providers.sms.africastalking import AfricasTalking
from providers.sms.termii import Termii
from providers.sms.twilio import Twilio
from providers.whatsapp.whatsapp_cloud import WhatsAppCloud

Own = TypeVar("Own")


class UnknownProvider(SettingsError):
    """A route or the catalog names a provider that does not exist, or one of another channel.

    The message says where, and which providers exist.
    """


@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider that can be configured. `build` returns None while it has no settings."""

    name: str
    capabilities: Capabilities
    build: Callable[[ProviderSettings, Installation], Provider | None]


def _vendor(
    adapter: Callable[[Own, Installation], Provider], settings_of: Callable[[ProviderSettings], Own | None]
) -> Vendor:
    """`adapter` is a class; typed as a callable, so that the type checker compares it with its settings."""

    def build(settings: ProviderSettings, installation: Installation) -> Provider | None:
        own = settings_of(settings)
        return None if own is None else adapter(own, installation)

    made = cast("type[Provider]", adapter)
    return Vendor(made.name, made.capabilities, build)


VENDORS: tuple[Vendor, ...] = (
    _vendor(Twilio, lambda settings: settings.twilio),
    _vendor(Termii, lambda settings: settings.termii),
    _vendor(AfricasTalking, lambda settings: settings.africastalking),
    _vendor(SendGrid, lambda settings: settings.sendgrid),
    _vendor(Mailgun, lambda settings: settings.mailgun),
    _vendor(Resend, lambda settings: settings.resend),
    _vendor(Smtp, lambda settings: settings.smtp),
    _vendor(Fcm, lambda settings: settings.fcm),
    _vendor(Apns, lambda settings: settings.apns),
    _vendor(WebPush, lambda settings: settings.webpush),
    _vendor(WhatsAppCloud, lambda settings: settings.whatsapp_cloud),
)

KNOWN: dict[str, Channel] = {vendor.name: vendor.capabilities.channel for vendor in VENDORS}
"""Every provider that can be configured, and its channel."""


def build(settings: ProviderSettings, catalog: Catalog, public_url: str) -> dict[str, Provider]:
    """The configured providers by name; one without settings is off, and absent. Close each of them.

    Raises UnknownProvider, or SettingsError when a provider's key or key file cannot be used.
    """
    _check(catalog)
    installation = Installation(public_url, catalog)
    built: dict[str, Provider | None] = {}
    for vendor in VENDORS:
        try:
            built[vendor.name] = vendor.build(settings, installation)
        except (OSError, ValueError) as error:
            raise SettingsError(f"HERALD_PROVIDERS__{vendor.name.upper()}__…: {error}") from error
    return {name: provider for name, provider in built.items() if provider is not None}


def check_routes(routes: RouteSettings) -> None:
    """Raises UnknownProvider unless every route names providers of its channel."""
    wrong = [
        f"HERALD_ROUTES__{channel.name}: {name}"
        for channel in Channel
        for name in routes.of(channel)
        if KNOWN.get(name) is not channel
    ]
    wrong += [
        f"HERALD_ROUTES__SMS__{key}: {name}"
        for key, names in routes.sms_by.items()
        for name in names
        if KNOWN.get(name) is not Channel.SMS
    ]
    if wrong:
        known = "; ".join(
            f"{channel}: {', '.join(name for name, of in KNOWN.items() if of is channel)}"
            for channel in Channel
        )
        raise UnknownProvider(
            f"No such provider for this channel: {', '.join(wrong)}. Known providers are {known}."
        )


def check_sms(settings: ProviderSettings, catalog: Catalog) -> None:
    """Raises SettingsError if SMS can be sent, but the catalog does not say to which countries, or has a
    spend cap that cannot hold because a price is not known.
    """
    sending = [name for name, channel in KNOWN.items() if channel is Channel.SMS and getattr(settings, name)]
    wrong: list[str] = []
    if sending and catalog.sms.countries is None:
        wrong.append(
            f"[sms] countries is not set, and {', '.join(sending)} would send SMS anywhere: list the "
            'countries that SMS may go to, such as countries = ["NG", "GH"], or open all with "all"'
        )
    capped = {cap.currency for cap in catalog.sms.spend}
    for name in sending if capped else ():
        prices = catalog.provider(name).prices
        if prices is None or prices.per_segment is None:
            wrong.append(
                f"[sms] spend needs the price of every SMS: set per_segment in [providers.{name}.prices]"
            )
        elif prices.currency not in capped:
            wrong.append(
                f"[sms] spend has no cap in {prices.currency}, the currency of [providers.{name}.prices], so "
                "what it sends would not be counted: add one"
            )
    if wrong:
        raise SettingsError("\n  ".join(("HERALD_CONFIG: the rules for SMS cannot be used:", *wrong)))


def _check(catalog: Catalog) -> None:
    named = {f"providers.{name}": name for name in catalog.providers}
    for type_name, kind in catalog.types.items():
        for channel, route in kind.routes.items():
            named |= {f"types.{type_name}.routes.{channel}: {name}": name for name in route}
    wrong = sorted(place for place, name in named.items() if name not in KNOWN)
    if wrong:
        raise UnknownProvider(
            f"Unknown provider in the catalog: {', '.join(wrong)}. Known providers are {', '.join(KNOWN)}."
        )
