"""A client whose server skips time, and the sandbox that detects nondeterministic workflows."""

import pytest
from temporalio.client import Client
from temporalio.testing import WorkflowEnvironment
from temporalio.worker.workflow_sandbox import SandboxedWorkflowRunner


@pytest.fixture
def skipping(temporal_time_skipping: WorkflowEnvironment) -> Client:
    """Retries and timers take no time."""
    return temporal_time_skipping.client


@pytest.fixture
def sandboxed() -> SandboxedWorkflowRunner:
    return SandboxedWorkflowRunner()
