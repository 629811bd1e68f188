"""How `bench.before_after` measures a checkout whose `python -m bench` has no `--output` yet.

It runs whole topics, which takes about three times as long. Delete this file once no such checkout is
compared any more.
"""

from collections.abc import Mapping
from pathlib import Path

_RUN_ONE = """
import asyncio, pathlib, sys
from bench.__main__ import TOPICS
from bench.harness import Bench
options = dict(given.split("=", 1) for given in sys.argv[3:])
report = asyncio.run(TOPICS[sys.argv[1]](Bench(repetitions=1, options=options)))
report.write(pathlib.Path(sys.argv[2]))
"""
_TOPICS = {"batches": "pages"}
_OPTIONS: Mapping[str, tuple[str, ...]] = {
    "accept": ("seconds=10",),
    "drain": ("size=600",),
    "batches": ("size=20000",),
    "latency": ("seconds=40", "bulk=20000"),
    "growth": ("rows=3000000", "open=0", "notifications=1"),
}
_LABELS = (
    ("what one costs, ", "cost per notification, "),
    ("accepted to provider-accepted", "submitted to provider-accepted"),
    ("in batches", "in batches"),
    ("a workflow each", "one workflow each"),
    ("each receipt at once", "immediate receipts"),
    ("no receipts yet", "no receipts"),
    ("statements, 1 at once", "statements, one by one"),
    ("statements, 100 at once", "statements, 100 in a group"),
    ("nothing else running: p", "idle: p"),
)


def is_earlier(checkout: Path) -> bool:
    """Whether the checkout has the earlier command line."""
    return "--output" not in (checkout / "bench" / "__main__.py").read_text(encoding="utf-8")


def command(topic: str, output: Path, options: Mapping[str, str]) -> list[str]:
    """The arguments for the checkout's Python. Writes `<topic>.json` into `output`, and nothing else."""
    given = [*_OPTIONS[topic], *(f"{name}={value}" for name, value in options.items())]
    return ["-c", _RUN_ONE, _TOPICS.get(topic, topic), str(output), *given]


def label(earlier: str) -> str:
    """The current label for a figure."""
    for old, new in _LABELS:
        earlier = earlier.replace(old, new)
    return earlier
