"""One finding of `herald doctor`."""

from dataclasses import dataclass
from enum import StrEnum


class Level(StrEnum):
    """How bad a finding is. Only an error makes `herald doctor` exit with 1."""

    OK = "ok"
    WARNING = "warning"
    ERROR = "error"


@dataclass(frozen=True, slots=True)
class Finding:
    """What was found about a part of the installation, and what to do next. Never a secret."""

    level: Level
    about: str
    text: str
    to_do: str = ""


def ok(about: str, text: str) -> Finding:
    """Something that is as it should be."""
    return Finding(Level.OK, about, text)


def warning(about: str, text: str, to_do: str) -> Finding:
    """Something that works, and should be changed."""
    return Finding(Level.WARNING, about, text, to_do)


def error(about: str, text: str, to_do: str) -> Finding:
    """Something that does not work, or that stops the start."""
    return Finding(Level.ERROR, about, text, to_do)
