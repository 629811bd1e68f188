"""The demo's configuration differs from the shipped one in times only."""

import tomllib
from pathlib import Path
from typing import Any

from devstack.demo import CONFIG, environment
from devstack.scenarios.registry import SCENARIOS
from domain.notification_types import Catalog
from settings import Settings

SHORTENED = {"retry_s", "receipt_deadline_s"}


def types_of(path: Path) -> dict[str, Any]:
    catalog = Catalog.model_validate(tomllib.loads(path.read_text(encoding="utf-8")))
    return {name: type.model_dump() for name, type in catalog.types.items()}


def test_only_times_differ() -> None:
    shipped, shown = types_of(Settings.model_fields["config"].default), types_of(CONFIG)
    assert shipped.keys() == shown.keys()
    for name, type in shipped.items():
        for field, value in type.items():
            other = shown[name][field]
            if field not in SHORTENED:
                assert other == value, f"{name}.{field}"
            elif field == "retry_s":
                assert len(other) == len(value), f"{name}.retry_s"
                assert all(a <= b for a, b in zip(other, value, strict=True)), f"{name}.retry_s"
            else:
                assert (other is None) == (value is None), f"{name}.{field}"


def test_scenarios_are_numbered_in_order() -> None:
    assert [scenario.number for scenario in SCENARIOS] == list(range(1, len(SCENARIOS) + 1))


def test_settings_of_a_real_installation_do_not_reach_the_demo(monkeypatch: Any) -> None:
    monkeypatch.setenv("HERALD_DATABASE_URL", "postgresql://somewhere/real")
    monkeypatch.setenv("HERALD_PROVIDERS__TWILIO__AUTH_TOKEN", "real")
    given = environment()
    assert [name for name in given if name.startswith("HERALD_")] == ["HERALD_CONFIG"]
    assert Path(given["HERALD_CONFIG"]) == CONFIG
