"""What stands in one registry stands in the others: metrics, task queues."""

import re
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from repository import ROOT, code, part

import worker
from devstack import herald
from devstack.ports import Ports
from domain.notification import Channel, Lane
from domain.steps import channel_queue, page_queue, task_queue
from telemetry import metrics


def test_every_metric_is_named_after_herald_once() -> None:
    names = [metric.name for metric in metrics.METRICS]
    assert len(set(names)) == len(names)
    assert [n for n in names if not re.fullmatch(r"herald_[a-z]+(_[a-z]+)*", n)] == []
    declared = {value for value in vars(metrics).values() if isinstance(value, metrics.Metric)}
    assert declared == set(metrics.METRICS)


@pytest.mark.parametrize(
    "constant", sorted(k for k, v in vars(metrics).items() if isinstance(v, metrics.Metric))
)
def test_every_metric_is_measured(constant: str) -> None:
    used = re.compile(rf"\.{constant.lower()}\b(?!\()")
    assert any(used.search(p.read_text("utf-8")) for p in code(production=True) if part(p) != "telemetry")


def queues_of(lanes: list[Lane], monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """The task queues that a worker process of these lanes polls."""
    polled: list[str] = []

    def record(_client: object, *, task_queue: str, **_: Any) -> None:
        polled.append(task_queue)

    class AnyActivity(dict[str, Any]):
        def __missing__(self, key: str) -> str:
            return key

    monkeypatch.setattr(worker, "Worker", record)
    monkeypatch.setattr(worker, "activities_of", lambda _parts: AnyActivity())
    catalog = SimpleNamespace(dispatch=SimpleNamespace(in_flight_max=1))
    parts: Any = SimpleNamespace(lanes=lanes, grace_s=1, settings=SimpleNamespace(catalog=catalog))
    client: Any = None
    worker.workers_of(parts, client)
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
def test_every_task_queue_has_a_worker_and_critical_one_of_its_own(
    processes: list[list[Lane]], monkeypatch: pytest.MonkeyPatch
) -> None:
    polled = [queues_of(lanes, monkeypatch) for lanes in processes]
    used = {task_queue(lane) for lane in Lane} | {page_queue()}
    used |= {channel_queue(lane, channel) for lane in Lane for channel in Channel}
    assert set().union(*polled) == used
    assert [Lane.CRITICAL] in processes
    assert sorted(lane for lanes in processes for lane in lanes) == sorted(Lane)
    assert sum(len(queues) for queues in polled) == len(used), "a queue is polled by processes of two kinds"
