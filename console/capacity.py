"""What a rate of notifications needs: sizes for every part, what saturates first, and the lever for it."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from importlib import resources
from typing import Annotated, Any

import typer

from console.capacity_model import CapacityPlan, Cost, DeliveryPath, Demand, Kept, Need, plan
from console.errors import CommandError

MEASURED = "measured.json"
"""Beside this file; `python -m bench.capacity` writes it from the benchmarks' results."""

_DEFAULT = Demand(rate_per_s=1)


@dataclass(frozen=True, slots=True)
class Measured:
    """What the benchmarks found: the costs, on what, and what must be known to read them."""

    costs: Mapping[DeliveryPath, Cost]
    kept: Kept
    machine: str
    revision: str
    measured_at: str
    notes: Sequence[str]


def measured() -> Measured:
    """The costs that came with this version."""
    found = json.loads(resources.files("console").joinpath(MEASURED).read_text(encoding="utf-8"))
    return Measured(
        {DeliveryPath(name): Cost(**cost) for name, cost in found["paths"].items()},
        Kept(**found["kept"]),
        *(found[name] for name in ("machine", "revision", "measured_at", "notes")),
    )


def capacity(
    rate: Annotated[
        list[float], typer.Option(help="Notifications a second in the busy hours; repeat it to compare.")
    ],
    batches: Annotated[float, typer.Option(help="Share sent in batches, 0 to 1.")] = _DEFAULT.batch_share,
    awaiting: Annotated[
        float, typer.Option(help="Of the others, the share whose workflow waits for the receipt.")
    ] = _DEFAULT.awaiting_share,
    peak: Annotated[float, typer.Option(help="Peak rate as a multiple of the rate.")] = _DEFAULT.peak,
    busy_hours: Annotated[float, typer.Option(help="Hours a day at that rate.")] = _DEFAULT.busy_hours,
    keep_months: Annotated[int, typer.Option(help="Same as in `[retention]`.", min=1)] = _DEFAULT.keep_months,
    idempotency_months: Annotated[
        int, typer.Option(help="Same as in `[retention]`.", min=1)
    ] = _DEFAULT.idempotency_months,
    as_json: Annotated[bool, typer.Option("--json", help="Print the plans for other programs.")] = False,
) -> None:
    """Compute what a rate needs from measured costs, and what saturates first.

    What is measured, assumed and extrapolated is listed in docs/capacity.md.
    """
    from console import terminal

    known = measured()
    try:
        plans = [
            plan(
                Demand(
                    per_s,
                    batches,
                    awaiting,
                    peak,
                    busy_hours,
                    keep_months=keep_months,
                    idempotency_months=idempotency_months,
                ),
                known.costs,
                known.kept,
            )
            for per_s in rate
        ]
    except ValueError as error:
        raise CommandError(f"{error}.") from None
    if as_json:
        terminal.say_json({"measured": _origin(known), "plans": [document(one) for one in plans]})
        return
    made = terminal.table(
        "at the peak", *(f"{one.demand.rate_per_s:,.10g}/s" for one in plans), "limit of one"
    )
    for cells in rows(plans):
        terminal.row(made, cells)
    terminal.say(made, "")
    for one in plans:
        terminal.say(f"{one.demand.rate_per_s:,.10g}/s: {summary(one)}")
    terminal.say("", f"From costs of {known.measured_at} ({known.machine}, revision {known.revision}).")
    for note in known.notes:
        terminal.say(f"{note[0].upper()}{note[1:]}.")


def rows(plans: Sequence[CapacityPlan]) -> list[list[str]]:
    """A line for each need: its name, how much of it for each plan, and what one unit can give."""
    lines: list[list[str]] = []
    for needs in zip(*(one.needs for one in plans), strict=True):
        limit = needs[0].limit
        lines.append(
            [
                needs[0].name,
                *(_amount(need) for need in needs),
                f"{_shown(limit)} {needs[0].unit}".strip() if limit else "",
            ]
        )
    return lines


def summary(one: CapacityPlan) -> str:
    """What saturates first, when, and what to do about it."""
    name, share = one.first.name.replace(":", ""), one.first.used or 0
    reached = "above the limit of one instance" if share > 1 else f"{share:.0%} of the limit"
    return (
        f"{name}: {reached}; it saturates first, at {_shown(one.saturates_at_per_s)}/s. "
        f"Lever: {one.first.lever}."
    )


def document(one: CapacityPlan) -> dict[str, Any]:
    """A plan for other programs."""
    return {
        "demand": asdict(one.demand),
        "peak_per_s": {way.value: rate for way, rate in one.per_s.items()},
        "needs": [{**asdict(need), "used": need.used} for need in one.needs],
        "saturates_first": one.first.name,
        "saturates_at_per_s": one.saturates_at_per_s,
        "lever": one.first.lever,
    }


def _origin(known: Measured) -> dict[str, Any]:
    return {
        "machine": known.machine,
        "revision": known.revision,
        "measured_at": known.measured_at,
        "notes": list(known.notes),
    }


def _amount(need: Need) -> str:
    marked = " (!)" if (need.used or 0) > 1 else ""
    return f"{_shown(need.amount)} {need.unit}".strip() + marked


def _shown(value: float) -> str:
    """Two significant digits, thousands separated: more would promise more than is known."""
    if value == 0:
        return "0"
    if value >= 100 and float(value).is_integer() and int(value) & (int(value) - 1) == 0:
        return f"{value:,.0f}"
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"
