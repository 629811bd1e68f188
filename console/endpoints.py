"""Addresses and credentials of the API and the stores, from the environment or a running `herald dev`."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import typer

import settings
from console.errors import CommandError
from settings import ClientSettings, Settings, StoreSettings, TemporalSettings


@dataclass(frozen=True, slots=True)
class ApiEndpoint:
    """The API's address, the key to call it with, and the tenant that a key of the installation names."""

    url: str
    key: str = field(repr=False)
    tenant: str | None = None


def all_settings() -> Settings:
    """Load the settings and check their catalog. Raises CommandError."""
    try:
        loaded = settings.load()
        _ = loaded.catalog
    except settings.SettingsError as error:
        raise CommandError(str(error)) from error
    return loaded


def stores() -> StoreSettings:
    """Load the stores' addresses from the environment alone. Raises CommandError."""
    try:
        return settings.load_stores()
    except settings.SettingsError as error:
        raise CommandError(str(error)) from error


def database_url() -> str:
    """The database's URL: HERALD_DATABASE_URL, else the development stack's, else the default."""
    configured = stores()
    if "database_url" not in configured.model_fields_set and (dev := _dev_stack()):
        _announce_dev_stack()
        return dev["database_url"]
    return configured.database_dsn


def temporal() -> TemporalSettings:
    """Temporal's settings: HERALD_TEMPORAL__…, else the development stack's, else the default."""
    configured = stores()
    if "temporal" not in configured.model_fields_set and (dev := _dev_stack()):
        _announce_dev_stack()
        return TemporalSettings(address=dev["temporal_address"])
    return configured.temporal


def api(*, installation: bool = False) -> ApiEndpoint:
    """The API's address and a key for it. Raises CommandError if there is no key.

    `installation`: the command concerns every tenant. The development stack has another key for it.
    """
    client = _client()
    if client.api_key is not None:
        return ApiEndpoint(client.api_url, client.api_key.get_secret_value(), client.tenant)
    dev = _dev_stack()
    # A key of the development stack never goes to another API.
    if dev is None or client.api_url not in (ClientSettings.model_fields["api_url"].default, dev["api_url"]):
        raise CommandError(
            f"No API key for {client.api_url}. Set HERALD_API_KEY (`herald keys create` makes a key), or "
            f"start `herald dev`, which writes its key to {_dev_file()}."
        )
    _announce_dev_stack()
    return ApiEndpoint(dev["api_url"], dev["operator_key" if installation else "api_key"])


def database_unusable(url: str, error: Exception) -> str:
    """The message for a database that cannot be used: where it is, the cause, and what to do. No password."""
    address = urlsplit(url)
    host = address.netloc.rpartition("@")[2]
    where = f" at {host}{address.path}" if host else ""
    return (
        f"The database{where} cannot be used ({type(error).__name__}: {error}). "
        "Start it, or correct HERALD_DATABASE_URL."
    )


def data_dir() -> Path:
    """The directory of the development stack's data. Raises CommandError."""
    return _client().data_dir


def secret_key() -> str:
    """The secret key: HERALD_SECRET_KEY, else the development stack's. Raises CommandError."""
    try:
        if configured := settings.load_secret_key():
            return configured
    except settings.SettingsError as error:
        raise CommandError(str(error)) from error
    path = _client().data_dir / "secrets.json"
    try:
        secret: str = json.loads(path.read_text(encoding="utf-8"))["secret_key"]
    except (OSError, ValueError, KeyError):
        raise CommandError(
            "HERALD_SECRET_KEY is not set, and ids are derived from it. Set it to this installation's key."
        ) from None
    typer.echo(f"using the development stack's secret key ({path})", err=True)
    return secret


def _client() -> ClientSettings:
    try:
        return settings.load_client()
    except settings.SettingsError as error:
        raise CommandError(str(error)) from error


def _dev_file() -> Path:
    return _client().data_dir / "dev.json"


def _dev_stack() -> dict[str, Any] | None:
    try:
        return json.loads(_dev_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _announce_dev_stack() -> None:
    typer.echo(f"using the development stack described in {_dev_file()}", err=True)
