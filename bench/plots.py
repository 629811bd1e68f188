"""Draws every result into docs/performance as SVG, which Git ignores: `python -m bench.plots`."""

from pathlib import Path

import matplotlib as mpl

from bench.plot_data import Bars, Lines, plots_of
from bench.publish import PAGE, read
from bench.report import shown

mpl.use("svg")

from matplotlib import pyplot as plt

PLOTS = PAGE.with_suffix("")
STYLE = {
    "svg.hashsalt": "herald",
    "svg.fonttype": "none",
    "font.family": "sans-serif",
    "font.size": 10,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "path.simplify_threshold": 1.0,
}
WIDTH_IN, HEIGHT_IN, BAR_IN = 7.0, 3.2, 0.38
LOG_FROM = 30
"""Bars that differ by more than this factor get a logarithmic axis."""


def main() -> None:
    """Draw the plots of every topic that has results."""
    PLOTS.mkdir(exist_ok=True)
    for results in read().values():
        for plot in plots_of(results):
            _draw(plot, PLOTS / plot.file)


def _draw(plot: Lines | Bars, path: Path) -> None:
    with mpl.rc_context(STYLE):
        figure = _lines(plot) if isinstance(plot, Lines) else _bars(plot)
        figure.savefig(path, format="svg", metadata={"Date": None, "Creator": None}, bbox_inches="tight")
        plt.close(figure)


def _lines(plot: Lines) -> plt.Figure:
    figure, axes = plt.subplots(figsize=(WIDTH_IN, HEIGHT_IN))
    for label, points in plot.lines.items():
        axes.plot([x for x, _ in points], [y for _, y in points], label=label, linewidth=1.6)
    axes.set(title=plot.title, xlabel=plot.x_label, ylabel=plot.y_label)
    axes.set_ylim(bottom=0)
    axes.yaxis.set_major_formatter(lambda value, _: shown(value))
    axes.xaxis.set_major_formatter(lambda value, _: shown(value))
    if len(plot.lines) > 1:
        axes.legend(frameon=False)
    return figure


def _bars(plot: Bars) -> plt.Figure:
    names, values = list(plot.bars), list(plot.bars.values())
    figure, axes = plt.subplots(figsize=(WIDTH_IN, 0.9 + BAR_IN * len(names)))
    drawn = axes.barh(names, values, height=0.62)
    axes.bar_label(drawn, [shown(value) for value in values], padding=4)
    axes.invert_yaxis()
    if max(values) > LOG_FROM * max(min(values), 1e-9):
        axes.set_xscale("log")
    axes.set(title=plot.title, xlabel=plot.unit)
    axes.margins(x=0.12)
    axes.grid(visible=False, axis="y")
    return figure


if __name__ == "__main__":
    main()
