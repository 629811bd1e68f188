"""A provider is nine files: a missing one is named."""

import json
import re
from collections.abc import Iterator

import pytest
from repository import ROOT

from providers import matrix, registry
from providers.settings import ProviderSettings
from simulators import server

NAME = re.compile(r'^    name: ClassVar\[str\] = "(\w+)"$', re.MULTILINE)


def channels() -> dict[str, str]:
    """Every provider that one of the files mentions, with its channel, or `CHANNEL` if it is unknown."""
    found = dict.fromkeys([*ProviderSettings.model_fields, *(vendor.name for vendor in server.vendors())])
    found |= dict.fromkeys(path.stem for path in ROOT.glob("docs/providers/*.md") if path.stem != "README")
    for path in ROOT.glob("tests/providers/*/*_case.py"):
        found[path.stem.removesuffix("_case")] = path.parent.name
    for path in ROOT.glob("providers/*/*.py"):
        if name := NAME.search(path.read_text(encoding="utf-8")):
            found[name[1]] = path.parent.name
    found |= {name: channel.value for name, channel in registry.KNOWN.items()}
    return {name: channel or "CHANNEL" for name, channel in found.items()}


def missing(name: str, channel: str) -> Iterator[str]:
    """What a provider still needs, each with its file."""
    for file in (
        f"providers/{channel}/{name}.py",
        f"simulators/{name}.py",
        f"tests/providers/{channel}/{name}_case.py",
        f"tests/providers/{channel}/cases/{name}.json",
        f"docs/providers/{name}.md",
    ):
        if not (ROOT / file).is_file():
            yield f"add {file}"
    if name not in registry.KNOWN:
        yield f"add {name} to VENDORS in providers/registry.py"
    if name not in ProviderSettings.model_fields:
        yield f"add {name} to ProviderSettings in providers/settings.py"
    if name not in {vendor.name for vendor in server.vendors()}:
        yield f'define a Simulator with name = "{name}" in simulators/{name}.py'
    if f"[{name}]({name}.md)" not in matrix.PAGE.read_text(encoding="utf-8"):
        yield "run `make docs`, which writes the table of docs/providers/README.md"
    page = ROOT / "docs" / "providers" / f"{name}.md"
    # A page's heading is `# TITLE (CHANNEL)`.
    title = page.read_text(encoding="utf-8").partition(" (")[0].removeprefix("# ") if page.is_file() else ""
    if title not in (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"):
        yield f"name {title} in CHANGELOG.md"


@pytest.mark.parametrize(("name", "channel"), channels().items(), ids=lambda value: str(value))
def test_a_provider_has_all_its_parts(name: str, channel: str) -> None:
    lacking = "; ".join(missing(name, channel))
    assert not lacking, f"{name}: {lacking}"


@pytest.mark.parametrize(("name", "channel"), registry.KNOWN.items())
def test_a_provider_has_recorded_answers(name: str, channel: str) -> None:
    cases = ROOT / "tests" / "providers" / channel / "cases" / f"{name}.json"
    assert json.loads(cases.read_text(encoding="utf-8"))
