"""Plain English: idioms of this house that its readers do not share. Widen CLEAN as texts become clean."""

import re
from pathlib import Path

from repository import ROOT, files, name

CLEAN = (
    *("api/*.py", "docs/broadcasts.md"),
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md"),
    *("docs/api.md", "docs/architecture.md", "docs/capacity.md", "docs/deployment.md", "docs/glossary.md"),
    *("docs/incidents.md", "docs/metrics.md", "docs/testing.md"),
    *(
        *("activities/*.py", "delivery/*.py", "dispatcher/*.py", "domain/*.py", "runtime/*.py"),
        *("temporal/*.py", "wiring/*.py", "workflows/*.py", "worker.py", "telemetry/*.py"),
        *("tests/activities/*.py", "tests/delivery/*.py", "tests/delivery_*.py"),
        *("tests/dispatcher/*.py", "tests/domain/*.py", "tests/workflows/*.py"),
        *("cli.py", "console/[d-or-t]*.py", "devstack/[!p]*.py", "devstack/p[!r]*.py"),
        *("devstack/scenarios/*.py", "devstack/demo.toml", "ratelimit/*", "deploy/*/*"),
        *("docker-compose.yml", "Makefile", "herald.toml"),
        "tests/guards/test_[acnu]*.py",
        "tests/guards/uses.py",
        "tests/console/*.py",
        "tests/devstack/*.py",
        "tests/ratelimit/*.py",
        "tests/scenarios/*.py",
        "tests/telemetry/*.py",
    ),
)
"""Globs of what is clean already."""

IDIOMS = {
    r"so (?:many|few|long|often|much)": "a number: at most N, for N seconds",
    r"anew": "again",
    r"(?:is|are|was|were|be|been) told": "says, knows, is notified",
    r"tells?": "says, reports, shows; tell apart: distinguish",
    r"of (?:its|their|his|her|our|your) own": "its own …, a separate …, or leave it out",
    r"(?:is|are|was|were) (?-i:none)": "there is no …, is not a …",
    r"(?:comes?|came) to (?:a|an|the|nothing|what)": "results in, ends as",
    r"takes? (?:it|them)? ?in vain": "accepts and does not deliver",
    r"(?:was|were|is|are) taken in": "was accepted",
    r"amiss": "wrong",
    r"let go of": "removed, released",
    r"by itself alone": "alone",
    r"the people on duty": "the operators",
    r"hurry": "bring forward",
    r"whoever": "anyone who, a client that",
    r"nobody can tell": "it is unknown",
}
"""What is not written, and what to write instead."""

PATTERN = re.compile("|".join(rf"\b{idiom}\b" for idiom in IDIOMS), re.IGNORECASE)


def clean() -> set[Path]:
    """The files under CLEAN that are committed, but this one: it names what it looks for."""
    listed = {path for glob in CLEAN for path in ROOT.glob(glob)}
    return listed & set(files()) - {Path(__file__)}


def test_texts_are_in_plain_english() -> None:
    found = [
        f"{name(path)}:{number}: {match[0]!r} in {line.strip()}"
        for path in sorted(clean())
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1)
        for match in PATTERN.finditer(line)
    ]
    assert found == []


def test_every_clean_place_is_there() -> None:
    assert [glob for glob in CLEAN if not list(ROOT.glob(glob))] == []
