"""The settings, and the only reader of the environment. Other modules are passed the part that they need."""

import os
import re
import tomllib
from collections.abc import Mapping, Sequence
from difflib import get_close_matches
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
)
from pydantic_settings import (
    BaseSettings,
    EnvSettingsSource,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)
from pydantic_settings import SettingsError as UnreadableVariable

from domain.notification_types import Catalog
from domain.sms_policy import ALL as ALL_COUNTRIES
from providers.settings import ProviderSettings, RouteSettings, SettingsError


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


def _url(*schemes: str) -> AfterValidator:
    def check(value: SecretStr) -> SecretStr:
        scheme, separator, rest = value.get_secret_value().partition("://")
        if scheme not in schemes or not separator or not rest:
            raise ValueError(f"expected a URL that starts with {' or '.join(f'{s}://' for s in schemes)}")
        return value

    return AfterValidator(check)


PostgresUrl = Annotated[SecretStr, _url("postgresql", "postgres")]
ValkeyUrl = Annotated[SecretStr, _url("redis", "rediss", "valkey", "valkeys")]


class TemporalSettings(BaseModel):
    """Where Temporal is."""

    model_config = ConfigDict(extra="forbid")

    address: str = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = "http://127.0.0.1:8233"
    api_key: SecretStr | None = None
    tls: bool = False


class StoreSettings(BaseSettings):
    """The addresses of the stores: all that migrations, keys and replays need."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", env_nested_delimiter="__", extra="ignore")

    database_url: PostgresUrl = SecretStr("postgresql://herald@127.0.0.1:15432/herald")
    database_pool_max: Annotated[int, Field(ge=2, le=200)] = 10
    valkey_url: ValkeyUrl = SecretStr("redis://127.0.0.1:16379/0")
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)


class ClientSettings(BaseSettings):
    """The API that the `herald` command talks to, and the key that it uses."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", extra="ignore")

    api_url: str = "http://127.0.0.1:8000"
    api_key: SecretStr | None = None
    tenant: str | None = None
    """The tenant to act for with a key of the installation."""
    data_dir: Path = Path(".herald")
    """Where a development stack keeps its data. Its `dev.json` supplies whatever is not set."""


class IdentitySettings(BaseSettings):
    """What the ids of this installation are derived from."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", extra="ignore")

    secret_key: Annotated[SecretStr, Field(min_length=1)]
    """Every notification id is derived from it, so it must never change."""


class _Environment(EnvSettingsSource):
    """The environment, where `HERALD_ROUTES__SMS` is one order and `HERALD_ROUTES__SMS__NG` another.

    pydantic takes a variable either as a value or as the prefix of nested names, never as both.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        by_country = re.compile(r"^(herald_routes__sms)__(?=[^_]+$)", re.IGNORECASE)
        return {by_country.sub(r"\1_by__", name): value for name, value in super()._load_env_vars().items()}


class Settings(StoreSettings, IdentitySettings):
    """Everything that an installation can set, as `HERALD_…` variables."""

    model_config = SettingsConfigDict(env_prefix="HERALD_", env_nested_delimiter="__", extra="ignore")

    fingerprint_keys: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Keys of submission fingerprints, by key id; the first one signs. Default: `secret_key`."""

    unsubscribe_keys: dict[str, SecretStr] = Field(default_factory=dict[str, SecretStr])
    """Keys of unsubscribe links, like `fingerprint_keys`. Default: `secret_key`."""

    public_url: Annotated[str, Field(pattern=r"^https?://[!-;=?-~]+$")] = "http://127.0.0.1:8000"
    """Where providers and recipients reach this API: the base of callback URLs and links."""
    api_host: str = "127.0.0.1"
    api_port: Annotated[int, Field(ge=1, le=65535)] = 8000
    api_nice: Annotated[int, Field(ge=0, le=19)] = 0
    """nice(2) level of this API process. Raise it on one that only serves provider callbacks."""
    api_connections_max: Annotated[int, Field(ge=10, le=1_000_000)] = 10_000
    """The most client connections of one API process; more are answered 503."""
    api_connections_per_address_max: Annotated[int, Field(ge=0)] = 0
    """The most of them from one address; 0: no limit. A proxy in front of the API is one address."""
    trusted_proxies: Annotated[tuple[IPvAnyNetwork, ...], NoDecode, BeforeValidator(_listed)] = ()
    """The networks whose proxies name the client in `X-Forwarded-For`."""
    metrics_host: str = "127.0.0.1"
    metrics_port: Annotated[int, Field(ge=0, le=65535)] = 0
    """Where a worker serves its metrics; 0: it does not. The API serves its own at /metrics."""
    worker_nice: Annotated[int, Field(ge=0, le=19)] = 10
    """nice(2) level of a worker without the lane `critical`, so that an OTP goes first."""
    audit_reason_required: bool = False
    """Whether acts of operators need a reason, for the audit log."""
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["json", "console"] = "json"

    development: bool = False
    """No real message is sent: SMS may go to every country as long as `[sms] countries` does not say."""

    config: Path = Path(__file__).with_name("herald.toml")
    routes: RouteSettings = Field(default_factory=RouteSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, and nothing else."""
        return init_settings, _Environment(settings_cls)

    @cached_property
    def catalog(self) -> Catalog:
        """The configured notification types, from the file in `HERALD_CONFIG`."""
        catalog = self._read_catalog()
        if self.development and catalog.sms.countries is None:
            open_everywhere = catalog.sms.model_copy(update={"countries": ALL_COUNTRIES})
            return catalog.model_copy(update={"sms": open_everywhere})
        return catalog

    def _read_catalog(self) -> Catalog:
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
        """The keys of unsubscribe links in clear, the signing one first."""
        keys = tuple(key.get_secret_value() for key in self.unsubscribe_keys.values())
        return keys or (self.secret_key.get_secret_value(),)


def _variable(place: tuple[int | str, ...]) -> str:
    """The variable behind a setting. pydantic adds `[key]` where the name of an entry is wrong."""
    name = "__".join(str(part) for part in place if part != "[key]").upper()
    return f"HERALD_{name.replace('SMS_BY__', 'SMS__')}"


def _misspelt() -> list[str]:
    """An error for each variable that is almost a setting. Others are left alone: Kubernetes sets some."""
    fields = {**Settings.model_fields, **ClientSettings.model_fields}
    parts = (("temporal", TemporalSettings), ("routes", RouteSettings), ("providers", ProviderSettings))
    inner = [(part, key) for part, kind in parts for key in kind.model_fields]
    wrong: list[str] = []
    for variable in sorted(os.environ):
        other, _, name = variable.lower().partition("__")[0].partition("herald_")
        if other or not name or name in fields:
            continue
        joined = [f"{part}__{key}" for part, key in inner if f"{name}_".startswith(f"{part}_{key}_")]
        if meant := joined or get_close_matches(name, fields, 1, 0.85):  # a letter or two off
            wrong.append(f"{variable} is not a setting; did you mean HERALD_{meant[0].upper()}?")
    return wrong


_Read = TypeVar("_Read", bound=BaseSettings)


def load() -> Settings:
    """The settings from the environment. Raises SettingsError, whose message lists every problem."""
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
        # Only the field's name: the cause may repeat a secret.
        field = next(iter(re.findall(r'field "(\w+)"', str(error))), "…")
        wrong = [*wrong, f"HERALD_{field.upper()}: expected JSON"]
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False)
        wrong = [*wrong, *(f"{_variable(e['loc'])}: {e['msg']}" for e in found)]
    else:
        if not wrong:
            return read
    raise SettingsError("\n  ".join(("The settings cannot be used:", *wrong)))
