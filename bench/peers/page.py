"""Writes the table of docs/comparison.md from bench/results/peers.json: `python -m bench.peers.page`."""

import json
from collections import defaultdict
from typing import Any

from bench.peers.site import ROOT
from bench.report import RESULTS, shown

PAGE = ROOT / "docs" / "comparison.md"
BEGIN, END = "<!-- figures: begin -->\n", "<!-- figures: end -->\n"

_COLUMNS = {
    "drained, /s": ("drained",),
    "idle, ms: p50, p99": ("handed over to vendor, idle, p50", "handed over to vendor, idle, p99"),
    "CPU, ms each": ("CPU",),
    "killed: missing, once, repeated": ("killed: missing", "killed: exactly once", "killed: repeated"),
    "done after, s": ("killed: until nothing was left",),
    "ambiguous: missing, once, repeated": (
        *("ambiguous: missing", "ambiguous: exactly once", "ambiguous: repeated"),
    ),
}


def table(results: dict[str, Any]) -> str:
    """The figures as Markdown, a row for each system, with what the run was."""
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
        f"ambiguous answers, each {scale['repetitions']} times: medians, and of the counts the sums; load of "
        f"the machine before the run {machine['load_before']}.",
        *(f"{note[0].upper()}{note[1:]}" for note in results["notes"] if ": not " in note),
    ]
    return "\n".join(lines) + "\n"


def main() -> None:
    results = json.loads((RESULTS / "peers.json").read_text(encoding="utf-8"))
    before, rest = PAGE.read_text(encoding="utf-8").split(BEGIN)
    after = rest.split(END)[1]
    PAGE.write_text(before + BEGIN + table(results) + END + after, encoding="utf-8")


if __name__ == "__main__":
    main()
