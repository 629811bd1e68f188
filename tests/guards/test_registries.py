"""Registries agree with each other: metrics, task queues."""

import ast
import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from repository import ROOT, code, tree

from devstack import herald
from devstack.ports import Ports
from domain.notification import Channel, Lane
from telemetry import metrics
from temporal.task_queues import batch_queue, channel_queue, task_queue
from wiring import workers
from wiring.workers import workers_of

METRICS = {name: value for name, value in vars(metrics).items() if isinstance(value, metrics.Metric)}


def test_every_metric_is_named_after_herald_once() -> None:
    names = [metric.name for metric in METRICS.values()]
    assert len(set(names)) == len(names)
    assert [n for n in names if not re.fullmatch(r"herald_[a-z]+(_[a-z]+)*", n)] == []


def test_every_metric_is_measured() -> None:
    measured = {
        node.value.attr
        for path in code(production=True)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and node.attr in {"add", "record", "set"}
        if isinstance(node.value, ast.Attribute)
    }
    assert {constant for constant in METRICS if constant.lower() not in measured} == set()


def test_every_metric_is_described_as_it_is_defined() -> None:
    page = (ROOT / "docs" / "metrics.md").read_text(encoding="utf-8")
    rows = re.findall(r"(?m)^\| `(herald_\w+)` \| (.*?) ?\| (.+?) \|$", page)
    defined = [
        (metric.name, ", ".join(f"`{label}`" for label in metric.labels), metric.description)
        for metric in METRICS.values()
    ]
    assert sorted(rows) == sorted(defined)
    assert [name for name, _, description in defined if len(description.split()) < 2] == []


def queues_of(lanes: list[Lane], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The task queues that a worker process of these lanes polls."""
    polled: list[str] = []

    def record(_client: object, *, task_queue: str, **_: Any) -> None:
        polled.append(task_queue)

    class AnyActivity(dict[str, Any]):
        def __missing__(self, key: str) -> str:
            return key

    monkeypatch.setattr(workers, "Worker", record)
    monkeypatch.setattr(workers, "activities_of", lambda _parts: AnyActivity())
    catalog = SimpleNamespace(dispatch=SimpleNamespace(in_flight_max=1))
    parts: Any = SimpleNamespace(lanes=lanes, grace_s=1, settings=SimpleNamespace(catalog=catalog))
    client: Any = None
    workers_of(parts, client)
    return set(polled)


def _lanes(command: list[str]) -> list[Lane]:
    return [Lane(lane) for lane in command[command.index("--lanes") + 1].split(",")]


def lanes_of_compose() -> list[list[Lane]]:
    services = yaml.safe_load((ROOT / "docker-compose.yml").read_text(encoding="utf-8"))["services"]
    commands = [service.get("command", []) for service in services.values()]
    return [_lanes(command) for command in commands if "--lanes" in command]


def lanes_of_devstack() -> list[list[Lane]]:
    parts = herald.application(Ports.shifted(0), {})
    return [_lanes(list(part.command)) for part in parts if "--lanes" in part.command]


@pytest.mark.parametrize("processes", [lanes_of_compose(), lanes_of_devstack()], ids=["compose", "devstack"])
def test_every_task_queue_has_a_worker_and_critical_a_separate_one(
    processes: list[list[Lane]], monkeypatch: pytest.MonkeyPatch
) -> None:
    polled = [queues_of(lanes, monkeypatch) for lanes in processes]
    used = {task_queue(lane) for lane in Lane} | {batch_queue()}
    used |= {channel_queue(lane, channel) for lane in Lane for channel in Channel}
    assert set().union(*polled) == used
    assert [Lane.CRITICAL] in processes
    assert sorted(lane for lanes in processes for lane in lanes) == sorted(Lane)
    assert sum(len(queues) for queues in polled) == len(used), "a queue is polled by processes of two kinds"
