"""`make conformance`: checks every adapter and simulator against the vendor's published OpenAPI document."""

import asyncio
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from unittest import mock

import prism
from amendments import amended
from drives import DRIVES, Drive
from vendor_drive import SendNotAccepted, VendorDrive
from witness import Side, Witness, standing

from domain.notification_types import Catalog
from providers import registry
from providers.base import Provider
from settings import Settings
from simulators.base import SimulatorContext
from simulators.faults import CallbackPlan, Mode
from simulators.server import Running, serve

DEFAULT_SPECS = "../shared/specs"
HEAD = """\
                   requests  violations  violations   status not
vendor              checked    by ours   by the sim.   described
"""

OTP = {"template": "otp_code", "parameters": [{"match": r"\d{4,8}"}], "copy_code": True}
DEBIT = {"template": "debit_alert", "parameters": [{"field": "title"}, {}]}
TYPES = {
    "otp": {"whatsapp": OTP},
    "debit_alert": {"whatsapp": DEBIT},
    "hello": {"whatsapp": {"template": "hello_world"}},
    "unknown": {"whatsapp": {"template": "not_approved"}},
}


@dataclass(frozen=True, slots=True)
class Driven:
    """The results of one vendor's drive."""

    witness: Witness
    surprises: Sequence[str]


def adapter(drive: Drive, running: Running, **changed: str) -> Provider:
    """The vendor's adapter, built from its settings with `changed` applied."""
    prefix = f"HERALD_PROVIDERS__{drive.vendor.upper()}__"
    variables = running.simulators[drive.vendor].settings(running.url)
    variables |= {prefix + name: value for name, value in changed.items()}
    with mock.patch.dict(os.environ, {"HERALD_SECRET_KEY": "conformance", **variables}, clear=True):
        settings = Settings().providers  # pyright: ignore[reportCallIssue] (the environment fills it)
    catalog = Catalog.model_validate({"types": TYPES})
    return registry.build(settings, catalog, "https://herald.example")[drive.vendor]


async def driven(drive: Drive, documents: Mapping[str, Path], running: Running, logs: Path) -> Driven:
    """Drive one vendor to the end, behind a proxy for each of its documents."""
    simulator = running.simulators[drive.vendor]
    simulator.plans.put(CallbackPlan(mode=Mode.HELD))
    upstream = f"{running.url}/{drive.vendor}"
    async with AsyncExitStack() as stack:
        proxies = {
            path: await stack.enter_async_context(prism.proxy(document, upstream, logs))
            for path, document in documents.items()
        }
        witness = await stack.enter_async_context(standing(Witness(proxies)))
        provider = adapter(drive, running, BASE_URL=witness.url)
        stranger = adapter(drive, running, BASE_URL=witness.url, **{drive.credential: "not.ours"})
        for one in (provider, stranger):
            stack.push_async_callback(one.aclose)
        vendor = VendorDrive(provider, stranger, simulator)
        with suppress(SendNotAccepted):
            await drive.run(vendor)
        return Driven(witness, vendor.surprises)


def report(vendor: str, amendments: Sequence[str], driven: Driven) -> bool:
    """Print one vendor's findings; return whether there were no violations and surprises."""
    witness, sides = driven.witness, Counter(one.side for one in driven.witness.violations)
    row = (witness.checked, sides[Side.OURS], sides[Side.SIMULATORS], witness.undescribed)
    print(f"{vendor:<15}" + "".join(f"{figure:>12}" for figure in row))
    for amendment in amendments:
        print(f"    {amendment}")
    seen = Counter((one.side, one.location, one.message) for one in witness.violations)
    for (side, location, message), times in seen.items():
        print(f"    {side}, {times} times: {location}: {message}")
    for surprise in driven.surprises:
        print(f"    {surprise}")
    return not witness.violations and not driven.surprises


async def main(specs: Path) -> int:
    """Drive every vendor that publishes a document; 0 if nothing is violated."""
    print(HEAD, end="")
    whole = True
    with tempfile.TemporaryDirectory(prefix="herald-conformance-") as directory:
        place = Path(directory)
        async with serve(SimulatorContext("http://127.0.0.1:9", place / "simulators")) as running:
            for drive in DRIVES:
                amendments: list[str] = []
                documents: dict[str, Path] = {}
                for path, name in drive.documents.items():
                    documents[path], lines = amended(specs / name, place)
                    amendments += lines
                whole &= report(drive.vendor, amendments, await driven(drive, documents, running, place))
    return 0 if whole else 1


if __name__ == "__main__":
    # Absolute: Prism runs in another directory.
    place = Path(os.environ.get("HERALD_SPECS", DEFAULT_SPECS)).resolve()
    if not place.is_dir():
        sys.exit(print(f"No vendor's documents at {place}: nothing was checked (set HERALD_SPECS)."))
    sys.exit(asyncio.run(main(place)))
