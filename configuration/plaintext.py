"""What would cross a network without TLS. Pure: each function returns the problem in words, or None."""

import re
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

PlaintextName = Literal["database", "valkey", "temporal", "providers", "public_url", "api_url"]
"""What HERALD_ALLOW_PLAINTEXT may name."""

_POSTGRES_TLS: Final = frozenset({"require", "verify-ca", "verify-full"})
_ADDRESS: Final = re.compile(r"(?:\[([0-9a-f:.]+(?:%[\w.-]+)?)\]|(\w[\w.-]*)):([0-9]{1,5})", re.I | re.A)


def is_loopback(host: str | None) -> bool:
    """Whether this host is this machine: a loopback address, or `localhost`."""
    name = (host or "").strip("[]")
    if name.lower() == "localhost":
        return True
    try:
        address = ip_address(name)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def database(dsn: str, environment: Mapping[str, str]) -> str | None:
    """A database on another host without `sslmode`, or with one that also accepts a plain connection.

    `dsn`: the URL as asyncpg takes it. `environment`: where asyncpg looks for what the URL does not say.
    """
    mode = dict(parse_qsl(urlsplit(dsn).query)).get("sslmode")
    if mode in _POSTGRES_TLS or all(_is_local(host) for host in database_hosts(dsn, environment)):
        return None
    how = f"sslmode={mode} may connect" if mode else "a URL without sslmode connects"
    return (
        f"{how} without TLS, to a host that is not this one. Add ?sslmode=verify-full "
        "(HERALD_DATABASE_TLS__CA_FILE names the server's authority)"
    )


def database_hosts(dsn: str, environment: Mapping[str, str]) -> list[str | None]:
    """The hosts that asyncpg connects to: those of the URL, else of `?host=`, else of `PGHOST`, else the
    sockets of this machine. None stands for those of a service, in a file that is not read here.
    """
    parts = urlsplit(dsn)
    query = dict(parse_qsl(parts.query))
    before, at, after = parts.netloc.partition("@")
    if places := after if at else before:
        return [unquote(host) for host in _hosts(places)]
    if places := query.get("host"):
        return [*_hosts(places)]
    if query.get("service") or environment.get("PGSERVICE"):
        return [None]
    return [*_hosts(places)] if (places := environment.get("PGHOST")) else []


def valkey(dsn: str) -> str | None:
    """A store on another host without TLS, or without a check of its certificate.

    `dsn`: the URL as redis-py takes it.
    """
    parts = urlsplit(dsn)
    # redis-py takes the first of several, and `host` only if the URL has none.
    query = dict(reversed(parse_qsl(parts.query)))
    host = unquote(parts.hostname or "") or query.get("host", "localhost")
    if is_loopback(host):
        return None
    if parts.scheme not in ("rediss", "valkeys"):
        return f"{parts.scheme}:// is not encrypted, and the host is not this one. Use {_secure(parts.scheme)}://"
    if query.get("ssl_cert_reqs", "required") != "required":
        return f"with ssl_cert_reqs={query['ssl_cert_reqs']} any server is trusted. Remove it from the URL"
    if query.get("ssl_check_hostname", "true").lower() in ("0", "f", "false", "n", "no"):
        return "with ssl_check_hostname off any server is trusted. Remove it from the URL"
    return None


def host_and_port(address: str) -> str:
    """Check that an address is `HOST:PORT`. Anything else is read differently by different parsers.

    Raises ValueError.
    """
    found = _ADDRESS.fullmatch(address)
    if not found or not 1 <= int(found[3]) <= 65_535:
        raise ValueError("expected HOST:PORT, such as temporal.example:7233")
    return address


def temporal(address: str, *, tls: bool) -> str | None:
    """A server on another host without TLS. `address`: as `host_and_port` accepts it."""
    found = _ADDRESS.fullmatch(address)
    if tls or (found and is_loopback(found[1] or found[2])):
        return None
    return "the host is not this one, and TLS is off. Set HERALD_TEMPORAL__TLS=true"


def web(url: str) -> str | None:
    """A URL with http on another host. One that cannot be read is another problem."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "http" or is_loopback(parts.hostname):
        return None
    return "http:// is not encrypted, and the host is not this one. Use https://"


def mail(url: str, *, starttls: bool) -> str | None:
    """A mail server on another host without TLS, like `web`."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return None
    if parts.scheme != "smtp" or starttls or is_loopback(parts.hostname):
        return None
    return "without STARTTLS mails are not encrypted, and the host is not this one. Leave STARTTLS on, or use smtps://"


def _is_local(host: str | None) -> bool:
    return host is not None and (host.startswith("/") or is_loopback(host))


def _hosts(places: str) -> Iterator[str]:
    """The hosts of a list, with or without ports: names, addresses, `[IPv6]`, or paths of sockets."""
    for place in places.split(","):
        if place.startswith("/"):
            yield place
        elif place.startswith("["):
            yield place[1:].partition("]")[0]
        else:
            yield place.partition(":")[0]


def _secure(scheme: str) -> str:
    return {"redis": "rediss"}.get(scheme, "valkeys")
