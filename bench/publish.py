"""Writes the documentation's figures and plots from bench/results/*.json: `python -m bench.publish`.

Prose is written by people; what stands between two markers is written here, and nothing else is.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.report import RESULTS, ROOT, Target, shown

PAGE = ROOT / "docs" / "performance.md"
PLOTS = ROOT / "docs" / "performance"
TARGETS = "targets"
"""The block that lists every target of every topic."""

_BLOCK = re.compile(
    r"(<!-- figures: (?P<name>[\w-]+): begin -->\n).*?(<!-- figures: (?P=name): end -->\n)", re.DOTALL
)
_AS_ASKED = "open loop, "
"""Groups whose rate is the load's own, which no plot need show."""
_SIDE_BY_SIDE = ("what one costs, ", "closed loop, ", _AS_ASKED)
"""Groups that begin alike are told in one table, a column each."""

Results = Mapping[str, Any]
"""One topic's results, as bench/report.py writes them."""


@dataclass(frozen=True, slots=True)
class Lines:
    """A plot of lines: `lines` by label, each a list of (x, y)."""

    file: str
    title: str
    x_label: str
    y_label: str
    lines: Mapping[str, Sequence[tuple[float, float]]]


@dataclass(frozen=True, slots=True)
class Bars:
    """A plot of bars, from the first to the last."""

    file: str
    title: str
    unit: str
    bars: Mapping[str, float]


def read(directory: Path = RESULTS) -> dict[str, Results]:
    """Every topic that was measured, by its name."""
    return {
        path.stem: json.loads(path.read_text(encoding="utf-8")) for path in sorted(directory.glob("*.json"))
    }


def written(page: str, results: Mapping[str, Results]) -> str:
    """The page with its blocks as the results have them."""

    def fill(block: re.Match[str]) -> str:
        name = block["name"]
        if name == TARGETS:
            text = targets(results)
        elif name in results:
            text = told(results[name])
        else:
            text = f"Not measured yet: `make bench ARGS={name}`.\n"
        return f"{block[1]}{text}{block[3]}"

    return _BLOCK.sub(fill, page)


def plots_of(results: Results) -> list[Lines | Bars]:
    """The plots of one topic: each of its series, and the rates of each group that has several."""
    topic: str = results["topic"]
    plots: list[Lines | Bars] = [
        Lines(_file(topic, one["name"]), one["name"], one["x_label"], one["y_label"], one["lines"])
        for one in results["series"]
    ]
    for title, bars in _rates(results).items():
        if len(bars) > 1:
            plots.append(Bars(_file(topic, title), title, "per second", bars))
    return plots


def _rates(results: Results) -> dict[str, dict[str, float]]:
    """The figures per second, by what they are compared within; of a closed loop, its ways side by side."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in results["figures"]:
        group, name = figure["group"], figure["name"]
        if figure["unit"] != "/s" or not group or group.startswith(_AS_ASKED):
            continue
        prefix = next((prefix for prefix in _SIDE_BY_SIDE if group.startswith(prefix)), None)
        if prefix:
            found[prefix.rstrip(", ")][group.removeprefix(prefix)] = figure["value"]
        else:
            found[group][name] = figure["value"]
    return found


def told(results: Results) -> str:
    """One topic as Markdown: its plots, its tables, what must be known to read them."""
    parts = [f"![{plot.title}]({PLOTS.name}/{plot.file})" for plot in plots_of(results)]
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figure in results["figures"]:
        groups[figure["group"]].append(figure)
    alone = {name: figures for name, figures in groups.items() if not name.startswith(_SIDE_BY_SIDE)}
    for prefix in _SIDE_BY_SIDE:
        columns = {n.removeprefix(prefix): f for n, f in groups.items() if n.startswith(prefix)}
        if columns:
            parts.append(_side_by_side(prefix.rstrip(", "), columns))
    if alone:
        parts.append(_listed(alone))
    parts += [f"{note[0].upper()}{note[1:]}" for note in results["notes"]]
    parts.append(_conditions(results))
    return "\n\n".join(parts) + "\n"


def targets(results: Mapping[str, Results]) -> str:
    """Every target, met or missed."""
    lines = ["| topic | what | measured | target | |", "|---|---|--:|--:|---|"]
    for topic, one in results.items():
        for figure in one["figures"]:
            if figure["target"]:
                what = f"{figure['group']}: {figure['name']}" if figure["group"] else figure["name"]
                value = f"{shown(figure['value'])} {figure['unit']}".strip()
                lines.append(f"| {topic} | {what} | {value} | {_target(figure)} | {_mark(figure)} |")
    if len(lines) == 2:
        return "Nothing has been measured yet: `make bench`.\n"
    return "\n".join(lines) + "\n"


def _listed(groups: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    lines = ["| | | target | |", "|---|--:|--:|---|"]
    for name, figures in groups.items():
        if name:
            lines.append(f"| **{_cell(name)}** | | | |")
        for figure in figures:
            what = _cell(figure["name"]) + (f" ({_cell(figure['note'])})" if figure["note"] else "")
            value = f"{shown(figure['value'])} {figure['unit']}".strip()
            lines.append(f"| {what} | {value} | {_target(figure)} | {_mark(figure)} |")
    return "\n".join(lines)


def _side_by_side(title: str, columns: Mapping[str, Sequence[Mapping[str, Any]]]) -> str:
    names = list(dict.fromkeys(figure["name"] for figures in columns.values() for figure in figures))
    lines = [f"| {title} | " + " | ".join(columns) + " |", "|---" + "|--:" * len(columns) + "|"]
    for name in names:
        cells, unit = list[str](), ""
        for figures in columns.values():
            figure = next((one for one in figures if one["name"] == name), None)
            unit = figure["unit"] if figure else unit
            cells.append(f"{shown(figure['value'])} {_mark(figure)}".strip() if figure else "")
        lines.append(f"| {name}{', ' if unit else ''}{unit} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def _conditions(results: Results) -> str:
    machine = results["machine"]
    scale = ", ".join(f"{name.replace('_', ' ')} {_size(value)}" for name, value in results["scale"].items())
    changed = ", with changes not committed" if machine["uncommitted_changes"] else ""
    said = (
        f"{machine['cpus']} cores ({machine['cpu_model']}), Python {machine['python']}",
        f"revision {machine['revision']}{changed}, {machine['measured_at']}",
        f"load before {machine['load_before']}",
        f"sizes: {scale}",
        f"medians of {_repetitions(results)}",
    )
    return f"*{'; '.join(said)}.*"


def _repetitions(results: Results) -> str:
    counts = {figure["repetitions"] for figure in results["figures"]}
    return f"up to {max(counts)}" if len(counts) > 1 else str(max(counts, default=1))


def _size(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _target(figure: Mapping[str, Any]) -> str:
    return str(Target(**figure["target"])) if figure["target"] else ""


def _mark(figure: Mapping[str, Any]) -> str:
    return {None: "", True: "✓", False: "✗"}[figure["met"]]


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")


def _file(topic: str, title: str) -> str:
    return f"{topic}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.svg"


def write() -> None:
    """Write the page, the comparison's table and every plot. Plots of topics without results are removed."""
    from bench import plots  # needs what only the benchmarks' lock installs
    from bench.peers import page as comparison

    results = read()
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8"), results), encoding="utf-8")
    if "peers" in results:
        comparison.main()
    PLOTS.mkdir(exist_ok=True)
    drawn = {plot.file: plot for topic, one in results.items() if topic != "peers" for plot in plots_of(one)}
    for path in PLOTS.glob("*.svg"):
        if path.name not in drawn:
            path.unlink()
    for name, plot in drawn.items():
        plots.draw(plot, PLOTS / name)


if __name__ == "__main__":
    # By its own name: the plots know its classes by that one.
    from bench import publish

    publish.write()
