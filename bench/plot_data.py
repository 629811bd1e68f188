"""The plots of the results: their data and titles, without drawing them."""

import re
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.tables import OPEN_LOOP, SIDE_BY_SIDE, Results


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
    """A plot of horizontal bars, from top to bottom."""

    file: str
    title: str
    unit: str
    bars: Mapping[str, float]


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
    """The figures per second by group. Without open loops, whose rate is the load's own."""
    found: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in results["figures"]:
        group, name = figure["group"], figure["name"]
        if figure["unit"] != "/s" or not group or group.startswith(OPEN_LOOP):
            continue
        prefix = next((prefix for prefix in SIDE_BY_SIDE if group.startswith(prefix)), None)
        if prefix:
            found[prefix.rstrip(", ")][group.removeprefix(prefix)] = figure["value"]
        else:
            found[group][name] = figure["value"]
    return found


def _file(topic: str, title: str) -> str:
    return f"{topic}-{re.sub(r'[^a-z0-9]+', '-', title.lower()).strip('-')}.svg"
