"""Clients of servers that skip time and that do not, and the sandbox that finds nondeterminism."""

from datetime import timedelta
from uuid import uuid4

import pytest
import pytest_asyncio
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import WorkflowEnvironment
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner

from devstack.temporal import Temporal
from temporal.registration import register_search_attributes


@pytest_asyncio.fixture(scope="session")
async def temporal_client(temporal: Temporal) -> Client:
    """A client of a new namespace: no workflow that other tests left there asks for scripted answers."""
    namespace = f"workflows-{uuid4()}"
    client = await Client.connect(
        temporal.address, namespace=namespace, data_converter=pydantic_data_converter
    )
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await client.workflow_service.register_namespace(request)
    await register_search_attributes(temporal.address, namespace)
    return client


@pytest.fixture
def skipping(temporal_time_skipping: WorkflowEnvironment) -> Client:
    """Retries and timers take no time."""
    return temporal_time_skipping.client


@pytest.fixture
def sandboxed() -> SandboxedWorkflowRunner:
    return SandboxedWorkflowRunner()
