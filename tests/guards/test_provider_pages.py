"""Every provider's page has the same form and its settings; the matrix matches the adapters."""

import re
from pathlib import Path
from typing import get_args

import pytest
from repository import ROOT, variables

from providers import matrix, registry
from providers.settings import ProviderSettings

PAGES = ROOT / "docs" / "providers"
HEADINGS = (
    "Settings",
    "Setup",
    "What it reports",
    "What it does not report",
    "Signatures",
    "Testing",
)


def page_of(provider: str) -> str:
    return (PAGES / f"{provider}.md").read_text(encoding="utf-8")


def section(page: str, heading: str) -> str:
    """The text under a heading, up to the next one."""
    return page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]


def settings_of(provider: str) -> dict[str, bool]:
    """A provider's variables, and whether each must be set once the provider is configured."""
    model, _ = get_args(ProviderSettings.model_fields[provider].annotation)
    return variables(model, f"HERALD_PROVIDERS__{provider.upper()}__")


def test_the_matrix_is_what_the_adapters_declare() -> None:
    page = matrix.PAGE.read_text(encoding="utf-8")
    assert matrix.renewed(page) == page, "make docs"


@pytest.mark.parametrize("provider", registry.KNOWN)
def test_a_page_has_the_common_headings_in_order(provider: str) -> None:
    page = page_of(provider)
    found = [heading for heading in re.findall(r"(?m)^## (.+)$", page) if heading in HEADINGS]
    assert found == list(HEADINGS)
    assert re.match(rf"# .+ \({registry.KNOWN[provider]}\)\n", page, re.IGNORECASE)
    assert [heading for heading in HEADINGS if not section(page, heading).strip()] == []


@pytest.mark.parametrize("provider", registry.KNOWN)
def test_a_page_has_every_setting_of_its_provider_and_no_other(provider: str) -> None:
    rows = re.findall(r"(?m)^\| `(HERALD_\w+)` \| (.*?) ?\| ", section(page_of(provider), "Settings"))
    documented = {variable: default.strip() for variable, default in rows}
    known = settings_of(provider)
    assert documented.keys() == known.keys()
    # A required setting has no default; any other shows its default.
    assert {variable for variable, default in documented.items() if not default} == {
        variable for variable, required in known.items() if required
    }


@pytest.mark.parametrize("provider", registry.KNOWN)
def test_a_page_names_the_simulator_and_how_the_adapter_is_tested(provider: str) -> None:
    testing = section(page_of(provider), "Testing")
    assert f"simulators/{provider}.py" in testing
    assert "pytest tests/providers" in testing


def test_links_between_the_pages_resolve() -> None:
    for path in PAGES.glob("*.md"):
        links = re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", path.read_text(encoding="utf-8"))
        assert [link for link in links if not (path.parent / link).exists()] == [], Path(path).name
