"""What an adapter is given besides its own settings."""

from dataclasses import dataclass

from domain.notification_types import Catalog
from providers.connections import ConnectionLimits
from providers.http import VendorClient


@dataclass(frozen=True, slots=True)
class Installation:
    """This installation of Herald.

    `public_url`: where vendors reach it; some sign their callbacks over it.
    """

    public_url: str
    catalog: Catalog

    def limits(self, provider: str) -> ConnectionLimits:
        """The catalog's connection limits for a provider."""
        policy = self.catalog.provider(provider)
        return ConnectionLimits(
            connections_max=policy.connections_max,
            pool_s=policy.pool_s,
            connect_s=policy.connect_s,
            write_s=policy.write_s,
            read_s=policy.read_s,
        )

    def client(self, provider: str, base_url: str) -> VendorClient:
        """A client for a provider's vendor, within its connection limits."""
        return VendorClient(base_url, limits=self.limits(provider))
