"""Connects to Temporal, and starts workflows."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any, TypeVar

import structlog
from temporalio.client import Client
from temporalio.common import TypedSearchAttributes, WorkflowIDConflictPolicy, WorkflowIDReusePolicy
from temporalio.converter import DataConverter
from temporalio.exceptions import WorkflowAlreadyStartedError
from temporalio.runtime import LoggingConfig, Runtime, TelemetryConfig, TelemetryFilter

from configuration.tls import TlsFiles
from temporal.failures import NamedFailures
from temporal.tls import tls_config

log = structlog.stdlib.get_logger(__name__)

CONNECT_AGAIN_S = 2.0
"""How long after Temporal could not be reached it is tried again, in seconds."""
RPC_TIMEOUT = timedelta(seconds=5)
"""The timeout of one request to Temporal."""

Ref = TypeVar("Ref")


async def connect(
    address: str, namespace: str, *, api_key: str | None = None, tls: TlsFiles | None = None
) -> Client:
    """Connect to Temporal, waiting until it answers: a worker may start before it. No `tls`: without TLS."""
    # Core logs to stdout in colour, and floods it during an outage: errors only.
    runtime = Runtime(
        telemetry=TelemetryConfig(
            logging=LoggingConfig(filter=TelemetryFilter(core_level="ERROR", other_level="ERROR"))
        )
    )
    while True:
        try:
            return await Client.connect(
                address,
                namespace=namespace,
                api_key=api_key,
                tls=tls_config(tls),
                runtime=runtime,
                data_converter=replace(DataConverter.default, failure_converter_class=NamedFailures),
            )
        except RuntimeError as error:
            log.warning("temporal_unreachable", at=address, why=str(error)[:200])
            await asyncio.sleep(CONNECT_AGAIN_S)


async def start(
    client: Client,
    run: Callable[[Any, Ref], Awaitable[Any]],
    ref: Ref,
    *,
    id: str,
    task_queue: str,
    summary: str,
    attributes: TypedSearchAttributes | None = None,
    eager: bool = False,
) -> bool:
    """Start a workflow under this id; False if one runs under it already. A closed one may start again.

    `eager`: this process's own worker runs the first task at once. Raises temporalio.service.RPCError.
    """
    try:
        await client.start_workflow(
            run,
            ref,
            id=id,
            task_queue=task_queue,
            id_reuse_policy=WorkflowIDReusePolicy.ALLOW_DUPLICATE,
            id_conflict_policy=WorkflowIDConflictPolicy.FAIL,
            request_eager_start=eager,
            static_summary=summary,
            search_attributes=attributes,
            rpc_timeout=RPC_TIMEOUT,
        )
    except WorkflowAlreadyStartedError:
        return False
    return True
