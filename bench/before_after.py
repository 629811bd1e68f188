"""Compares two checkouts: `python -m bench.before_after --before DIR --after DIR [topic …]`.

Each checkout runs its own benchmarks with its own .venv. Topics alternate between the two within each
repetition, and the next repetition reverses the order, so that drift of the machine affects both.
"""

import argparse
import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from rich.console import Console
from rich.table import Table

from bench.report import ROOT, shown

OUTPUT = ROOT / ".herald" / "before_after.json"
TOPIC_S_MAX = 1800
SIDES = ("before", "after")
DEFAULT_TOPICS = ("accept", "drain", "batches", "latency")


@dataclass(frozen=True, slots=True)
class Compared:
    """A figure: what to call it, its unit, and a pattern for its "group: name" in the results.

    `ratio`: a pattern for a second figure that multiplies the first, for values kept as base and ratio.
    """

    label: str
    unit: str
    pattern: str
    ratio: str = ""

    @property
    def higher_is_better(self) -> bool:
        """True for rates; times, bytes and CPU should be low."""
        return self.unit == "/s"

    def value(self, figures: Mapping[str, float]) -> float | None:
        """Its value; None if the results do not have it."""
        first, ratio = _find(figures, self.pattern), _find(figures, self.ratio) if self.ratio else 1.0
        return None if first is None or ratio is None else first * ratio


def _cost(way: str, part: str) -> Compared:
    return Compared(f"{way}: CPU of {part}", "ms", rf"cost per notification, {way}: CPU( of|,) {part}")


def _statements(how: str, unit: str) -> Compared:
    """The five hot statements in the largest ledger; the results have them at 10,000 rows, and a ratio."""
    name = f"the five statements, {how}"
    few = rf"10,000 rows in the ledger: {name}, {unit}"
    return Compared(
        f"{name}, per notification", unit, few, rf"\d+,000,000 rows .* against 10,000: {name}, {unit}"
    )


COMPARED: Mapping[str, Sequence[Compared]] = {
    "accept": (
        Compared("single requests", "/s", r"closed loop, single: accepted"),
        Compared("batches of 1,000, in notifications", "/s", r"closed loop, batches of 1,000: accepted"),
        Compared("server CPU of a single request", "ms", r"closed loop, single: server CPU each"),
        Compared("Postgres CPU of a single request", "ms", r"closed loop, single: Postgres CPU each"),
    ),
    "drain": (
        Compared("one workflow each", "/s", r"submitted to provider-accepted: sms"),
        *(_cost("one workflow each", part) for part in ("together", "worker", "temporal", "postgres")),
        _cost("one workflow each, awaiting its receipt", "together"),
        _cost("in batches", "together"),
    ),
    "batches": (
        Compared("immediate receipts", "/s", r".* in lane bulk, immediate receipts: drained, first to last"),
        Compared("no receipts", "/s", r".* in lane bulk, no receipts: drained, first to last"),
        Compared("no receipts, CPU", "ms", r".* in lane bulk, no receipts: CPU of all but the vendor"),
    ),
    "latency": (
        Compared("OTP, idle, p50", "ms", r"idle: p50"),
        Compared("OTP, idle, p99", "ms", r"idle: p99"),
    ),
    "growth": (
        *(_statements("one by one", unit) for unit in ("ms", "kB of WAL", "blocks")),
        *(_statements("100 in a group", unit) for unit in ("ms", "kB of WAL", "blocks")),
    ),
}
"""The figures that are compared, by topic."""
Samples = dict[str, dict[str, list[float]]]
"""By the label of a figure, the values of either side."""


def main() -> int:
    """Measure both sides, print one table, and write it as JSON. Exit code 1 if anything failed."""
    parser = argparse.ArgumentParser(prog="python -m bench.before_after", description=__doc__)
    parser.add_argument("topics", nargs="*", metavar="topic", help=f"{', '.join(COMPARED)}")
    parser.add_argument("--before", type=Path, required=True, help="a checkout with its .venv")
    parser.add_argument("--after", type=Path, default=ROOT, help="another (default: this one)")
    parser.add_argument("--repetitions", type=int, default=3, help="of each topic, on each side")
    parser.add_argument("--output", type=Path, default=OUTPUT, help="the JSON to write")
    parser.add_argument(
        "--set", action="append", default=[], metavar="name=value", help="an option of a topic"
    )
    arguments = parser.parse_args()
    topics = arguments.topics or list(DEFAULT_TOPICS)
    if unknown := [topic for topic in topics if topic not in COMPARED]:
        parser.error(f"cannot compare {', '.join(unknown)}; choose from {', '.join(COMPARED)}")
    checkouts = {"before": arguments.before.resolve(), "after": arguments.after.resolve()}
    options = dict[str, str](given.split("=", 1) for given in arguments.set)
    samples: dict[str, Samples] = {topic: defaultdict(lambda: defaultdict(list)) for topic in topics}
    failed = False
    for side, topic in turns(arguments.repetitions, topics):
        figures = _measured(checkouts[side], topic, options)
        failed = failed or not figures
        for compared in COMPARED[topic]:
            if (value := compared.value(figures)) is not None:
                samples[topic][compared.label][side].append(value)
        _write(arguments.output, checkouts, samples)
    console = Console(highlight=False)
    Console(highlight=False, width=None if console.is_terminal else 150).print(_table(samples))
    return 1 if failed else 0


def turns(repetitions: int, topics: Sequence[str]) -> list[tuple[str, str]]:
    """Every side and topic in the order they run."""
    return [
        (side, topic)
        for repetition in range(repetitions)
        for topic in topics
        for side in (SIDES if repetition % 2 == 0 else reversed(SIDES))
    ]


def _measured(checkout: Path, topic: str, options: Mapping[str, str]) -> dict[str, float]:
    """Run one topic once; its figures as `by_label` has them, or none when it fails."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="herald-before-after-") as directory:
        output = Path(directory)
        given = [part for name, value in options.items() for part in ("--set", f"{name}={value}")]
        how = ("--essential", "--repetitions", "1", "--output", str(output), *given)
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
        ran = subprocess.run(
            [str(checkout / ".venv" / "bin" / "python"), "-m", "bench", *how, topic],
            cwd=checkout,
            env=inherited,
            stdout=subprocess.DEVNULL,
            timeout=TOPIC_S_MAX,
            check=False,
        )
        found = list(output.glob("*.json"))
        if ran.returncode or not found:
            print(f"{checkout}: {topic} could not be measured", file=sys.stderr, flush=True)
            return {}
        results = json.loads(found[0].read_text(encoding="utf-8"))
    print(f"{checkout}: {topic} in {time.monotonic() - started:.0f} s", file=sys.stderr, flush=True)
    return by_label(results)


def by_label(results: Mapping[str, Any]) -> dict[str, float]:
    """The figures by "group: name", and once more with their unit, as one name may have several."""
    values: dict[str, float] = {}
    for figure in results["figures"]:
        label = f"{figure['group']}: {figure['name']}"
        values |= {label: figure["value"], f"{label}, {figure['unit']}": figure["value"]}
    return values


def _find(figures: Mapping[str, float], pattern: str) -> float | None:
    """The last one that matches: results list larger sizes later."""
    found = [value for label, value in figures.items() if re.fullmatch(pattern, label)]
    return found[-1] if found else None


def ratio_of(compared: Compared, before: float, after: float) -> float | None:
    """How much better the figure is after; above 1 is better. None where one of them is zero."""
    if not before or not after:
        return None
    return after / before if compared.higher_is_better else before / after


def _rows(samples: Mapping[str, Samples]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = []
    for topic, by_label in samples.items():
        for compared in COMPARED[topic]:
            sides = by_label.get(compared.label, {})
            before, after = (median(sides[side]) if sides.get(side) else None for side in SIDES)
            ratio = None if before is None or after is None else ratio_of(compared, before, after)
            row = {"topic": topic, "figure": compared.label, "unit": compared.unit, "before": before}
            row |= {"after": after, "ratio": ratio, "samples": {side: sides.get(side, []) for side in SIDES}}
            rows.append(row)
    return rows


def _table(samples: Mapping[str, Samples]) -> Table:
    result = Table(title="Before and after; a ratio above 1 is better", title_justify="left")
    for name in ("topic", "figure", "unit", "before", "after", "ratio", "each before", "each after"):
        result.add_column(name, justify="right" if name in ("before", "after", "ratio") else "left")
    for row in _rows(samples):
        medians = ("-" if row[name] is None else shown(row[name]) for name in ("before", "after"))
        ratio = "-" if row["ratio"] is None else f"{row['ratio']:.3f}"
        each = (" ".join(map(shown, row["samples"][side])) for side in SIDES)
        result.add_row(row["topic"], row["figure"], row["unit"], *medians, ratio, *each)
    return result


def _write(path: Path, checkouts: Mapping[str, Path], samples: Mapping[str, Samples]) -> None:
    """Keep what has been measured so far, so that an interrupted run loses nothing."""
    path.parent.mkdir(parents=True, exist_ok=True)
    revisions = {side: _revision(checkout) for side, checkout in checkouts.items()}
    document = {"revisions": revisions, "figures": _rows(samples)}
    path.write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def _revision(checkout: Path) -> str:
    command = ("git", "describe", "--always", "--dirty", "--exclude=*")
    return subprocess.run(command, cwd=checkout, capture_output=True, text=True, check=False).stdout.strip()


if __name__ == "__main__":
    sys.exit(main())
