"""A complete environment for every secret setting, by introspection of the settings."""

import json
from collections.abc import Mapping

from configuration.environment import PREFIX, Variable, variables
from settings import ClientSettings, Settings, load, load_client

ALL: dict[str, Variable] = {v.name: v for v in (*variables(Settings), *variables(ClientSettings))}
SECRETS = {name: variable for name, variable in ALL.items() if variable.is_secret}
MAPS = ("HERALD_FINGERPRINT_KEYS", "HERALD_UNSUBSCRIBE_KEYS")
URLS = {
    "HERALD_DATABASE_URL": "postgresql://herald:{}@127.0.0.1:5432/herald",
    "HERALD_VALKEY_URL": "redis://:{}@127.0.0.1:6379/0",
}


def strong(variable: str) -> str:
    """A secret that is strong enough for this setting, and found in no other text."""
    return f"canary-{sum(map(ord, variable)):x}-8c1f6be2d40a97e35b1270-{variable.lower()[-12:]}"


def value(variable: str) -> str:
    """A valid value of a secret setting, with its strong secret."""
    if variable in MAPS:
        return json.dumps({"a": strong(variable)})
    return URLS.get(variable, "{}").format(strong(variable))


def siblings(variable: str) -> dict[str, str]:
    """What must be set beside a secret setting: the rest of its provider's account."""
    found = {"HERALD_SECRET_KEY": strong("HERALD_SECRET_KEY")}
    group = variable.rpartition("__")[0]
    if group.startswith(f"{PREFIX}PROVIDERS__"):
        for other in ALL.values():
            if other.name.startswith(f"{group}__") and is_required(other.name):
                plain = "mailto:operations@herald.example"
                found[other.name] = strong(other.name) if other.is_secret else plain
    found.pop(variable, None)
    return found


def is_required(variable: str) -> bool:
    """Whether a provider's setting must be set for the provider to be on."""
    provider, _, field = variable.removeprefix(f"{PREFIX}PROVIDERS__").partition("__")
    model = Settings.model_fields["providers"].annotation.model_fields[provider.lower()].annotation
    fields = model.__args__[0].model_fields  # the model of `Model | None`
    return any((f.alias or name).upper() == field and f.is_required() for name, f in fields.items())


REQUIRED = {
    name
    for name in SECRETS
    if name == "HERALD_SECRET_KEY" or (name.startswith(f"{PREFIX}PROVIDERS__") and is_required(name))
}
"""Secrets without which the settings, or those of their provider, are incomplete."""


def read(variable: str, environment: Mapping[str, str], monkeypatch) -> Settings | ClientSettings:
    """Load the settings that this variable belongs to, from this environment alone."""
    for name, given in environment.items():
        monkeypatch.setenv(name, given)
    return load_client() if variable == "HERALD_API_KEY" else load()


def found(settings: Settings | ClientSettings, variable: str) -> str | None:
    """The clear value of a secret setting; of a map, its entry `a`. None if it is not set."""
    at: object = settings
    for part in variable.removeprefix(PREFIX).lower().split("__"):
        at = getattr(at, part, None)
    if isinstance(at, dict):
        at = at.get("a")
    return None if at is None else at.get_secret_value()  # pyright: ignore[reportAttributeAccessIssue] (a SecretStr)
