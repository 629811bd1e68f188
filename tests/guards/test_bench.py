"""The benchmarks stay runnable by their names, without being run here."""

import ast
import asyncio
from pathlib import Path

from repository import ROOT

from bench.__main__ import TOPICS
from bench.report import Report, alternating, at_least, at_most, shown

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


def test_measures_are_taken_in_turns() -> None:
    order: list[str] = []

    async def first() -> float:
        order.append("first")
        return 1

    async def second() -> float:
        order.append("second")
        return 2

    assert asyncio.run(alternating(2, first, second)) == [[1, 1], [2, 2]]
    assert order == ["first", "second", "first", "second"]


def test_results_name_no_place(tmp_path: Path) -> None:
    report = Report("topic", "Title")
    report.add("accepted", 1, "/s")
    report.write(tmp_path)
    text = (tmp_path / "topic.json").read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text
