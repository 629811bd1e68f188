"""What would cross a network without TLS. Pure: each function returns the problem in words, or None."""

from ipaddress import ip_address
from typing import Final, Literal
from urllib.parse import parse_qsl, unquote, urlsplit

from configuration.tls import TlsSettings

PlaintextName = Literal["database", "valkey", "temporal", "providers", "public_url", "api_url"]
"""What HERALD_ALLOW_PLAINTEXT may name."""

_POSTGRES_TLS: Final = frozenset({"require", "verify-ca", "verify-full"})


def is_loopback(host: str | None) -> bool:
    """Whether this host is this machine: a loopback address, localhost, a Unix socket's path, or none."""
    if not host or host.startswith(("/", "@")):
        return True
    name = host.strip("[]").rstrip(".").lower()
    if name == "localhost" or name.endswith(".localhost"):
        return True
    try:
        address = ip_address(name.partition("%")[0])
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def database(url: str, tls: TlsSettings) -> str | None:
    """A database on another host without `sslmode`, or with one that also accepts a plain connection."""
    query = dict(parse_qsl(urlsplit(url).query))
    hosts = [*_hosts(url), *filter(None, query.get("host", "").split(","))]
    mode = query.get("sslmode") or ("verify-full" if tls.is_set else None)
    if mode in _POSTGRES_TLS or all(map(is_loopback, hosts)):
        return None
    how = f"sslmode={mode} may connect" if mode else "a URL without sslmode connects"
    return (
        f"{how} without TLS, to a host that is not this one. Add ?sslmode=verify-full "
        "(HERALD_DATABASE_TLS__CA_FILE names the server's authority)"
    )


def valkey(url: str) -> str | None:
    """A store on another host without TLS, or without a check of its certificate."""
    parts = urlsplit(url)
    if is_loopback(parts.hostname):
        return None
    if parts.scheme not in ("rediss", "valkeys"):
        return f"{parts.scheme}:// is not encrypted, and the host is not this one. Use {_secure(parts.scheme)}://"
    query = dict(parse_qsl(parts.query))
    if query.get("ssl_cert_reqs", "required") != "required":
        return f"with ssl_cert_reqs={query['ssl_cert_reqs']} any server is trusted. Remove it from the URL"
    if query.get("ssl_check_hostname", "true").lower() in ("0", "f", "false", "n", "no"):
        return "with ssl_check_hostname off any server is trusted. Remove it from the URL"
    return None


def temporal(address: str, *, tls: bool) -> str | None:
    """A server on another host without TLS."""
    if tls or is_loopback(urlsplit(f"//{address}").hostname):
        return None
    return "the host is not this one, and TLS is off. Set HERALD_TEMPORAL__TLS=true"


def web(url: str) -> str | None:
    """A URL with http on another host."""
    parts = urlsplit(url)
    if parts.scheme != "http" or is_loopback(parts.hostname):
        return None
    return "http:// is not encrypted, and the host is not this one. Use https://"


def mail(url: str, *, starttls: bool) -> str | None:
    """A mail server on another host without TLS."""
    parts = urlsplit(url)
    if parts.scheme != "smtp" or starttls or is_loopback(parts.hostname):
        return None
    return "without STARTTLS mails are not encrypted, and the host is not this one. Leave STARTTLS on, or use smtps://"


def _hosts(url: str) -> list[str]:
    """The hosts of a URL that may name several, each with its port."""
    places = urlsplit(url).netloc.rpartition("@")[2]
    return [unquote(urlsplit(f"//{place}").hostname or "") for place in places.split(",") if place]


def _secure(scheme: str) -> str:
    return {"redis": "rediss"}.get(scheme, "valkeys")
