"""Where the API and the stores are: what is set, else what a development stack beside us says of itself."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import typer

import settings
from console.failure import Failure
from settings import ClientSettings, Settings, StoreSettings, TemporalSettings


@dataclass(frozen=True, slots=True)
class ApiPlace:
    """The API's address and the key that it is called with."""

    url: str
    key: str


def all_settings() -> Settings:
    """The settings and their catalog. Raises Failure."""
    try:
        found = settings.load()
        _ = found.catalog
    except settings.SettingsError as error:
        raise Failure(str(error)) from error
    return found


def stores() -> StoreSettings:
    """Where the stores are, by the environment alone. Raises Failure."""
    try:
        return settings.load_stores()
    except settings.SettingsError as error:
        raise Failure(str(error)) from error


def database_url() -> str:
    """The database: the one that is set, else the development stack's, else the default."""
    found = stores()
    if "database_url" not in found.model_fields_set and (dev := _dev()):
        _say_dev()
        return dev["database_url"]
    return found.database_url.get_secret_value()


def temporal() -> TemporalSettings:
    """Temporal: the one that is set, else the development stack's, else the default."""
    found = stores()
    if "temporal" not in found.model_fields_set and (dev := _dev()):
        _say_dev()
        return TemporalSettings(address=dev["temporal_address"])
    return found.temporal


def api() -> ApiPlace:
    """Where the API is, and a key for it. Raises Failure when there is none."""
    client = _client()
    if client.api_key is not None:
        return ApiPlace(client.api_url, client.api_key.get_secret_value())
    dev = _dev()
    if dev is None or client.api_url not in (ClientSettings.model_fields["api_url"].default, dev["api_url"]):
        raise Failure(
            f"No API key. Set HERALD_API_KEY (made by `herald keys create`) for {client.api_url}, "
            f"or run `herald dev`, whose key is found in {_dev_file()}."
        )
    _say_dev()
    return ApiPlace(dev["api_url"], dev["api_key"])


def data_dir() -> Path:
    """Where the development stack of this directory keeps its data. Raises Failure."""
    return _client().data_dir


def secret_key() -> str:
    """HERALD_SECRET_KEY, else the development stack's. Raises Failure."""
    try:
        return settings.load_secret_key()
    except settings.SettingsError:
        path = _client().data_dir / "secrets.json"
    try:
        secret: str = json.loads(path.read_text(encoding="utf-8"))["secret_key"]
    except (OSError, ValueError, KeyError):
        raise Failure(
            "HERALD_SECRET_KEY is not set: ids are derived from it. Set it to the installation's own."
        ) from None
    typer.echo(f"using the development stack's secret key ({path})", err=True)
    return secret


def _client() -> ClientSettings:
    try:
        return settings.load_client()
    except settings.SettingsError as error:
        raise Failure(str(error)) from error


def _dev_file() -> Path:
    return _client().data_dir / "dev.json"


def _dev() -> dict[str, Any] | None:
    try:
        return json.loads(_dev_file().read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _say_dev() -> None:
    typer.echo(f"using the development stack of {_dev_file()}", err=True)
