"""What is wrong with settings that could be read: empty, weak, in plain text, or without their files."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote, urlsplit

from pydantic import BaseModel, SecretStr

from configuration import plaintext
from configuration.environment import PREFIX, Variable, secret_variables, values
from configuration.plaintext import PlaintextName
from configuration.secret_rules import is_placeholder, weakness
from configuration.tls import system_authorities

_PATHS_CHECKED_BY_ADAPTERS: Final = f"{PREFIX}PROVIDERS__"
_SECRET_KEY: Final = f"{PREFIX}SECRET_KEY"
_NOT_READ: Final = frozenset({f"{PREFIX}DATA_DIR", f"{PREFIX}CONFIG"})


@dataclass(frozen=True, slots=True)
class SettingProblem:
    """A setting that must not be used, or that was allowed although it should not be (`refused` is false)."""

    variable: str
    text: str
    allow: str | None = None
    """What to set to use it nevertheless, as `VARIABLE=value`; None: it cannot be allowed."""
    refused: bool = True

    def __str__(self) -> str:
        allowed = f"; or set {self.allow} to use it nevertheless" if self.allow else ""
        return f"{self.variable}: {self.text}{allowed}"


def secrets_of(*models: type[BaseModel]) -> dict[str, Variable]:
    """Every secret setting of the models, by the name of its variable."""
    return {name: secret for model in models for name, secret in secret_variables(model).items()}


def problems(settings: BaseModel, known_secrets: Mapping[str, Variable]) -> list[SettingProblem]:
    """Every problem of the settings, in their order. No text contains a value."""
    weak = _names(getattr(settings, "allow_weak_secrets", ()))
    unknown = [name for name in weak if name not in known_secrets]
    return [
        *(
            SettingProblem(f"{PREFIX}ALLOW_WEAK_SECRETS", f"{name} is not the name of a secret setting")
            for name in unknown
        ),
        *_empty(settings),
        *_weak(settings, known_secrets, weak),
        *_plain(settings),
        *_files(settings),
    ]


def _names(given: Sequence[str]) -> list[str]:
    return [PREFIX + name.upper().removeprefix(PREFIX) for name in given]


def _empty(settings: BaseModel) -> Iterator[SettingProblem]:
    for name, value in values(settings):
        if isinstance(value, str | SecretStr) and not _clear(value).strip():
            yield SettingProblem(name, "is empty")


def _weak(
    settings: BaseModel, secrets: Mapping[str, Variable], allowed: Sequence[str]
) -> Iterator[SettingProblem]:
    for name, value in values(settings):
        variable = name.partition("[")[0]
        if not isinstance(value, SecretStr) or not (clear := value.get_secret_value()).strip():
            continue
        why = (
            _weak_password(clear)
            if "://" in clear
            else weakness(clear, generated=variable in secrets and secrets[variable].is_generated)
        )
        if why:
            allow = f"{PREFIX}ALLOW_WEAK_SECRETS={variable}"
            if variable == _SECRET_KEY:
                why += "; an installation that has used it must keep it, because ids are derived from it"
            yield SettingProblem(name, why, allow, refused=variable not in allowed)


def _weak_password(url: str) -> str | None:
    password = urlsplit(url).password
    if password is not None and is_placeholder(unquote(password)):
        return "its password is a placeholder, not a secret"
    return None


def _plain(settings: BaseModel) -> Iterator[SettingProblem]:
    allowed: Sequence[str] = getattr(settings, "allow_plaintext", ())
    for kind, name, why in _connections(settings):
        if why:
            yield SettingProblem(name, why, f"{PREFIX}ALLOW_PLAINTEXT={kind}", refused=kind not in allowed)


def _connections(settings: Any) -> Iterator[tuple[PlaintextName, str, str | None]]:
    if url := getattr(settings, "database_url", None):
        why = plaintext.database(url.get_secret_value(), settings.database_tls)
        yield "database", f"{PREFIX}DATABASE_URL", why
        yield "valkey", f"{PREFIX}VALKEY_URL", plaintext.valkey(settings.valkey_url.get_secret_value())
        temporal = settings.temporal
        why = plaintext.temporal(temporal.address, tls=temporal.tls_files is not None)
        yield "temporal", f"{PREFIX}TEMPORAL__ADDRESS", why
    for kind in ("public_url", "api_url"):
        if url := getattr(settings, kind, None):
            yield kind, PREFIX + kind.upper(), plaintext.web(url)
    if providers := getattr(settings, "providers", None):
        for name, value in values(providers, f"{PREFIX}PROVIDERS__"):
            if isinstance(value, str) and "://" in value:
                yield "providers", name, plaintext.web(value)
        if smtp := providers.smtp:
            why = plaintext.mail(smtp.base_url, starttls=smtp.starttls)
            yield "providers", f"{PREFIX}PROVIDERS__SMTP__BASE_URL", why


def _files(settings: Any) -> Iterator[SettingProblem]:
    for name, value in values(settings):
        if not isinstance(value, Path) or name in _NOT_READ or name.startswith(_PATHS_CHECKED_BY_ADAPTERS):
            continue
        try:
            with value.open("rb"):
                pass
        except OSError as error:
            yield SettingProblem(name, f"{value} cannot be read: {error.strerror}")
    if getattr(settings, "valkey_tls", None) and settings.valkey_tls.is_set:
        scheme = urlsplit(settings.valkey_url.get_secret_value()).scheme
        if scheme in ("redis", "valkey"):
            yield SettingProblem(
                f"{PREFIX}VALKEY_TLS__…", f"the files are not used with {scheme}://. Use rediss:// in the URL"
            )
    if getattr(settings, "database_url", None) and system_authorities() is None:
        query = urlsplit(settings.database_dsn).query
        if "sslmode=verify" in query and "sslrootcert" not in query:
            yield SettingProblem(
                f"{PREFIX}DATABASE_TLS__CA_FILE", "is needed: this system has no list of authorities"
            )


def _clear(value: str | SecretStr) -> str:
    return value.get_secret_value() if isinstance(value, SecretStr) else value
