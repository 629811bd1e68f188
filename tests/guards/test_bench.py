"""The benchmarks can be run by name, their pages match their results, and two checkouts can be compared."""

import ast
import asyncio
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from bench.__main__ import TOPICS
from bench.before_after import COMPARED, by_label, turns
from bench.comparison import page as comparison
from bench.comparison.subjects import HERALD
from bench.cost import COSTS
from bench.counters import cpu_seconds
from bench.drain import in_turns
from bench.harness import CATALOG, batching
from bench.plot_data import Bars, Lines, plots_of
from bench.publish import IMPORTANT, PAGE, read, summary, written
from bench.report import Report, Series, at_least, at_most, shown
from bench.tables import section
from domain.notification_types import Catalog

BENCH = ROOT / "bench"


def test_every_topic_is_a_file_with_a_measure_function() -> None:
    for topic in TOPICS:
        package = BENCH / topic / "measure.py"
        path = package if package.exists() else BENCH / f"{topic}.py"
        tree = ast.parse(path.read_text(encoding="utf-8"))
        entries = {node.name for node in tree.body if isinstance(node, ast.AsyncFunctionDef)}
        assert "measure" in entries, topic


@pytest.mark.parametrize("mode", ["never", "bulk", "spike"])
@pytest.mark.parametrize("catalog", [CATALOG, HERALD], ids=["benchmarks", "comparison"])
def test_the_catalogs_are_valid_with_each_way_of_batching(catalog: Path, mode: str) -> None:
    Catalog.model_validate(tomllib.loads(catalog.read_text(encoding="utf-8")))
    assert Catalog.model_validate(tomllib.loads(batching(mode, catalog))).dispatch.batching == mode


def test_a_figure_is_the_median_of_its_samples_and_is_compared_with_its_target() -> None:
    report = Report("topic", "Title")
    fast = report.add("accepted", [1900, 2100, 2500], "/s", at_least(2000))
    slow = report.add("p99", 60, "ms", at_most(50))
    plain = report.add("cpu", [1.0, 3.0], "ms")
    assert (fast.value, fast.met) == (2100, True)
    assert (slow.value, slow.met) == (60, False)
    assert (plain.value, plain.met) == (2.0, None)
    assert (shown(12345.6), shown(0.01234), shown(0)) == ("12,346", "0.0123", "0")


def test_a_process_that_has_ended_counts_as_zero() -> None:
    # A Postgres backend may end after it is listed and before it is read.
    beyond_any_pid = 2**22 + 1
    assert cpu_seconds(beyond_any_pid) == 0


def test_the_cpu_time_of_children_counts_for_their_parent() -> None:
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


def test_results_hold_no_local_path(tmp_path: Path) -> None:
    report = Report("topic", "Title")
    report.add("accepted", 1, "/s")
    report.write(tmp_path)
    text = (tmp_path / "topic.json").read_text(encoding="utf-8")
    assert str(ROOT) not in text
    assert str(Path.home()) not in text


def results_of(report: Report) -> dict[str, Any]:
    facts = dict.fromkeys(("cpus", "cpu_model", "python", "revision", "measured_at", "load_before"), "x")
    return report.to_json({**facts, "uncommitted_changes": False})


def test_related_groups_share_a_table_and_each_figure_shows_its_target() -> None:
    report = Report("drain", "Draining")
    for way, cost in (("one workflow each", 15.0), ("in batches", 0.5)):
        report.add("CPU of temporal", cost, "ms", group=f"{COSTS}{way}")
        report.add("commits", 1, "", group=f"{COSTS}{way}")
    report.add("p50", 20, "ms", group="idle")
    report.add("p50", 30, "ms", group="busy")
    report.add("sms", 50, "/s", group="drained")
    report.add("baseline", 70, "/s", group="drained")
    report.add("against", 50 / 70, "×", at_least(0.85), group="drained", note="in turns")
    text = section(results_of(report))
    assert "| cost per notification | one workflow each | in batches |" in text
    assert "| CPU of temporal, ms | 15 | 0.5 |" in text
    assert "|  | p50, ms |\n|---|--:|\n| idle | 20 |\n| busy | 30 |" in text
    assert "| against | 0.714× ✗ ≥ 0.85 (in turns) |" in text


def test_each_series_and_each_group_of_rates_is_a_plot() -> None:
    report = Report("drain", "Draining")
    report.add("sms", 50, "/s", group="drained")
    report.add("baseline", 70, "/s", group="drained")
    report.series.append(Series("a curve", "s", "n", {"line": [(0, 0), (1, 2)]}))
    curve, bars = plots_of(results_of(report))
    assert (curve.file, bars.file) == ("drain-a-curve.svg", "drain-drained.svg")
    assert isinstance(curve, Lines)
    assert isinstance(bars, Bars)
    assert bars.bars == {"sms": 50, "baseline": 70}


def test_only_the_text_between_markers_is_generated() -> None:
    report = Report("drain", "Draining")
    report.add("sms", 50, "/s", at_least(60), group="drained")
    page = "<!-- figures: drain: begin -->\nold\n<!-- figures: drain: end -->\nprose\n"
    results = {"drain": results_of(report)}
    assert "old" not in written(page, results)
    assert written(page, {}).endswith("<!-- figures: drain: end -->\nprose\n")
    assert "0 of 1 targets are met. Missed:\n\n- **drain, drained**: sms 50 /s" in summary(results)


def test_the_page_matches_the_results() -> None:
    page, results = PAGE.read_text(encoding="utf-8"), read()
    assert page == written(page, results), "stale: make bench-pages"
    blocks = set(re.findall(r"<!-- figures: ([\w-]+): begin -->", page))
    assert blocks == set(TOPICS) - {"comparison"} | {"summary"}
    assert len([line for line in summary(results).splitlines() if line.startswith("| ")]) == 1 + len(
        IMPORTANT
    )
    alternatives = comparison.PAGE.read_text(encoding="utf-8")
    assert comparison.table(results["comparison"]) in alternatives, "stale: make bench-pages"


def test_topics_alternate_between_the_two_sides_in_both_orders() -> None:
    assert turns(2, ["accept", "drain"]) == [
        *(("before", "accept"), ("after", "accept"), ("before", "drain"), ("after", "drain")),
        *(("after", "accept"), ("before", "accept"), ("after", "drain"), ("before", "drain")),
    ]


def test_every_compared_figure_is_in_the_committed_results() -> None:
    missing = [
        compared.label
        for topic, results in read().items()
        for compared in COMPARED.get(topic, ())
        if compared.value(by_label(results)) is None
    ]
    assert missing == []


CHECKOUT = """
import json, pathlib, sys
output = pathlib.Path(sys.argv[sys.argv.index("--output") + 1])
figures = [
    {"group": "closed loop, single", "name": "accepted", "unit": "/s", "value": RATE},
    {"group": "closed loop, single", "name": "server CPU each", "unit": "ms", "value": 100 / RATE},
]
(output / "accept.json").write_text(json.dumps({"figures": figures}))
"""


def test_two_checkouts_are_measured_with_their_own_code_and_compared(tmp_path: Path) -> None:
    for side, rate in (("before", 100), ("after", 200)):
        (tmp_path / side / ".venv" / "bin").mkdir(parents=True)
        (tmp_path / side / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
        (tmp_path / side / "bench").mkdir()
        code = CHECKOUT.replace("RATE", str(rate))
        (tmp_path / side / "bench" / "__main__.py").write_text(code, encoding="utf-8")
    sides = ("--before", str(tmp_path / "before"), "--after", str(tmp_path / "after"))
    output = tmp_path / "compared.json"
    ran = subprocess.run(
        [
            *(sys.executable, "-m", "bench.before_after", *sides, "--repetitions", "2"),
            *("--output", str(output), "accept"),
        ],
        cwd=ROOT,
        check=True,
        capture_output=True,
        text=True,
        timeout=60,
    )
    rows = {row["figure"]: row for row in json.loads(output.read_text(encoding="utf-8"))["figures"]}
    rate, cpu = rows["single requests"], rows["server CPU of a single request"]
    assert (rate["before"], rate["after"], rate["ratio"]) == (100, 200, 2)
    assert (cpu["before"], cpu["after"], cpu["ratio"]) == (1, 0.5, 2)
    assert rate["samples"] == {"before": [100, 100], "after": [200, 200]}
    assert rows["batches of 1,000, in notifications"]["ratio"] is None
    assert "single requests" in ran.stdout
