"""The search attributes are registered once, and what prevents it is reported."""

from datetime import timedelta
from uuid import uuid4

import pytest
from temporalio.api.workflowservice.v1 import RegisterNamespaceRequest
from temporalio.client import Client

from devstack.temporal import Temporal
from temporal.registration import RegistrationError, register_search_attributes
from temporal.search_attributes import SEARCH_ATTRIBUTES


async def test_missing_search_attributes_are_registered_once(
    temporal: Temporal, temporal_client: Client
) -> None:
    namespace = f"fresh-{uuid4()}"
    request = RegisterNamespaceRequest(namespace=namespace)
    request.workflow_execution_retention_period.FromTimedelta(timedelta(days=1))
    await temporal_client.workflow_service.register_namespace(request)
    assert await register_search_attributes(temporal.address, namespace) == sorted(SEARCH_ATTRIBUTES)
    assert await register_search_attributes(temporal.address, namespace) == []


async def test_a_server_that_cannot_be_reached_is_named() -> None:
    with pytest.raises(RegistrationError, match=r"127\.0\.0\.1:9, namespace default, cannot be prepared"):
        await register_search_attributes("127.0.0.1:9", "default")
