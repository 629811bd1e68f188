"""What is wrong with settings that could be read: empty, weak, in plain text, or without their files."""

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr

from configuration import plaintext
from configuration.environment import PREFIX, Variable, secret_variables, shown, values
from configuration.plaintext import PlaintextName
from configuration.secret_rules import unseen, url_weakness, weakness
from configuration.tls import system_authorities

_PATHS_CHECKED_BY_ADAPTERS: Final = f"{PREFIX}PROVIDERS__"
_SECRET_KEY: Final = f"{PREFIX}SECRET_KEY"
_SCHEME: Final = re.compile(r"\s*[a-z][a-z0-9+.-]*:/", re.IGNORECASE)
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


def problems(
    settings: BaseModel, known_secrets: Mapping[str, Variable], environment: Mapping[str, str]
) -> list[SettingProblem]:
    """Every problem of the settings, in their order. No text contains a value.

    `environment`: all variables of this process, some of which the drivers read themselves.
    """
    weak = _names(getattr(settings, "allow_weak_secrets", ()))
    return [
        *_unknown(weak, known_secrets),
        *_empty(settings),
        *_weak(settings, known_secrets, weak),
        *_addresses(settings),
        *_plain(settings, environment),
        *_files(settings),
    ]


def _names(given: Sequence[str]) -> list[str]:
    return [PREFIX + name.upper().removeprefix(PREFIX) for name in given]


def _unknown(names: Sequence[str], secrets: Mapping[str, Variable]) -> Iterator[SettingProblem]:
    """Names of no secret setting. They are not repeated: one may be a secret."""
    for number, name in enumerate(names, 1):
        if name not in secrets:
            close = get_close_matches(name, secrets, 1, 0.85)
            meant = f"; did you mean {close[0]}?" if close else ""
            text = f"name {number} is not the name of a secret setting{meant}"
            yield SettingProblem(f"{PREFIX}ALLOW_WEAK_SECRETS", text)


def _addresses(settings: BaseModel) -> Iterator[SettingProblem]:
    """URLs that are not secrets, and so are shown and logged: they hold no password."""
    for name, value in values(settings):
        if not isinstance(value, str) or not _SCHEME.match(value):
            continue
        try:
            has_user = "@" in urlsplit(value).netloc
        except ValueError:
            yield SettingProblem(name, "is not a URL that can be read")
            continue
        if has_user:
            yield SettingProblem(
                name, "has a user or a password in it. Remove them: this setting is no secret"
            )


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
        kind = secrets[variable]
        why = url_weakness(clear) if kind.is_url else weakness(clear, generated=kind.is_generated)
        if (hidden := unseen(clear)) and not kind.is_generated:
            # It would be sent, in a header or a URL.
            yield SettingProblem(name, hidden)
        elif why := hidden or why:
            allow = f"{PREFIX}ALLOW_WEAK_SECRETS={variable}"
            if variable == _SECRET_KEY:
                why += "; an installation that has used it must keep it, because ids are derived from it"
            yield SettingProblem(name, why, allow, refused=variable not in allowed)


def _plain(settings: BaseModel, environment: Mapping[str, str]) -> Iterator[SettingProblem]:
    allowed: Sequence[str] = getattr(settings, "allow_plaintext", ())
    for kind, name, why in _connections(settings, environment):
        if why:
            yield SettingProblem(name, why, f"{PREFIX}ALLOW_PLAINTEXT={kind}", refused=kind not in allowed)


def _connections(
    settings: Any, environment: Mapping[str, str]
) -> Iterator[tuple[PlaintextName, str, str | None]]:
    if getattr(settings, "database_url", None):
        why = plaintext.database(settings.database_dsn, environment)
        yield "database", f"{PREFIX}DATABASE_URL", why
        yield "valkey", f"{PREFIX}VALKEY_URL", plaintext.valkey(settings.valkey_dsn)
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
            file = shown(value) if name.endswith("KEY_FILE") else value
            yield SettingProblem(name, f"{file} cannot be read: {error.strerror}")
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
