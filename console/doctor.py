"""`herald doctor`: what is missing, weak or wrong in this installation, and what to do about it."""

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from console.doctor_findings import Finding


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print the findings for other programs.")] = False,
) -> None:
    """Check the settings, the files they name, and the stores. Changes nothing.

    Exits 1 if there is an error. It reads the environment only, as the API and the workers do.
    """
    from console import terminal
    from console.doctor_findings import Level

    found = asyncio.run(examine())
    if as_json:
        terminal.say_json([asdict(finding) for finding in found])
    else:
        _print(found)
    raise typer.Exit(1 if any(finding.level is Level.ERROR for finding in found) else 0)


async def examine() -> "Sequence[Finding]":
    """Every finding: about the settings, then about each store."""
    import settings
    from console import doctor_settings, doctor_stores
    from console.doctor_findings import error

    try:
        loaded = settings.load_unchecked()
    except settings.SettingsError as unusable:
        found = [error("settings", line.strip(), "") for line in str(unusable).splitlines()[1:]]
        try:
            stores = settings.load_unchecked_stores()
        except settings.SettingsError:
            return found
    else:
        found, stores = await doctor_settings.examine(loaded), loaded
    return [*found, *await doctor_stores.examine(stores)]


def _print(found: "Sequence[Finding]") -> None:
    from console import terminal

    made = terminal.table("", "about", "finding")
    for finding in found:
        text = f"{finding.text} {finding.to_do}".strip()
        terminal.row(made, (terminal.coloured(finding.level), finding.about, text))
    terminal.say(made)
