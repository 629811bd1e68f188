"""The one list of providers. A new vendor is one line here, and a function that wires its settings."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Protocol

from domain.notification import Channel
from domain.notification_types import Catalog
from providers.base import Capabilities, Provider
from providers.connections import Limits
from providers.email.mailgun import Mailgun
from providers.email.resend import Resend
from providers.email.sendgrid import SendGrid
from providers.email.smtp import Smtp
from providers.http import VendorClient
from providers.push.apns import Apns
from providers.push.fcm import Fcm
from providers.push.webpush import WebPush
from providers.sms.africastalking import AfricasTalking
from providers.sms.termii import Termii
from providers.sms.twilio import Twilio
from providers.whatsapp.whatsapp_cloud import WhatsAppCloud
from settings import ProviderSettings, RouteSettings, SettingsError


class UnknownProvider(SettingsError):
    """A route or the catalog speaks of a provider that does not exist, or of one of another channel.

    The message says where, and which there are.
    """


class _Secret(Protocol):
    def get_secret_value(self) -> str: ...


@dataclass(frozen=True, slots=True)
class Installation:
    """What an adapter may need to know beside its own settings.

    `public_url` is where vendors reach this installation; some sign their callbacks over it.
    """

    public_url: str
    catalog: Catalog

    def client(self, name: str) -> Callable[[str], VendorClient]:
        """What makes a provider's connections, within the catalog's limits for it."""
        policy = self.catalog.provider(name)
        limits = Limits(
            connections_max=policy.connections_max,
            pool_s=policy.pool_s,
            connect_s=policy.connect_s,
            write_s=policy.write_s,
            read_s=policy.read_s,
        )
        return partial(VendorClient, limits=limits)


@dataclass(frozen=True, slots=True)
class Vendor:
    """A provider that can be configured. `build` gives None while it has no settings."""

    name: str
    capabilities: Capabilities
    build: Callable[[ProviderSettings, Installation], Provider | None]


def _clear(*secrets: _Secret | None) -> list[str]:
    """Those that are set, in clear."""
    return [secret.get_secret_value() for secret in secrets if secret is not None]


def _twilio(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.twilio):
        return None
    return Twilio(
        base_url=own.base_url,
        account_sid=own.account_sid,
        auth_token=own.auth_token.get_secret_value(),
        sender=own.sender,
        public_url=installation.public_url,
        webhook_keys=_clear(own.auth_token_previous, own.shared_key, own.shared_key_previous),
        client=installation.client("twilio"),
    )


def _termii(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.termii):
        return None
    return Termii(
        base_url=own.base_url,
        api_key=own.api_key.get_secret_value(),
        sender_id=own.sender_id,
        webhook_secrets=_clear(own.webhook_secret, own.webhook_secret_previous),
        route=own.route,
        client=installation.client("termii"),
    )


def _africastalking(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.africastalking):
        return None
    return AfricasTalking(
        base_url=own.base_url,
        username=own.username,
        api_key=own.api_key.get_secret_value(),
        sender_id=own.sender_id,
        callback_secrets=_clear(own.callback_secret, own.callback_secret_previous),
        client=installation.client("africastalking"),
    )


def _sendgrid(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.sendgrid):
        return None
    return SendGrid(
        base_url=own.base_url,
        api_key=own.api_key.get_secret_value(),
        from_email=own.from_email,
        webhook_public_keys=[key for key in (own.webhook_public_key, own.webhook_public_key_previous) if key],
        client=installation.client("sendgrid"),
    )


def _mailgun(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.mailgun):
        return None
    return Mailgun(
        base_url=own.base_url,
        api_key=own.api_key.get_secret_value(),
        domain=own.domain,
        from_email=own.from_email,
        signing_keys=_clear(own.signing_key, own.signing_key_previous),
        client=installation.client("mailgun"),
    )


def _resend(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.resend):
        return None
    return Resend(
        base_url=own.base_url,
        api_key=own.api_key.get_secret_value(),
        from_email=own.from_email,
        webhook_secrets=_clear(own.webhook_secret, own.webhook_secret_previous),
        client=installation.client("resend"),
    )


def _smtp(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.smtp):
        return None
    return Smtp(
        base_url=own.base_url,
        from_email=own.from_email,
        username=own.username,
        password=own.password.get_secret_value() if own.password else None,
        starttls=own.starttls,
        ca_file=own.ca_file,
    )


def _fcm(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.fcm):
        return None
    return Fcm(
        base_url=own.base_url,
        token_url=own.token_url,
        project_id=own.project_id,
        service_account_file=own.service_account_file,
        client=installation.client("fcm"),
    )


def _apns(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.apns):
        return None
    return Apns(
        base_url=own.base_url,
        key_file=own.key_file,
        key_id=own.key_id,
        team_id=own.team_id,
        topic=own.topic,
        ca_file=own.ca_file,
        connect_s=installation.catalog.provider("apns").connect_s,
    )


def _webpush(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.webpush):
        return None
    return WebPush(
        key_file=own.key_file,
        subject=own.subject,
        hosts=own.hosts,
        base_url=own.base_url,
        client=installation.client("webpush"),
    )


def _whatsapp_cloud(settings: ProviderSettings, installation: Installation) -> Provider | None:
    if not (own := settings.whatsapp_cloud):
        return None
    types = installation.catalog.types
    return WhatsAppCloud(
        base_url=own.base_url,
        version=own.version,
        phone_number_id=own.phone_number_id,
        access_token=own.access_token.get_secret_value(),
        app_secrets=_clear(own.app_secret, own.app_secret_previous),
        verify_token=own.verify_token.get_secret_value(),
        templates={name: type.whatsapp for name, type in types.items() if type.whatsapp},
        client=installation.client("whatsapp_cloud"),
    )


VENDORS: tuple[Vendor, ...] = (
    Vendor("twilio", Twilio.capabilities, _twilio),
    Vendor("termii", Termii.capabilities, _termii),
    Vendor("africastalking", AfricasTalking.capabilities, _africastalking),
    Vendor("sendgrid", SendGrid.capabilities, _sendgrid),
    Vendor("mailgun", Mailgun.capabilities, _mailgun),
    Vendor("resend", Resend.capabilities, _resend),
    Vendor("smtp", Smtp.capabilities, _smtp),
    Vendor("fcm", Fcm.capabilities, _fcm),
    Vendor("apns", Apns.capabilities, _apns),
    Vendor("webpush", WebPush.capabilities, _webpush),
    Vendor("whatsapp_cloud", WhatsAppCloud.capabilities, _whatsapp_cloud),
)

KNOWN: dict[str, Channel] = {vendor.name: vendor.capabilities.channel for vendor in VENDORS}
"""Every provider that could be configured, and its channel."""


def build(settings: ProviderSettings, catalog: Catalog, public_url: str) -> dict[str, Provider]:
    """The configured providers by name. One without settings is absent: it is off.

    Raises UnknownProvider, and SettingsError when a vendor's key file or key cannot be used. Every provider
    must be closed.
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
    """Raises UnknownProvider unless every route names providers of its own channel."""
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
        raise UnknownProvider(f"No such provider of that channel: {', '.join(wrong)}. There are {known}.")


def _check(catalog: Catalog) -> None:
    named = {f"providers.{name}": name for name in catalog.providers}
    for type_name, kind in catalog.types.items():
        for channel, route in kind.routes.items():
            named |= {f"types.{type_name}.routes.{channel}: {name}": name for name in route}
    wrong = sorted(place for place, name in named.items() if name not in KNOWN)
    if wrong:
        raise UnknownProvider(f"There is no such provider: {', '.join(wrong)}. There are {', '.join(KNOWN)}.")
