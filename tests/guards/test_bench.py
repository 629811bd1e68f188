"""The benchmarks stay runnable by their names, without being run here."""

import ast
import asyncio
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

from repository import ROOT

from bench.__main__ import TOPICS
from bench.counters import cpu_seconds
from bench.drain import in_turns
from bench.publish import PAGE, Bars, Lines, plots_of, read, told, written
from bench.report import Report, Series, at_least, at_most, shown

BENCH = ROOT / "bench"


def test_every_topic_is_a_file_with_the_one_entry() -> None:
    for topic in TOPICS:
        package = BENCH / topic / "measure.py"
        path = package if package.exists() else BENCH / f"{topic}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        entries = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
        assert "measure" in entries, topic


def test_a_figure_is_the_median_of_its_samples_and_knows_whether_it_meets_its_target() -> None:
    report = Report("topic", "Title")
    fast = report.add("accepted", [1900, 2100, 2500], "/s", at_least(2000))
    slow = report.add("p99", 60, "ms", at_most(50))
    plain = report.add("cpu", [1.0, 3.0], "ms")
    assert (fast.value, fast.met) == (2100, True)
    assert (slow.value, slow.met) == (60, False)
    assert (plain.value, plain.met) == (2.0, None)
    assert (shown(12345.6), shown(0.01234), shown(0)) == ("12,346", "0.0123", "0")


def test_a_process_that_is_gone_costs_nothing() -> None:
    # A backend of Postgres may end between being found and being looked at.
    beyond_any_pid = 2**22 + 1
    assert cpu_seconds(beyond_any_pid) == 0


def test_the_time_of_what_a_process_began_is_its_own() -> None:
    before = cpu_seconds(os.getpid())
    with subprocess.Popen([sys.executable, "-c", "while True: pass"]) as busy:
        while cpu_seconds(busy.pid) < 0.1:
            pass
        own = cpu_seconds(busy.pid)
        together = cpu_seconds(os.getpid()) - before
        busy.kill()
    assert together >= own - 0.01


def test_measures_are_taken_in_turns() -> None:
    order: list[str] = []

    async def first() -> None:
        order.append("first")

    async def second() -> None:
        order.append("second")

    async def both_times() -> None:
        for number in range(2):
            await in_turns(number, first, second)

    asyncio.run(both_times())
    assert order == ["first", "second", "second", "first"]


def test_results_name_no_place(tmp_path: Path) -> None:
    report = Report("topic", "Title")
    report.add("accepted", 1, "/s")
    report.write(tmp_path)
    text = (tmp_path / "topic.json").read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def results_of(report: Report) -> dict[str, Any]:
    facts = dict.fromkeys(("cpus", "cpu_model", "python", "revision", "measured_at", "load_before"), "x")
    return report.to_json({**facts, "uncommitted_changes": False})


def test_what_is_compared_stands_side_by_side_and_each_target_says_whether_it_was_met() -> None:
    report = Report("drain", "Draining")
    for way, cost in (("a workflow each", 15.0), ("by pages", 0.5)):
        report.add("CPU of temporal", cost, "ms", group=f"what one costs, {way}")
    report.add("sms", 50, "/s", group="drained")
    report.add("bare", 70, "/s", group="drained")
    report.add("against", 50 / 70, "×", at_least(0.85), group="drained", note="in turns")
    report.series.append(Series("a curve", "s", "n", {"line": [(0, 0), (1, 2)]}))
    results = results_of(report)
    text = told(results)
    assert "| what one costs | a workflow each | by pages |" in text
    assert "| CPU of temporal, ms | 15 | 0.5 |" in text
    assert "| against (in turns) | 0.714 × | ≥ 0.85 | ✗ |" in text
    curve, bars = plots_of(results)
    assert (curve.file, bars.file) == ("drain-a-curve.svg", "drain-drained.svg")
    assert isinstance(curve, Lines)
    assert isinstance(bars, Bars)
    assert bars.bars == {"sms": 50, "bare": 70}
    page = "<!-- figures: drain: begin -->\nold\n<!-- figures: drain: end -->\nprose\n"
    assert "old" not in written(page, {"drain": results})
    assert written(page, {}).endswith("<!-- figures: drain: end -->\nprose\n")


def test_the_page_says_what_the_results_say() -> None:
    page = PAGE.read_text(encoding="utf-8")
    assert page == written(page, read()), "stale: make bench-pages"
    blocks = set(re.findall(r"<!-- figures: ([\w-]+): begin -->", page))
    assert set(TOPICS) - {"peers"} <= blocks
    plots = re.findall(r"!\[[^\]]*\]\(([^)]+)\)", page)
    assert [plot for plot in plots if not (PAGE.parent / plot).exists()] == []
