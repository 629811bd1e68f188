"""A topic's results as Markdown tables."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

from bench.cost import COSTS, STATEMENTS
from bench.report import Target, shown

OPEN_LOOP = "open loop, "
SIDE_BY_SIDE = (COSTS, STATEMENTS, "closed loop, ", OPEN_LOOP)
"""Groups whose names begin alike share one table, with a column for each."""

Results = Mapping[str, Any]
"""One topic's results, as bench/report.py writes them."""
Figures = Sequence[Mapping[str, Any]]


def section(results: Results) -> str:
    """One topic: its tables, its notes, and the conditions of the run."""
    groups: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for figure in results["figures"]:
        groups[figure["group"]].append(figure)
    parts = [_table(title, columns) for title, columns in _tables(groups) if title]
    parts += [_table("", columns) for title, columns in _tables(groups) if not title]
    parts += results["notes"]
    parts.append(_conditions(results))
    return "\n\n".join(parts) + "\n"


def target_of(figure: Mapping[str, Any]) -> str:
    """The target as text; empty without one."""
    return str(Target(**figure["target"])) if figure["target"] else ""


def mark_of(figure: Mapping[str, Any]) -> str:
    """Whether the target was met; empty without one."""
    return {None: "", True: "✓", False: "✗"}[figure["met"]]


def value_of(figure: Mapping[str, Any]) -> str:
    """The value with its unit."""
    unit: str = figure["unit"]
    return f"{shown(figure['value'])}{'' if unit in ('', '×') else ' '}{unit}"


def _tables(groups: Mapping[str, Figures]) -> list[tuple[str, dict[str, Figures]]]:
    """The groups of each table, with its title. Groups that share at least half their rows share a table."""
    tables: list[tuple[str, dict[str, Figures]]] = []
    for prefix in SIDE_BY_SIDE:
        columns = {n.removeprefix(prefix): f for n, f in groups.items() if n.startswith(prefix)}
        if columns:
            tables.append((prefix.rstrip(", "), columns))
    for name, figures in groups.items():
        if name.startswith(SIDE_BY_SIDE):
            continue
        rows = {_row(figure) for figure in figures}
        for title, columns in tables:
            there = {_row(figure) for column in columns.values() for figure in column}
            if (
                not title
                and name
                and "" not in columns
                and 2 * len(rows & there) >= min(len(rows), len(there))
            ):
                columns[name] = figures
                break
        else:
            tables.append(("", {name: figures}))
    return tables


def _table(title: str, columns: Mapping[str, Figures]) -> str:
    """Groups and figures across each other, the fewer of them as columns."""
    rows: dict[str, dict[str, str]] = defaultdict(dict)
    for name, figures in columns.items():
        for figure in figures:
            rows[_cell(_row(figure))][_cell(name)] = _shown(figure)
    names = [_cell(name) for name in columns]
    if len(names) > len(rows):
        names, rows = [*rows], {name: {label: rows[label].get(name, "") for label in rows} for name in names}
    lines = [f"| {' | '.join([title, *names])} |", "|---" + "|--:" * len(names) + "|"]
    lines += [
        f"| {' | '.join([label, *(row.get(name, '') for name in names)])} |" for label, row in rows.items()
    ]
    return "\n".join(lines)


def _row(figure: Mapping[str, Any]) -> str:
    """The label of a figure's row. Counts out of a number, and ratios, carry their unit in the cell."""
    unit: str = figure["unit"]
    return (
        figure["name"] if not unit or unit == "×" or unit.startswith("of ") else f"{figure['name']}, {unit}"
    )


def _shown(figure: Mapping[str, Any]) -> str:
    unit: str = figure["unit"]
    value = value_of(figure) if unit == "×" or unit.startswith("of ") else shown(figure["value"])
    note = f"({_cell(figure['note'])})" if figure["note"] else ""
    return " ".join(part for part in (value, mark_of(figure), target_of(figure), note) if part)


def _conditions(results: Results) -> str:
    machine = results["machine"]
    scale = ", ".join(f"{name.replace('_', ' ')} {_size(value)}" for name, value in results["scale"].items())
    changed = ", with uncommitted changes" if machine["uncommitted_changes"] else ""
    facts = (
        f"{machine['cpus']} cores ({machine['cpu_model']}), Python {machine['python']}",
        f"revision {machine['revision']}{changed}, {machine['measured_at']}",
        f"load average before {machine['load_before']}",
        f"sizes: {scale}",
        f"medians of {_repetitions(results)}",
    )
    return f"*{'; '.join(facts)}.*"


def _repetitions(results: Results) -> str:
    counts = {figure["repetitions"] for figure in results["figures"]}
    return f"up to {max(counts)}" if len(counts) > 1 else str(max(counts, default=1))


def _size(value: Any) -> str:
    return f"{value:,}" if isinstance(value, int | float) else str(value)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("*", "\\*")
