"""The lock files: in step with pyproject.toml and with each other, hashed, and without host names."""

import re
import tomllib
from collections.abc import Sequence

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version
from repository import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
RUN: list[str] = PROJECT["project"]["dependencies"]
EMBEDDED: list[str] = PROJECT["project"]["optional-dependencies"]["embedded"]
BUILD: list[str] = PROJECT["dependency-groups"]["build"]
DEV: list[str] = PROJECT["dependency-groups"]["dev"]

LOCKS = {
    "requirements-prod.lock": RUN,
    "requirements.lock": RUN + EMBEDDED + BUILD,
    "requirements-dev.lock": RUN + EMBEDDED + BUILD + DEV,
}
PIN = re.compile(
    r"^(?P<name>[A-Za-z0-9._-]+)(?:\[[a-z,-]+\])?==(?P<version>[^\s;]+)(?P<marker> ;[^\\]+)? \\$"
)
HASH = re.compile(r"^    --hash=sha256:[0-9a-f]{64}(?: \\)?$")


def lines(lock: str) -> list[str]:
    return (ROOT / lock).read_text(encoding="utf-8").splitlines()


def pins(lock: str) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for line in lines(lock):
        if match := PIN.match(line):
            found.setdefault(canonicalize_name(match["name"]), set()).add(match["version"])
    return found


@pytest.mark.parametrize("lock", LOCKS)
def test_it_holds_only_pins_and_hashes(lock: str) -> None:
    text = lines(lock)
    assert [line for line in text if not PIN.match(line) and not HASH.match(line)] == []
    unhashed = [
        before
        for before, after in zip(text, [*text[1:], ""], strict=True)
        if PIN.match(before) and not HASH.match(after)
    ]
    assert unhashed == []


@pytest.mark.parametrize(("lock", "requirements"), LOCKS.items())
def test_it_satisfies_pyproject(lock: str, requirements: Sequence[str]) -> None:
    pinned = pins(lock)
    unmet = [
        text
        for text in requirements
        if not any(
            Requirement(text).specifier.contains(Version(version), prereleases=True)
            for version in pinned.get(canonicalize_name(Requirement(text).name), ())
        )
    ]
    assert unmet == [], "make lock"


def test_each_lock_holds_the_versions_of_the_one_before() -> None:
    production, run, dev = (pins(lock) for lock in LOCKS)
    assert production.items() <= run.items() <= dev.items(), "make lock"


def test_production_does_not_install_the_embedded_stores() -> None:
    names = {canonicalize_name(Requirement(text).name) for text in EMBEDDED + BUILD}
    assert names & pins("requirements-prod.lock").keys() == set()
