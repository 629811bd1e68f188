"""Certificates, and settings that name them."""

from pathlib import Path

import pytest
from authority import Certificates, Load

from settings import StoreSettings, load_stores


@pytest.fixture(scope="session")
def certificates(server_dir: Path) -> Certificates:
    return Certificates.make(server_dir / "certificates")


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch) -> Load:
    """The stores' settings, from these variables (without `HERALD_`) alone."""

    def read(**variables: object) -> StoreSettings:
        for name, value in variables.items():
            monkeypatch.setenv(f"HERALD_{name}", str(value))
        return load_stores()

    return read
