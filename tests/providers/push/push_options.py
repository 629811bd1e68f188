"""Adapter arguments from a vendor's settings."""

from pathlib import Path
from typing import Any


def options(settings: dict[str, str]) -> dict[str, Any]:
    """The adapter's arguments: the last part of each variable's name, files as paths."""
    named = {name.rpartition("__")[2].lower(): value for name, value in settings.items()}
    return {name: Path(value) if name.endswith("_file") else value for name, value in named.items()}
