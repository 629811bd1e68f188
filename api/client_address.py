"""Whose address a request comes from: the peer's, or the one that a trusted proxy names."""

from collections.abc import Sequence
from functools import lru_cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from starlette.types import Scope

Network = IPv4Network | IPv6Network

IPV6_PREFIX: Final = 64
"""Who has one address of such a network has all of them."""
_UNKNOWN: Final = "unknown"


@lru_cache(maxsize=4096)
def group_of(address: str) -> str:
    """Return what an address is counted as: an IPv4 address by itself, an IPv6 address with its /64."""
    known = _parsed(address)
    if known is None:
        return _UNKNOWN
    if isinstance(known, IPv6Address):
        if known.ipv4_mapped is not None:
            return str(known.ipv4_mapped)
        return str(ip_network((known, IPV6_PREFIX), strict=False))
    return str(known)


class ClientAddresses:
    """Finds the client of a request behind the trusted proxies."""

    def __init__(self, trusted: Sequence[Network] = ()) -> None:
        self._trusted = tuple(trusted)

    def of(self, scope: Scope) -> str:
        """Return the client's address as it is counted (`group_of`).

        Behind a trusted proxy it is the last address in `X-Forwarded-For` that is not a trusted proxy: what
        precedes it was written by the client.
        """
        peer = scope.get("client")
        address = peer[0] if peer else _UNKNOWN
        if not self._trusted or not self._is_trusted(address):
            return group_of(address)
        lines = [value for name, value in scope["headers"] if name == b"x-forwarded-for"]
        for hop in reversed(b",".join(lines).decode("latin-1").split(",")):
            hop = hop.strip()
            if _parsed(hop) is None:
                break
            address = hop
            if not self._is_trusted(hop):
                break
        return group_of(address)

    def _is_trusted(self, address: str) -> bool:
        known = _parsed(address)
        return known is not None and any(
            known.version == network.version and known in network for network in self._trusted
        )


@lru_cache(maxsize=4096)
def _parsed(text: str) -> IPv4Address | IPv6Address | None:
    try:
        return ip_address(text)
    except ValueError:
        return None
