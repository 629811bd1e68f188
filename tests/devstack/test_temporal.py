"""The Temporal fixtures, its write-ahead log, and reading the dynamic configuration."""

from datetime import timedelta

import yaml
from temporal_sample import CHANNEL, Patient
from temporalio.client import Client
from temporalio.common import SearchAttributePair, TypedSearchAttributes
from temporalio.testing import WorkflowEnvironment
from temporalio.worker import Worker

from devstack.temporal import DYNAMIC_CONFIG, Temporal, dynamic_config


async def test_search_attributes_are_ready_to_use(temporal_client: Client) -> None:
    assert await _run(temporal_client, wait_s=0.01) == ["sms", "waited"]


async def test_time_skipping_skips_three_days(temporal_time_skipping: WorkflowEnvironment) -> None:
    waited = await _run(temporal_time_skipping.client, wait_s=timedelta(days=3).total_seconds())
    assert waited == ["sms", "waited"]


async def test_the_log_grows_beyond_the_default_checkpoint(
    temporal: Temporal, temporal_client: Client
) -> None:
    log = temporal.directory / "temporal.sqlite-wal"
    default_bytes = 1000 * 4096
    for _ in range(100):
        if log.stat().st_size > 2 * default_bytes:
            return
        await _run(temporal_client, wait_s=0.01)
    raise AssertionError(f"the log was still {log.stat().st_size} bytes after 100 workflows")


def test_dynamic_config_is_read_as_yaml_would_be() -> None:
    document = yaml.safe_load(DYNAMIC_CONFIG.read_text())
    expected = {key: entries[0]["value"] for key, entries in document.items()}
    assert {key: yaml.safe_load(value) for key, value in dynamic_config().items()} == expected
    assert all(list(entry) == ["value"] for entries in document.values() for entry in entries)


async def _run(client: Client, wait_s: float) -> list[str]:
    async with Worker(client, task_queue="patience", workflows=[Patient]):
        return await client.execute_workflow(
            Patient.run,
            wait_s,
            id="patient",
            task_queue="patience",
            search_attributes=TypedSearchAttributes([SearchAttributePair(CHANNEL, ["sms"])]),
            execution_timeout=timedelta(days=4),
        )
