"""Commit subjects: short, and in the imperative. Those before BASE are exempt."""

import re
import subprocess

import pytest
from repository import ROOT

BASE = "54b2efee0d60e09e01ce1cc1866342014255ad8c"
CHARS_MAX = 72
VERBS = frozenset(
    {
        *(
            "Address",
            "Bypass",
            "Compress",
            "Discuss",
            "Dismiss",
            "Express",
            "Focus",
            "Pass",
            "Press",
            "Process",
        ),
        *("Bring", "Embed", "Exceed", "Feed", "Need", "Seed", "Shed", "Speed", "Spring", "String"),
    }
)
"""Verbs that end like other forms."""
NO_VERB = re.compile(
    r"(?:A|An|The|One|Two|No|Not|Nothing|All|Any|Both|Each|Every|Everything|How|Why|What|Which|Who|When|Where"
    r"|It|Its|This|That|These|Those|There|Their|Our|We|I|In|On|At|By|For|From|Of|With|Without|To|New|More)\b"
)


def faults(subject: str) -> list[str]:
    """What is wrong with a subject."""
    first = re.split(r"\W", subject, maxsplit=1)[0]
    return [
        fault
        for fault, found in {
            f"longer than {CHARS_MAX} characters": len(subject) > CHARS_MAX,
            "ends with a full stop": subject.endswith("."),
            "does not begin with a capital letter": not first[:1].isupper(),
            "does not begin with a verb in the imperative": first not in VERBS
            and (NO_VERB.match(subject) or re.search(r"(?:ed|ing|s)$", first)),
        }.items()
        if found
    ]


def subjects() -> list[str]:
    """The subjects since BASE; empty without the history."""
    known = subprocess.run(["git", "cat-file", "-e", BASE], cwd=ROOT, check=False, capture_output=True)
    if known.returncode:
        return []
    command = ["git", "log", "--format=%s", f"{BASE}..HEAD"]
    return subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout.splitlines()


def test_subjects_are_short_and_imperative() -> None:
    assert {subject: wrong for subject in subjects() if (wrong := faults(subject))} == {}


@pytest.mark.parametrize(
    "subject",
    [
        "Added a guard",
        "Adds a guard",
        "Adding a guard",
        "A guard against long subjects",
        "Both runs of the drain are shown",
        "add a guard",
        "Add a guard.",
        "Add a guard that has a subject which is far longer than anybody will ever read",
    ],
)
def test_a_bad_subject_is_found(subject: str) -> None:
    assert len(faults(subject)) == 1


def test_a_good_subject_is_accepted() -> None:
    for subject in ("Add a guard", "Process receipts in batches", "Embed Valkey", "Merge branch 'guards'"):
        assert faults(subject) == []
