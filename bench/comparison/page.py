"""Writes the table of docs/comparison.md from bench/results/comparison.json."""

from collections import defaultdict
from collections.abc import Mapping
from typing import Any

from bench.report import ROOT, shown

PAGE = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

_COLUMNS = {
    "drained, /s": ("drained",),
    "idle, ms: p50 · p99": ("submitted to vendor, idle, p50", "submitted to vendor, idle, p99"),
    "CPU, ms each": ("CPU",),
    "workers killed: missing · once · repeated": (
        "killed: missing",
        "killed: exactly once",
        "killed: repeated",
    ),
    "done after, s": ("killed: until nothing was left",),
    "ambiguous answers: missing · once · repeated": (
        *("ambiguous: missing", "ambiguous: exactly once", "ambiguous: repeated"),
    ),
}


def table(results: Mapping[str, Any]) -> str:
    """The figures as Markdown, with a row for each system and the conditions of the run."""
    systems: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in results["figures"]:
        if figure["group"]:
            systems[figure["group"]][figure["name"]] = figure["value"]
    lines = ["| | " + " | ".join(_COLUMNS) + " |", "|---" * (len(_COLUMNS) + 1) + "|"]
    for system, values in systems.items():
        cells = [" · ".join(shown(values[name]) for name in names) for names in _COLUMNS.values()]
        lines.append(f"| {system} | " + " | ".join(cells) + " |")
    machine, scale = results["machine"], results["scale"]
    lines += [
        "",
        f"{machine['cpus']} cores, revision {machine['revision']}, {machine['measured_at']}; "
        f"{scale['drained']:,} drained, {scale['with_kills']:,} with kills, {scale['ambiguous']:,} with "
        f"ambiguous answers, each {scale['repetitions']} times: medians, sums of the counts; load average "
        f"before the run {machine['load_before']}.",
        *(note for note in results["notes"] if ": left out: " in note),
    ]
    return "\n".join(lines) + "\n"


def write(results: Mapping[str, Any]) -> None:
    """Write the table into the page."""
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + table(results) + END + after, encoding="utf-8")
