"""What the routes work with: built once at start-up and passed to them."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Annotated
from uuid import UUID

from fastapi import Depends, Request

from api.auth import Keys
from api.health import Probes
from api.rate_limits import RateLimits
from api.sealed import Seal
from delivery.limit_counts import LimitCounts
from delivery.operator_commands import OperatorCommands
from domain.notification import Channel
from domain.notification_types import Catalog
from providers.base import Provider
from storage.audit import AuditLog
from storage.audit_queries import AuditReader
from storage.broadcasts import Broadcasts
from storage.ledger import Ledger
from storage.postgres import Pool
from storage.providers import Providers
from storage.queries import Queries
from storage.receipts import Receipts
from storage.users import Users
from telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class AppContext:
    """The API's parts, and the settings that it needs.

    `one_batch`: held while a batch is worked on: batches that took turns would all end as late as the last.
    `push_services`: the hosts that browsers' subscriptions may use (domain.web_push).
    `pool`: the connections of the stores above, for what has no store (API keys).
    `known_providers`: all that can be configured; `providers`: those that are.
    `reason_required`: acts need a reason (the header `Herald-Reason`).
    `workflow_url`: the address of a workflow in the Temporal Web UI, without its id.
    """

    keys: Keys
    rate_limits: RateLimits
    ledger: Ledger
    queries: Queries
    users: Users
    audit: AuditLog
    audit_reader: AuditReader
    commands: OperatorCommands
    limit_counts: LimitCounts
    provider_store: Providers
    broadcasts: Broadcasts
    receipts: Receipts
    pool: Pool
    probes: Probes
    metrics: Metrics
    providers: Mapping[str, Provider]
    known_providers: Mapping[str, Channel]
    routes: Mapping[Channel, tuple[str, ...]]
    push_services: Collection[str]
    catalog: Catalog
    namespace: UUID
    seal: Seal = field(repr=False)
    fingerprint_keys: Mapping[str, str] = field(repr=False)
    unsubscribe_secrets: tuple[str, ...] = field(repr=False)
    public_url: str
    reason_required: bool
    workflow_url: str
    one_batch: asyncio.Lock = field(default_factory=asyncio.Lock)


async def _context(request: Request) -> AppContext:
    # A coroutine: FastAPI would run a plain function in a thread, which costs more than the call.
    return request.app.state.context


Ctx = Annotated[AppContext, Depends(_context)]
"""The context, as a parameter of a route."""
