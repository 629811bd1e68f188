"""The settings, and the only reader of the environment. Whatever is below the roots is passed its own."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

from domain.countries import CountryKey
from domain.notification import Channel
from domain.notification_types import Catalog
from domain.web_push import PUSH_SERVICES, check_host


def _split(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _hosts(patterns: list[str]) -> list[str]:
    return [check_host(pattern) for pattern in patterns]


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme not in schemes or not separator or not rest:
            raise ValueError(
                f"expected an address that begins with {' or '.join(f'{s}://' for s in schemes)}"
            )
        return value

    return AfterValidator(check)


PostgresUrl = Annotated[SecretStr, _url("postgresql", "postgres")]
ValkeyUrl = Annotated[SecretStr, _url("redis", "rediss", "valkey", "valkeys")]
CommaSeparated = Annotated[list[str], NoDecode, BeforeValidator(_split)]


class SettingsError(Exception):
    """The settings cannot be used. The message names each variable and what is wrong with it."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", populate_by_name=True)


class TemporalSettings(_Part):
    """Where Temporal is."""

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = "http://127.0.0.1:8233"
    api_key: SecretStr | None = None
    tls: bool = False


class RouteSettings(_Part):
    """The providers of each channel, in fallback order."""

    sms: CommaSeparated = ["twilio", "termii"]
    sms_by: dict[CountryKey, CommaSeparated] = Field(default_factory=dict[str, list[str]])
    """Other orders for the SMS to a country, or to numbers that begin so: `HERALD_ROUTES__SMS__NG`, or
    all of them as one JSON object (domain.countries.key_for says which of several holds)."""
    email: CommaSeparated = ["sendgrid", "mailgun"]
    push: CommaSeparated = ["fcm", "apns"]
    whatsapp: CommaSeparated = ["whatsapp_cloud"]

    def of(self, channel: Channel) -> tuple[str, ...]:
        """The fallback order of a channel."""
        return tuple(getattr(self, channel.value))

    @property
    def sms_orders(self) -> dict[str, tuple[str, ...]]:
        """The fallback orders of SMS by country or first digits."""
        return {key: tuple(names) for key, names in self.sms_by.items()}


class TwilioSettings(_Part):
    """An account of Twilio. `from` is a number in E.164, or an alphanumeric sender."""

    base_url: str = "https://api.twilio.com"
    account_sid: str
    auth_token: SecretStr
    auth_token_previous: SecretStr | None = None
    """As every `…_previous`: callbacks signed with it are still believed, while the key is rotated."""
    shared_key: SecretStr | None = None
    """The secret of a webhook SharedKey: Twilio signs with HMAC-SHA256 then."""
    shared_key_previous: SecretStr | None = None
    sender: str = Field(alias="from")


class TermiiSettings(_Part):
    """An account of Termii."""

    base_url: str = "https://api.ng.termii.com"
    api_key: SecretStr
    sender_id: str
    webhook_secret: SecretStr
    webhook_secret_previous: SecretStr | None = None
    route: Literal["generic", "dnd"] = "generic"
    """`dnd` also reaches numbers with do-not-disturb, and by night; Termii enables it per account."""


class AfricastalkingSettings(_Part):
    """An account of Africa's Talking. The callback secret is ours: it stands in the reports' address."""

    base_url: str = "https://api.africastalking.com"
    username: str
    api_key: SecretStr
    sender_id: str | None = None
    callback_secret: Annotated[SecretStr, Field(min_length=16)]
    callback_secret_previous: Annotated[SecretStr, Field(min_length=16)] | None = None


class SendgridSettings(_Part):
    """An account of SendGrid. The public key is the one that its Event Webhook signs with."""

    base_url: str = "https://api.sendgrid.com"
    api_key: SecretStr
    from_email: str
    webhook_public_key: str
    webhook_public_key_previous: str | None = None


class MailgunSettings(_Part):
    """A domain of Mailgun. `base_url` differs for domains in the EU."""

    base_url: str = "https://api.mailgun.net"
    api_key: SecretStr
    domain: str
    from_email: str
    signing_key: SecretStr
    signing_key_previous: SecretStr | None = None


class ResendSettings(_Part):
    """An account of Resend. The webhook secret is the signing secret of its webhook (`whsec_…`)."""

    base_url: str = "https://api.resend.com"
    api_key: SecretStr
    from_email: str
    webhook_secret: SecretStr
    webhook_secret_previous: SecretStr | None = None


class SmtpSettings(_Part):
    """A mail server. `smtps://` is TLS at once; with `smtp://` it is demanded unless `starttls` is off."""

    base_url: str
    from_email: str
    username: str | None = None
    password: SecretStr | None = None
    starttls: bool = True
    ca_file: Path | None = None


class WhatsAppCloudSettings(_Part):
    """A business number of the WhatsApp Cloud API, and the app that its webhooks come from."""

    base_url: str = "https://graph.facebook.com"
    version: str = "v23.0"
    phone_number_id: str
    access_token: SecretStr
    app_secret: SecretStr
    app_secret_previous: SecretStr | None = None
    """Still believed while the secret is rotated."""
    verify_token: SecretStr


class FcmSettings(_Part):
    """A project of Firebase, and the file of a service account that may send."""

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
    """The key that browsers subscribe with, and the push services that subscriptions may be at.

    `base_url`: where requests go instead of to the endpoints themselves, followed by host and path.
    """

    key_file: Path
    subject: Annotated[str, Field(pattern=r"^(mailto:[^@\s]+@[^@\s]+\.[^@\s]+|https://[^/\s]+\.[^\s]+)$")]
    """How a push service reaches whoever runs this. Apple refuses `localhost`."""
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


class StoreSettings(BaseSettings):
    """Where the stores are: all that migrations, keys and replays need."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", env_nested_delimiter="__", extra="ignore")

    database_url: PostgresUrl = SecretStr("postgresql://herald@127.0.0.1:15432/herald")
    database_pool_max: Annotated[int, Field(ge=2, le=200)] = 10
    valkey_url: ValkeyUrl = SecretStr("redis://127.0.0.1:16379/0")
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)


class ClientSettings(BaseSettings):
    """Where the `herald` command finds the API that it talks to, and as whom."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", extra="ignore")

    api_url: str = "http://127.0.0.1:8000"
    api_key: SecretStr | None = None
    data_dir: Path = Path(".herald")
    """Where a development stack keeps its data: what is not set is read from its `dev.json`."""


class IdentitySettings(BaseSettings):
    """What makes this installation's ids its own."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", extra="ignore")

    secret_key: Annotated[SecretStr, Field(min_length=1)]
    """Names every notification: ids are derived from it, so it must never change."""


class _Environment(EnvSettingsSource):
    """The environment, where `HERALD_ROUTES__SMS` is an order and `HERALD_ROUTES__SMS__NG` another.

    To pydantic a variable is either a value or the beginning of longer names.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        by_country = re.compile(r"^(herald_routes__sms)__(?=[^_]+$)", re.IGNORECASE)
        return {by_country.sub(r"\1_by__", name): value for name, value in super()._load_env_vars().items()}


class Settings(StoreSettings, IdentitySettings):
    """Everything that an installation may set, as `HERALD_…` variables."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", env_nested_delimiter="__", extra="ignore")

    fingerprint_keys: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Keys of the submissions' fingerprints by key id; the first one signs. Default: `secret_key`."""

    unsubscribe_keys: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Keys of the links by which recipients unsubscribe; as `fingerprint_keys`. Default: `secret_key`."""

    public_url: Annotated[str, Field(pattern=r"^https?://[!-;=?-~]+$")] = "http://127.0.0.1:8000"
    """Where providers and recipients reach this API: callbacks and links are built on it."""
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    api_nice: Annotated[int, Field(ge=0, le=19)] = 0
    """How far this API process stands back where processors are short (nice(2)): one that takes callbacks."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where a worker serves its metrics; 0: nowhere. The API serves its own at /metrics."""
    worker_nice: Annotated[int, Field(ge=0, le=19)] = 10
    """How far a worker without lane `critical` stands back where processors are short (nice(2))."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["json", "console"] = "json"

    config: Path = Path(__file__).with_name("herald.toml")
    routes: RouteSettings = Field(default_factory=RouteSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """What the caller says, then the environment, and nothing else."""
        return init_settings, _Environment(settings_cls)

    @cached_property
    def catalog(self) -> Catalog:
        """The configured notification types, from the file that `HERALD_CONFIG` names."""
        try:
            with self.config.open("rb") as file:
                return Catalog.model_validate(tomllib.load(file))
        except OSError as error:
            raise SettingsError(f"HERALD_CONFIG: {self.config} cannot be read: {error.strerror}") from error
        except tomllib.TOMLDecodeError as error:
            raise SettingsError(f"HERALD_CONFIG: {self.config} is not TOML: {error}") from error
        except ValidationError as error:
            lines = [f"  {'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_url=False)]
            raise SettingsError(f"HERALD_CONFIG: {self.config} is not valid:\n" + "\n".join(lines)) from error

    @property
    def fingerprint_secrets(self) -> dict[str, str]:
        """The fingerprint keys in clear, the signing one first."""
        keys = {key_id: key.get_secret_value() for key_id, key in self.fingerprint_keys.items()}
        return keys or {"default": self.secret_key.get_secret_value()}

    @property
    def unsubscribe_secrets(self) -> tuple[str, ...]:
        """The keys of unsubscribing links in clear, the signing one first."""
        keys = tuple(key.get_secret_value() for key in self.unsubscribe_keys.values())
        return keys or (self.secret_key.get_secret_value(),)


def _variable(place: tuple[int | str, ...]) -> str:
    """The variable that a setting came from. pydantic marks the name of an entry itself with `[key]`."""
    name = "__".join(str(part) for part in place if part != "[key]").upper()
    return f"HERALD_{name.replace('SMS_BY__', 'SMS__')}"


def _misspelt() -> list[str]:
    """What is wrong with variables that are nearly settings. Kubernetes names others after its services."""
    fields = {**Settings.model_fields, **ClientSettings.model_fields}
    parts = (("temporal", TemporalSettings), ("routes", RouteSettings), ("providers", ProviderSettings))
    inner = [(part, key) for part, kind in parts for key in kind.model_fields]
    wrong: list[str] = []
    for variable in sorted(os.environ):
        other, _, name = variable.lower().partition("__")[0].partition("herald_")
        if other or not name or name in fields:
            continue
        joined = [f"{part}__{key}" for part, key in inner if f"{name}_".startswith(f"{part}_{key}_")]
        if meant := joined or get_close_matches(name, fields, 1, 0.85):  # alike but for a letter or two
            wrong.append(f"{variable}: is no setting; did you mean HERALD_{meant[0].upper()}?")
    return wrong


_Read = TypeVar("_Read", bound=BaseSettings)


def load() -> Settings:
    """The settings from the environment. Raises SettingsError with one readable message."""
    return _read(Settings, _misspelt())


def load_stores() -> StoreSettings:
    """Where the stores are, from the environment. Raises SettingsError."""
    return _read(StoreSettings, _misspelt())


def load_client() -> ClientSettings:
    """How the API is reached, from the environment. Raises SettingsError."""
    return _read(ClientSettings, _misspelt())


def load_secret_key() -> str:
    """The secret key alone, from the environment. Raises SettingsError."""
    return _read(IdentitySettings).secret_key.get_secret_value()


def _read(kind: type[_Read], wrong: Sequence[str] = ()) -> _Read:
    try:
        read = kind()
    except UnreadableVariable as error:
        # Only the field's name is told: the cause may repeat a secret.
        field = next(iter(re.findall(r'field "(\w+)"', str(error))), "…")
        wrong = [*wrong, f"HERALD_{field.upper()}: expected JSON"]
    except ValidationError as error:
        told = error.errors(include_url=False, include_input=False)
        wrong = [*wrong, *(f"{_variable(e['loc'])}: {e['msg']}" for e in told)]
    else:
        if not wrong:
            return read
    raise SettingsError("\n  ".join(("The settings cannot be used:", *wrong)))
