"""TLS to the stores: the files that it needs, and URLs that carry them to the drivers."""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit, urlunsplit

from pydantic import BaseModel, ConfigDict, model_validator

VERIFIED: Final = frozenset({"verify-ca", "verify-full"})
"""The values of `sslmode` with which Postgres must prove who it is."""


@dataclass(frozen=True, slots=True)
class TlsFiles:
    """The files of a TLS connection. Without `ca_file` the system's authorities are trusted.

    `server_name`: the name in the server's certificate, if it is not the one in the address.
    """

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    server_name: str | None = None


class TlsSettings(BaseModel):
    """The files of a store's TLS connection: its authority, and our certificate with its key."""

    model_config = ConfigDict(extra="forbid")

    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None

    @model_validator(mode="after")
    def _check_pair(self) -> "TlsSettings":
        if (self.cert_file is None) != (self.key_file is None):
            raise ValueError("a client certificate needs both CERT_FILE and KEY_FILE")
        return self

    @property
    def is_set(self) -> bool:
        """Whether any file is set."""
        return any((self.ca_file, self.cert_file))


def system_authorities() -> str | None:
    """The file of the authorities that the system trusts; None if it has none."""
    return ssl.get_default_verify_paths().cafile


def database_dsn(url: str, tls: TlsSettings) -> str:
    """The URL for asyncpg, with the TLS files as its parameters. `sslmode` becomes `verify-full` if files
    are set and the URL has none.
    """
    query = _query(url)
    if tls.is_set:
        query.setdefault("sslmode", "verify-full")
    if tls.ca_file:
        query["sslrootcert"] = str(tls.ca_file)
    if tls.cert_file and tls.key_file:
        query |= {"sslcert": str(tls.cert_file), "sslkey": str(tls.key_file)}
    if query.get("sslmode") in VERIFIED and query.get("sslrootcert", "system") == "system":
        # asyncpg would look into the user's home directory only.
        query |= {"sslrootcert": trusted} if (trusted := system_authorities()) else {}
    return _with_query(url, query)


def valkey_dsn(url: str, tls: TlsSettings) -> str:
    """The URL for redis-py, with the TLS files as its parameters."""
    query = _query(url)
    if tls.ca_file:
        query["ssl_ca_certs"] = str(tls.ca_file)
    if tls.cert_file and tls.key_file:
        query |= {"ssl_certfile": str(tls.cert_file), "ssl_keyfile": str(tls.key_file)}
    return _with_query(url, query)


def _query(url: str) -> dict[str, str]:
    # Both drivers ignore blank values.
    return dict(parse_qsl(urlsplit(url).query))


def _with_query(url: str, query: dict[str, str]) -> str:
    if query == _query(url):
        return url
    return urlunsplit(urlsplit(url)._replace(query=urlencode(query, quote_via=quote)))
