"""Writes the figures of docs/performance.md and docs/comparison.md from bench/results.

Run by `python -m bench.publish`. Only the text between two markers is generated.
"""

import json
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from bench.comparison import page as comparison
from bench.report import RESULTS, ROOT
from bench.tables import Results, mark_of, section, target_of, value_of

PAGE = ROOT / "docs" / "performance.md"
SUMMARY = "summary"
"""The block with the figures that matter most."""

_BLOCK = re.compile(
    r"(<!-- figures: (?P<name>[\w-]+): begin -->\n).*?(<!-- figures: (?P=name): end -->\n)", re.DOTALL
)
IMPORTANT = (
    ("Accepted, single requests", "accept", "closed loop, single", "accepted"),
    ("Accepted, batches of 1,000", "accept", "closed loop, batches of 1,000", "accepted"),
    (
        *("Accepting at 500/s, p99 of a request", "accept"),
        *("open loop, 500 a second, nothing else running", "p99"),
    ),
    (
        "Delivered with one workflow each, SMS",
        "drain",
        "submitted to provider-accepted",
        "sms",
    ),
    (
        "… against Temporal workflows that do nothing",
        "drain",
        "submitted to provider-accepted",
        "sms, against the baseline",
    ),
    (
        "Delivered in batches, 100,000 SMS",
        "batches",
        "100,000 in lane bulk, no receipts",
        "drained, first to last",
    ),
    ("… against one workflow each", "batches", "side by side", "batches against one workflow each"),
    (
        "… against the faster of Celery and Dramatiq",
        "batches",
        "side by side",
        "batches against the faster of Celery and Dramatiq",
    ),
    (
        "Exactly once, workers killed five times",
        "batches",
        "workers killed 5 times",
        "exactly once at the vendor",
    ),
    ("OTP, request to vendor, idle, p50", "latency", "idle", "p50"),
    ("OTP, request to vendor, idle, p99", "latency", "idle", "p99"),
    ("OTP p99 during a bulk drain, against idle", "latency", "", "p99 during a bulk drain against idle"),
    (
        "Broadcast to 100,000, request to last delivery",
        "broadcast",
        "100,000 recipients",
        "delivered to the vendor, from the request",
    ),
    (
        "CPU per notification beside 10,000,000 old ones, against 10,000",
        "growth",
        "10,000,000 rows in the ledger against 10,000",
        "CPU of all, ms",
    ),
    ("Worker memory growth per 100,000 notifications", "memory", "worker", "growth per 100,000"),
)
"""The rows of the summary: a label, then the topic, group and name of the figure."""


def read(directory: Path = RESULTS) -> dict[str, Results]:
    """The results of every topic, by its name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))
    }


def written(page: str, results: Mapping[str, Results]) -> str:
    """The page with its blocks filled from the results."""

    def fill(block: re.Match[str]) -> str:
        name = block["name"]
        if name == SUMMARY:
            text = summary(results)
        elif name in results:
            text = section(results[name])
        else:
            text = f"Not measured yet: `make bench ARGS={name}`.\n"
        return f"{block[1]}{text}{block[3]}"

    return _BLOCK.sub(fill, page)


def summary(results: Mapping[str, Results]) -> str:
    """The most important figures, and every missed target."""
    figures = {(topic, one["group"], one["name"]): one for topic, one in _all(results)}
    lines = ["| | measured | target | |", "|---|--:|--:|---|"]
    for label, topic, group, name in IMPORTANT:
        if figure := figures.get((topic, group, name)):
            lines.append(f"| {label} | {value_of(figure)} | {target_of(figure)} | {mark_of(figure)} |")
    judged = [(topic, one) for topic, one in _all(results) if one["target"]]
    missed: dict[str, list[str]] = defaultdict(list)
    for topic, one in judged:
        if not one["met"]:
            missed[f"{topic}, {one['group']}"].append(f"{one['name']} {value_of(one)}")
    met = sum(one["met"] for _, one in judged)
    lines += ["", f"{met} of {len(judged)} targets are met.{' Missed:' if missed else ''}"]
    lines += ["", *(f"- **{group}**: {'; '.join(names)}" for group, names in missed.items())]
    return "\n".join(lines) + "\n"


def _all(results: Mapping[str, Results]) -> Iterator[tuple[str, Mapping[str, Any]]]:
    return ((topic, figure) for topic, one in results.items() for figure in one["figures"])


def write() -> None:
    """Write both pages."""
    results = read()
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    if "comparison" in results:
        comparison.write(results["comparison"])


if __name__ == "__main__":
    write()
