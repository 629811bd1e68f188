"""`herald capacity` needs no installation, names what saturates first, and matches docs/capacity.md."""

import re
from collections.abc import Mapping

import pytest
from console_case import ROOT, Herald

from bench import capacity as page
from bench.cost import COSTS
from console.capacity_model import DeliveryPath


@pytest.fixture
def alone(bare: Mapping[str, str]) -> Herald:
    """The command where nothing runs and nothing is set."""
    return Herald(bare)


async def test_a_table_with_a_column_for_each_rate(alone: Herald) -> None:
    ran = await alone("capacity", "--rate", "100", "--rate", "5000")
    assert ran.code == 0, ran.err
    assert re.search(r"at the peak +100/s +5,000/s +limit of one", ran.out)
    for part in ("history shards", "worker processes", "ledger: WAL", "Valkey: memory", "connections"):
        assert part in ran.out
    assert len(re.findall(r"it saturates first, at [\d,]+/s\. Lever: ", ran.out)) == 2


async def test_other_numbers_give_other_plans(alone: Herald) -> None:
    mixed, batched = [
        (await alone("capacity", "--rate", "1000", "--batches", share, "--json")).json["plans"][0]
        for share in ("0.5", "1")
    ]
    assert mixed["demand"]["batch_share"] == 0.5
    assert batched["saturates_at_per_s"] > mixed["saturates_at_per_s"]
    assert mixed["peak_per_s"].keys() == {way.value for way in DeliveryPath}
    used = {need["name"]: need["used"] for need in mixed["needs"] if need["used"] is not None}
    assert mixed["saturates_first"] == max(used, key=lambda name: used[name])


async def test_a_share_that_is_none_is_refused(alone: Herald) -> None:
    ran = await alone("capacity", "--rate", "100", "--batches", "80")
    assert (ran.code, "a share is between 0 and 1" in ran.err) == (1, True)


def test_the_page_has_the_tables_that_the_command_calculates() -> None:
    text = (ROOT / "docs" / "capacity.md").read_text(encoding="utf-8")
    assert page.written(text) == text, "docs/capacity.md is stale: .venv/bin/python -m bench.capacity"


def test_costs_are_taken_from_what_was_measured() -> None:
    names = [figure for figures in page._COSTS.values() for figure in figures]
    source = (ROOT / "bench" / "cost.py").read_text(encoding="utf-8")
    assert [name for name in names if name not in source and not name.startswith("CPU of ")] == []
    drain = {
        "figures": [
            {"group": f"{COSTS}in batches", "name": name, "value": float(place)}
            for place, name in enumerate(names)
        ]
    }
    (way, costs), *others = page.costs_of(drain).items()
    assert (way, others) == ("batch", [])
    assert costs["api_cpu_ms"] == 0 + 1
    assert costs["worker_cpu_ms"] == 2 + 3
    assert costs["history_bytes"] == len(names) - 1
