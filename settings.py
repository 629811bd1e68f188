"""The settings, and the only reader of the environment. Other modules are passed the part that they need."""

import os
import re
import tomllib
from collections.abc import Sequence
from functools import cached_property
from pathlib import Path
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    IPvAnyNetwork,
    SecretStr,
    ValidationError,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, PydanticBaseSettingsSource, SettingsConfigDict
from pydantic_settings import SettingsError as UnreadableVariable

from configuration import checks, environment, plaintext, tls
from configuration.plaintext import PlaintextName
from configuration.secret_rules import VENDOR_LENGTH_MIN, Generated, Url
from configuration.spelling import misspelt
from configuration.tls import TlsFiles, TlsSettings
from configuration.urls import url
from domain.notification_types import Catalog
from domain.sms_policy import ALL as ALL_COUNTRIES
from providers.settings import ProviderSettings, RouteSettings, SettingsError


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _listed(value: Any) -> Any:
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


PostgresUrl = Annotated[SecretStr, Url(), url("postgresql", "postgres")]
ValkeyUrl = Annotated[SecretStr, Url(), url("redis", "rediss", "valkey", "valkeys")]
GeneratedSecret = Annotated[SecretStr, Generated()]
_List = BeforeValidator(environment.split_commas)
AllowPlaintext = Annotated[list[PlaintextName], NoDecode, _List]
AllowWeak = Annotated[list[str], NoDecode, _List]


class TemporalSettings(BaseModel):
    """Where Temporal is."""

    model_config = ConfigDict(extra="forbid")

    address: Annotated[str, AfterValidator(plaintext.host_and_port)] = "127.0.0.1:7233"
    namespace: str = "default"
    ui_url: str = "http://127.0.0.1:8233"
    api_key: SecretStr | None = None
    tls: bool = False
    """Whether to connect with TLS. On if one of the files below is set."""
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None
    """The name in the server's certificate, if it is not the one in the address."""

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs both CERT_FILE and KEY_FILE")
        return self

    @property
    def tls_files(self) -> TlsFiles | None:
        """The files of the TLS connection; None without TLS."""
        files = TlsFiles(self.ca_file, self.cert_file, self.key_file, self.server_name)
        return files if self.tls or files != TlsFiles() else None

    @property
    def api_key_in_clear(self) -> str | None:
        """The API key, for the client."""
        return self.api_key.get_secret_value() if self.api_key else None


class _FromEnvironment(BaseSettings):
    """Settings that are read from `HERALD_…` variables and from nothing else."""

    model_config = SettingsConfigDict(
        env_prefix=environment.PREFIX, env_nested_delimiter="__", extra="ignore", hide_input_in_errors=True
    )

    @classmethod
    def settings_customise_sources(
        cls, settings_cls: type[BaseSettings], init_settings: PydanticBaseSettingsSource, *_: Any, **__: Any
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments first, then the environment, and nothing else."""
        return init_settings, environment.Environment(settings_cls)


class StoreSettings(_FromEnvironment):
    """The addresses of the stores, and what else migrations, keys and replays need."""

    database_url: PostgresUrl = SecretStr("postgresql://herald@127.0.0.1:15432/herald")
    database_pool_max: Annotated[int, Field(ge=2, le=200)] = 10
    database_tls: TlsSettings = Field(default_factory=TlsSettings)
    valkey_url: ValkeyUrl = SecretStr("redis://127.0.0.1:16379/0")
    valkey_tls: TlsSettings = Field(default_factory=TlsSettings)
    temporal: TemporalSettings = Field(default_factory=TemporalSettings)
    allow_plaintext: AllowPlaintext = []
    """What may cross a network without TLS."""
    allow_weak_secrets: AllowWeak = []
    """Secrets that may stay although they are weak, by the names of their variables."""
    audit_reason_required: bool = False
    """Whether acts of operators need a reason, for the audit log."""

    @property
    def database_dsn(self) -> str:
        """The database's URL with its TLS files, as asyncpg takes it. It may contain a password."""
        return tls.database_dsn(self.database_url.get_secret_value(), self.database_tls)

    @property
    def valkey_dsn(self) -> str:
        """Valkey's URL with its TLS files, as redis-py takes it. It may contain a password."""
        return tls.valkey_dsn(self.valkey_url.get_secret_value(), self.valkey_tls)


class ClientSettings(_FromEnvironment):
    """The API that the `herald` command talks to, and the key that it uses."""

    api_url: str = "http://127.0.0.1:8000"
    api_key: SecretStr | None = None
    tenant: str | None = None
    """The tenant to act for with a key of the installation."""
    data_dir: Path = Path(".herald")
    """Where a development stack keeps its data. Its `dev.json` supplies whatever is not set."""
    allow_plaintext: AllowPlaintext = []
    allow_weak_secrets: AllowWeak = []


class IdentitySettings(_FromEnvironment):
    """What the ids of this installation are derived from."""

    secret_key: GeneratedSecret
    """Every notification id is derived from it, so it must never change."""
    allow_weak_secrets: AllowWeak = []


class Settings(StoreSettings, IdentitySettings):
    """Everything that an installation can set, as `HERALD_…` variables."""

    fingerprint_keys: dict[str, GeneratedSecret] = Field(default_factory=dict[str, SecretStr])
    """Keys of submission fingerprints, by key id; the first one signs. Default: `secret_key`."""

    unsubscribe_keys: dict[str, GeneratedSecret] = Field(default_factory=dict[str, SecretStr])
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
    log_level: Annotated[Literal["DEBUG", "INFO", "WARNING", "ERROR"], BeforeValidator(_upper)] = "INFO"
    log_format: Literal["json", "console"] = "json"

    development: bool = False
    """No real message is sent: SMS may go to every country as long as `[sms] countries` does not say."""

    config: Path = Path(__file__).with_name("herald.toml")
    routes: RouteSettings = Field(default_factory=RouteSettings)
    providers: ProviderSettings = Field(default_factory=ProviderSettings)

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
            lines = [
                f"  {'.'.join(map(str, found['loc']))}: {_reason(found['msg'])}"
                for found in error.errors(include_url=False)
            ]
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


_NAMES = frozenset(part for model in (Settings, ClientSettings) for part in environment.names(model))


def _variable(place: tuple[int | str, ...]) -> str:
    """The variable behind a setting. pydantic adds `[key]` where the name of an entry is wrong.

    A name that is neither a setting's nor a variable's is not repeated, unless it is shorter than any secret:
    it is from JSON, where a secret may be in its place.
    """
    given = {name.upper().replace("SMS__", "SMS_BY__") for name in os.environ}
    shown = "HERALD"
    for number, part in enumerate(part for part in place if part != "[key]"):
        name = shown + ("__" if number else "_") + str(part).upper()
        is_given = name in given or any(variable.startswith(f"{name}__") for variable in given)
        is_known = part in _NAMES or is_given or len(str(part)) < VENDOR_LENGTH_MIN
        shown = name if is_known else shown + "__…"
    return shown.replace("SMS_BY__", "SMS__")


def _misspelt() -> list[str]:
    return misspelt(os.environ, (Settings, ClientSettings))


_Read = TypeVar("_Read", bound=_FromEnvironment)


def load() -> Settings:
    """The settings from the environment. Raises SettingsError, whose message lists every problem."""
    return _checked(_read(Settings, _misspelt()))


def load_unchecked() -> Settings:
    """The settings, although secrets may be weak and connections plain: for `herald doctor`, which reports
    them. Raises SettingsError if they cannot be read.
    """
    return _read(Settings, _misspelt())


def load_unchecked_stores() -> StoreSettings:
    """Where the stores are, like `load_unchecked`. Raises SettingsError."""
    return _read(StoreSettings)


def secret_files() -> dict[str, Path]:
    """The files that hold secrets or private keys, by the variable that names each."""
    private = {variable.name for variable in environment.variables(Settings) if variable.is_private_file}
    known = private | {f"{name}_FILE" for name in checks.secrets_of(Settings, ClientSettings)}
    given = {name.upper(): value for name, value in os.environ.items() if not environment.is_blank(value)}
    return {name: Path(given[name]) for name in sorted(known & given.keys())}


def problems(read: BaseSettings) -> list[checks.SettingProblem]:
    """What is wrong with settings that could be read, and what is only allowed."""
    return checks.problems(read, checks.secrets_of(Settings, ClientSettings), os.environ)


def load_stores() -> StoreSettings:
    """Where the stores are, from the environment. Raises SettingsError."""
    return _checked(_read(StoreSettings, _misspelt()))


def load_client() -> ClientSettings:
    """How the API is reached, from the environment. Raises SettingsError."""
    return _checked(_read(ClientSettings, _misspelt()))


def load_secret_key() -> str | None:
    """The secret key alone, from the environment; None if it is not set. Raises SettingsError."""
    named = {"HERALD_SECRET_KEY", "HERALD_SECRET_KEY_FILE"}
    given = {name.upper() for name, value in os.environ.items() if not environment.is_blank(value)}
    if not named & given:
        return None
    return _checked(_read(IdentitySettings)).secret_key.get_secret_value()


def _checked(read: _Read) -> _Read:
    if refused := [str(problem) for problem in problems(read) if problem.refused]:
        raise _unusable(refused)
    return read


def _read(kind: type[_Read], wrong: Sequence[str] = ()) -> _Read:
    try:
        read = kind()
    except UnreadableVariable as error:
        # Only the field's name: the cause may repeat a secret.
        field = next(iter(re.findall(r'field "(\w+)"', str(error))), "…")
        wrong = [*wrong, f"HERALD_{field.upper()}: expected JSON"]
    except environment.UnusableVariables as error:
        wrong = [*wrong, *error.problems]
    except ValidationError as error:
        for found in error.errors(include_url=False, include_input=False):
            variable = _variable(found["loc"])
            text = _missing(variable) if found["type"] == "missing" else _reason(found["msg"])
            wrong = [*wrong, f"{variable}: {text}"]
    else:
        if not wrong:
            return read
    raise _unusable(wrong)


def _reason(message: str) -> str:
    """What is wrong, without the words that pydantic puts before it."""
    return message.removeprefix("Value error, ")


def _missing(variable: str) -> str:
    is_empty = variable in {name.upper() for name in os.environ}
    return "is empty; it needs a value" if is_empty else "is not set; it needs a value"


def _unusable(problems: Sequence[str]) -> SettingsError:
    return SettingsError("\n  ".join(("The settings cannot be used:", *problems)))
