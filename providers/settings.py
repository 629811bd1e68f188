"""The providers' settings: each vendor's account, and the order in which providers are tried.

Pure models. No vendor's library is imported here, so that reading settings stays cheap.
"""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr
from pydantic_settings import NoDecode

from configuration.environment import split_commas
from domain.countries import CountryKey
from domain.notification import Channel
from domain.web_push import PUSH_SERVICES, check_host


def _hosts(patterns: list[str]) -> list[str]:
    return [check_host(pattern) for pattern in patterns]


CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(split_commas)]


class SettingsError(Exception):
    """The settings cannot be used. The message names each variable and says what is wrong with it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class RouteSettings(_Part):
    """The providers of each channel, in fallback order."""

    sms: CommaSeparated = ["twilio", "termii"]
    sms_by: dict[CountryKey, CommaSeparated] = Field(default_factory=dict[str, list[str]])
    """The order for SMS to one country or number prefix, where it differs: `HERALD_ROUTES__SMS__NG`, or
    all of them as one JSON object. `domain.countries.key_for` picks the key that applies to a number."""
    email: CommaSeparated = ["sendgrid", "mailgun"]
    push: CommaSeparated = ["fcm", "apns"]
    whatsapp: CommaSeparated = ["whatsapp_cloud"]

    def of(self, channel: Channel) -> tuple[str, ...]:
        """The fallback order of a channel."""
        return tuple(getattr(self, channel.value))

    @property
    def sms_orders(self) -> dict[str, tuple[str, ...]]:
        """The fallback orders of SMS by country or number prefix."""
        return {key: tuple(names) for key, names in self.sms_by.items()}


class TwilioSettings(_Part):
    """A Twilio account.

    `from`: a number in E.164, an alphanumeric sender, or the SID of a messaging service (MG…).
    """

    base_url: str = "https://api.twilio.com"
    account_sid: str
    auth_token: SecretStr
    auth_token_previous: SecretStr | None = None
    """Like every `…_previous`: callbacks signed with it are accepted too, while the key is rotated."""
    shared_key: SecretStr | None = None
    """The secret of a webhook SharedKey: Twilio then signs with HMAC-SHA256."""
    shared_key_previous: SecretStr | None = None
    sender: str = Field(alias="from")


class TermiiSettings(_Part):
    """A Termii account. For some accounts the webhook secret is the API key."""

    base_url: str = "https://api.ng.termii.com"
    api_key: SecretStr
    sender_id: str
    webhook_secret: SecretStr
    webhook_secret_previous: SecretStr | None = None
    route: Literal["generic", "dnd"] = "generic"
    """`dnd` also reaches do-not-disturb numbers, and sends at night; Termii enables it per account."""


class AfricastalkingSettings(_Part):
    """An Africa's Talking account. We choose the callback secret: it is part of the callback address.

    Without `sender_id` the account's default sender is used.
    """

    base_url: str = "https://api.africastalking.com"
    username: str
    api_key: SecretStr
    sender_id: str | None = None
    callback_secret: Annotated[SecretStr, Field(min_length=16)]
    callback_secret_previous: Annotated[SecretStr, Field(min_length=16)] | None = None


class SendgridSettings(_Part):
    """A SendGrid account. The public key verifies its Event Webhook (base64 DER).

    `from_email` may include a name, here and for every other mail provider: `Name <address>`.
    """

    base_url: str = "https://api.sendgrid.com"
    api_key: SecretStr
    from_email: str
    webhook_public_key: str
    webhook_public_key_previous: str | None = None


class MailgunSettings(_Part):
    """A Mailgun domain. Domains in the EU have another `base_url`."""

    base_url: str = "https://api.mailgun.net"
    api_key: SecretStr
    domain: str
    from_email: str
    signing_key: SecretStr
    signing_key_previous: SecretStr | None = None


class ResendSettings(_Part):
    """A Resend account. The webhook secret is the signing secret of its webhook (`whsec_…`)."""

    base_url: str = "https://api.resend.com"
    api_key: SecretStr
    from_email: str
    webhook_secret: SecretStr
    webhook_secret_previous: SecretStr | None = None


class SmtpSettings(_Part):
    """A mail server: `smtps://host:465` for implicit TLS, `smtp://host:587` for STARTTLS.

    `starttls` off allows a plain connection. `ca_file`: the authorities to trust instead of the system's.
    """

    base_url: str
    from_email: str
    username: str | None = None
    password: SecretStr | None = None
    starttls: bool = True
    ca_file: Path | None = None


class WhatsAppCloudSettings(_Part):
    """A business number of the WhatsApp Cloud API, and the app that sends its webhooks."""

    base_url: str = "https://graph.facebook.com"
    version: str = "v23.0"
    phone_number_id: str
    access_token: SecretStr
    app_secret: SecretStr
    app_secret_previous: SecretStr | None = None
    verify_token: SecretStr


class FcmSettings(_Part):
    """A Firebase project, and the key file of a service account that may send."""

    base_url: str = "https://fcm.googleapis.com"
    token_url: str = "https://oauth2.googleapis.com/token"  # noqa: S105 (an address, not a secret)
    project_id: str
    service_account_file: Path


class ApnsSettings(_Part):
    """A topic of Apple's push service, and the file of its signing key (.p8)."""

    base_url: str = "https://api.push.apple.com"
    key_file: Path
    key_id: str
    team_id: str
    topic: str
    ca_file: Path | None = None


class WebpushSettings(_Part):
    """The key that browsers subscribe with, and the push services that subscriptions may point to.

    `base_url`: a gateway that requests go to instead, with the endpoint's host and path appended.
    """

    key_file: Path
    subject: Annotated[str, Field(pattern=r"^(mailto:[^@\s]+@[^@\s]+\.[^@\s]+|https://[^/\s]+\.[^\s]+)$")]
    """A contact address for the push services. Apple refuses `localhost`."""
    hosts: Annotated[CommaSeparated, AfterValidator(_hosts)] = [*PUSH_SERVICES]
    base_url: str | None = None


class ProviderSettings(_Part):
    """The vendors' accounts. A provider without settings is off."""

    twilio: TwilioSettings | None = None
    termii: TermiiSettings | None = None
    africastalking: AfricastalkingSettings | None = None
    sendgrid: SendgridSettings | None = None
    mailgun: MailgunSettings | None = None
    resend: ResendSettings | None = None
    smtp: SmtpSettings | None = None
    fcm: FcmSettings | None = None
    apns: ApnsSettings | None = None
    webpush: WebpushSettings | None = None
    whatsapp_cloud: WhatsAppCloudSettings | None = None


def in_bytes(*secrets: SecretStr | None) -> list[bytes]:
    """The secrets that are set, in clear: the keys that a callback may be signed with. A blank one is no key:
    anyone could sign with it.
    """
    clear = [secret.get_secret_value() for secret in secrets if secret is not None]
    return [secret.encode() for secret in clear if secret.strip()]
