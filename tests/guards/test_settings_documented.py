"""docs/configuration.md and the providers' pages list every setting, and only settings."""

import re
from typing import get_args

import pytest
from pydantic import BaseModel
from repository import ROOT, files, name, variables

import settings
from configuration.environment import secret_variables
from domain.notification_types import Catalog

PAGE = ROOT / "docs" / "configuration.md"
ENVIRONMENT = (
    settings.Settings,
    settings.StoreSettings,
    settings.ClientSettings,
    settings.IdentitySettings,
)
SETTINGS = {variable for model in ENVIRONMENT for variable in variables(model)}


def keys(model: type[BaseModel], prefix: str = "") -> set[str]:
    """The keys of herald.toml; `*` stands for a name that the author chooses."""
    found: set[str] = set()
    for field_name, field in model.model_fields.items():
        inner = [kind for kind in _parts(field.annotation) if issubclass(kind, BaseModel)]
        found |= keys(inner[0], f"{prefix}{field_name}.") if inner else {f"{prefix}{field_name}"}
    return found


def test_every_settings_model_is_checked() -> None:
    models = {kind for kind in vars(settings).values() if isinstance(kind, type)}
    environment = {m for m in models if issubclass(m, settings.BaseSettings)} - {settings.BaseSettings}
    assert {v for model in environment for v in variables(model)} == SETTINGS


def test_every_setting_is_documented() -> None:
    pages = (PAGE, *(PAGE.parent / "providers").glob("*.md"))
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    assert {v for v in SETTINGS if not re.search(rf"`{v}`|\b{v}\b", text)} == set()


def test_every_row_has_a_description() -> None:
    """A setting or key whose row has no text is not documented."""
    pages = (PAGE, *(PAGE.parent / "providers").glob("*.md"))
    rows = [
        (name(page), cells)
        for page in pages
        for line in page.read_text(encoding="utf-8").splitlines()
        if len(cells := [cell.strip() for cell in line.strip("|").split("|")]) == 3 and line.startswith("| `")
    ]
    assert len(rows) > len(SETTINGS)
    assert [f"{page}: {cells[0]}" for page, cells in rows if not cells[2]] == []


def test_every_key_of_the_catalog_is_documented() -> None:
    text = PAGE.read_text(encoding="utf-8")
    assert {key for key in keys(Catalog) if f"`{key.rpartition('.')[2]}`" not in text} == set()


@pytest.mark.parametrize(
    "page", [p for p in files(".md", ".yml", ".toml", ".sh", "") if p.name != "LICENSE"], ids=name
)
def test_no_page_names_an_unknown_setting(page) -> None:
    text = page.read_text(encoding="utf-8")
    spoken = set(re.findall(r"\bHERALD_[A-Z][A-Z0-9_]*[A-Z0-9]\b(?![_{*…])", text))
    # One for each country: providers.settings.RouteSettings.sms_by.
    spoken = {v for v in spoken if not re.fullmatch(r"HERALD_ROUTES__SMS__([A-Z]{2}|\d+)", v)}
    # A secret may be in a file.
    secrets = {name for model in ENVIRONMENT for name in secret_variables(model)}
    spoken -= {f"{name}_FILE" for name in secrets}
    # Variables of Make and of Compose.
    others = {"HERALD_PROVIDERS", "HERALD_SPECS", "HERALD_VERSION"}
    known = SETTINGS | {v.rpartition("__")[0] for v in SETTINGS} | others
    assert spoken - known == set()


def _parts(annotation: object) -> list[type]:
    found = [annotation] if isinstance(annotation, type) and not get_args(annotation) else []
    for argument in get_args(annotation):
        found += _parts(argument)
    return found
