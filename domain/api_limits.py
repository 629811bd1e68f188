"""How many requests the API takes. Read from `herald.toml`."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from domain.limit_policy import PerSecond
from domain.tenant_names import Tenant


class TenantRate(BaseModel):
    """Another rate for one tenant."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    per_s: PerSecond


class ApiPolicy(BaseModel):
    """The rates of the API. A request counts as one, a batch as the number of its notifications.

    The rates of tenants and keys hold over all API processes; those of addresses hold in each process.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    tenant_per_s: PerSecond = 20_000
    """The requests of one tenant."""
    key_per_s: PerSecond = 20_000
    """The requests with one API key."""
    address_per_s: PerSecond = 20_000
    """The requests from one client address."""
    burst_s: Annotated[float, Field(ge=1, le=3600)] = 2
    """How many seconds' worth of a rate may be used at once."""
    key_failures_per_minute: Annotated[float, Field(gt=0, le=10_000_000)] = 20
    """The requests with a wrong API key from one client address."""
    callback_failures_per_minute: Annotated[float, Field(gt=0, le=10_000_000)] = 600
    """The callbacks with a wrong signature from one client address."""
    tenants: dict[Tenant, TenantRate] = Field(default_factory=dict[str, TenantRate])
    """Other rates for single tenants."""

    def tenant_rate(self, tenant: str) -> float:
        """The requests per second of a tenant."""
        own = self.tenants.get(tenant)
        return own.per_s if own else self.tenant_per_s
