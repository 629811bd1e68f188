"""Writes the data of `herald capacity` and the tables of docs/capacity.md: `python -m bench.capacity`.

The costs come from bench/results/drain.json and growth.json. Values that they lack stay unchanged.
"""

import json
import re
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench.cost import COSTS
from bench.report import RESULTS, ROOT, shown
from console import capacity
from console.capacity_model import DeliveryPath, Demand, plan

PAGE = ROOT / "docs" / "capacity.md"
DATA = ROOT / "console" / capacity.MEASURED
RATES = (100, 1_000, 10_000)

_GROUPS = {
    DeliveryPath.WORKFLOW: f"{COSTS}one workflow each",
    DeliveryPath.AWAITING: f"{COSTS}one workflow each, awaiting its receipt",
    DeliveryPath.BATCH: f"{COSTS}in batches",
}
_COSTS = {
    "api_cpu_ms": ("CPU of api", "CPU of callbacks"),
    "worker_cpu_ms": ("CPU of worker", "CPU of worker_critical"),
    "temporal_cpu_ms": ("CPU of temporal",),
    "postgres_cpu_ms": ("CPU of postgres",),
    "valkey_cpu_ms": ("CPU of valkey",),
    "statements": ("SQL statements",),
    "commits": ("commits",),
    "wal_bytes": ("WAL",),
    "valkey_commands": ("Valkey commands, including those in scripts",),
    "history_events": ("history events",),
    "state_transitions": ("state transitions",),
    "history_bytes": ("bytes of history",),
}
_BLOCK = re.compile(r"(<!-- (?P<name>\w+): begin -->\n).*?(<!-- (?P=name): end -->\n)", re.DOTALL)


def costs_of(drain: Mapping[str, Any]) -> dict[str, dict[str, float]]:
    """The costs of each way of delivery, from the results of `drain`. Ways without results are missing."""
    groups: dict[str, dict[str, float]] = defaultdict(dict)
    for figure in drain["figures"]:
        groups[figure["group"]][figure["name"]] = figure["value"]
    return {
        way.value: {
            name: sum(groups[group][figure] for figure in figures) for name, figures in _COSTS.items()
        }
        for way, group in _GROUPS.items()
        if group in groups
    }


def kept_of(growth: Mapping[str, Any]) -> dict[str, float]:
    """The bytes that one notification leaves in the ledger, if the results of `growth` have them."""
    names = {"evidence of one": "evidence_bytes", "keys of one": "key_bytes"}
    return {names[figure["name"]]: figure["value"] for figure in growth["figures"] if figure["name"] in names}


def updated(data: Mapping[str, Any], results: Path = RESULTS) -> dict[str, Any]:
    """The data, updated from the results."""
    found = dict(data)
    drain, growth = results / "drain.json", results / "growth.json"
    if drain.exists():
        measured = json.loads(drain.read_text(encoding="utf-8"))
        machine = measured["machine"]
        ways = costs_of(measured)
        found |= {
            "measured_at": machine["measured_at"],
            "machine": f"{machine['cpus']} cores of {machine['cpu_model']}, everything on one machine",
            "revision": machine["revision"],
            "paths": {**data["paths"], **ways},
            "notes": [],
        }
    if growth.exists():
        found["kept"] = {**data["kept"], **kept_of(json.loads(growth.read_text(encoding="utf-8")))}
    return found


def written(page: str) -> str:
    """The page with the tables of `herald capacity`."""
    known = capacity.measured()
    blocks = {"inputs": _inputs(known), "plans": _plans(known)}
    return _BLOCK.sub(lambda block: block[1] + blocks[block["name"]] + block[3], page)


def _inputs(known: capacity.Measured) -> str:
    lines = [
        "| one notification | " + " | ".join(DeliveryPath) + " |",
        "|---" + "|--:" * len(DeliveryPath) + "|",
    ]
    for name in _COSTS:
        values = [getattr(known.costs[way], name) for way in DeliveryPath]
        lines.append(
            f"| {name.replace('_', ' ')} | " + " | ".join(f"{shown(value)}" for value in values) + " |"
        )
    lines += [
        "",
        f"It leaves {known.kept.evidence_bytes:,.0f} bytes of evidence and "
        f"{known.kept.key_bytes:,.0f} bytes of keys in the ledger, indexes included.",
        "",
        f"*{known.machine}; revision {known.revision}, {known.measured_at}.*",
        *(f"*{note[0].upper()}{note[1:]}.*" for note in known.notes),
    ]
    return "\n".join(lines) + "\n"


def _plans(known: capacity.Measured) -> str:
    plans = [plan(Demand(rate), known.costs, known.kept) for rate in RATES]
    heads = ["at the peak", *(f"{rate:,}/s" for rate in RATES), "limit of one"]
    lines = ["| " + " | ".join(heads) + " |", "|---" + "|--:" * (len(heads) - 1) + "|"]
    lines += ["| " + " | ".join(cells) + " |" for cells in capacity.rows(plans)]
    lines += [""] + [f"- **{one.demand.rate_per_s:,.0f}/s**: {capacity.summary(one)}" for one in plans]
    return "\n".join(lines) + "\n"


def main() -> None:
    data = updated(json.loads(DATA.read_text(encoding="utf-8")))
    DATA.write_text(json.dumps(data, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    PAGE.write_text(written(PAGE.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
