"""The chain of the audit log: whatever is changed, added, removed or moved is found at its first entry."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from domain.audit import (
    GENESIS,
    Action,
    AuditEntry,
    ChainBroken,
    ChainCheck,
    Origin,
    StoredEntry,
    chain_key,
    linked,
)

KEY = chain_key("secret")
NOW = datetime(2031, 5, 6, 7, 8, 9, 123456, UTC)
ORIGIN = Origin("key:1a2b3c4d", "till", "bank", "asked by phone", "request-1")


def entry(number: int) -> AuditEntry:
    return ORIGIN.entry(Action.PROVIDER_DRAIN, f"provider-{number}", {"status": "active"}, {"count": number})


def chain(length: int = 6) -> list[StoredEntry]:
    """A log that was written in transactions of one entry."""
    stored: list[StoredEntry] = []
    for number in range(length):
        previous = stored[-1].hash if stored else GENESIS
        stored += linked(KEY, [entry(number)], number, previous, NOW + timedelta(seconds=number))
    return stored


def check(entries: Sequence[StoredEntry], expected: bytes | None = None, key: bytes = KEY) -> ChainCheck:
    checked = ChainCheck(key, expected)
    for one in entries:
        checked.take(one)
    checked.finish()
    return checked


def test_a_chain_is_whole_however_its_entries_were_grouped() -> None:
    check(chain())
    together = linked(KEY, [entry(number) for number in range(6)], 0, GENESIS, NOW)
    checked = check(together, expected=together[2].hash)
    assert (checked.last, checked.expected_at) == (together[-1], 3)
    assert check([]).last is None


CHANGED: dict[str, Callable[[StoredEntry], StoredEntry]] = {
    "at": lambda e: replace(e, at=e.at + timedelta(microseconds=1)),
    "actor": lambda e: replace(e, origin=replace(e.origin, actor="key:00000000")),
    "name": lambda e: replace(e, origin=replace(e.origin, name="")),
    "tenant": lambda e: replace(e, origin=replace(e.origin, tenant=None)),
    "reason": lambda e: replace(e, origin=replace(e.origin, reason=None)),
    "request id": lambda e: replace(e, origin=replace(e.origin, request_id="")),
    "action": lambda e: replace(e, action=Action.PROVIDER_ACTIVATE),
    "subject": lambda e: replace(e, subject="other"),
    "before": lambda e: replace(e, before=None),
    "after": lambda e: replace(e, after={"count": -1}),
    "previous": lambda e: replace(e, previous=GENESIS),
    "hash": lambda e: replace(e, hash=GENESIS),
    # Neighbouring fields are distinguished.
    "subject and action": lambda e: replace(e, action=e.action + e.subject, subject=""),
}


@pytest.mark.parametrize("field", CHANGED)
def test_a_changed_field_is_found(field: str) -> None:
    entries = chain()
    entries[3] = CHANGED[field](entries[3])
    with pytest.raises(ChainBroken, match="entry 4 was changed") as broken:
        check(entries)
    assert broken.value.sequence == 4


@pytest.mark.parametrize(
    ("changed", "message", "first"),
    [
        (lambda e: e[1:], "entry 1 is missing", 1),
        (lambda e: e[:2] + e[4:], "entries 3 to 4 are missing", 3),
        (lambda e: [*e[:2], e[3], e[2], *e[4:]], "entry 3 is missing", 3),
        (lambda e: [*e[:3], e[2], *e[3:]], "entry 3 was not written by this installation", 3),
        (lambda e: [replace(e[0], sequence=0), *e], "entry 0 was not written by this installation", 0),
        (lambda e: [replace(e[0], sequence=-7), *e], "entry -7 was not written by this installation", -7),
        (lambda e: [replace(e[0], sequence=0)], "entry 0 was not written by this installation", 0),
        (lambda e: [*e, replace(e[0], sequence=2**63 - 1)], f"entries 7 to {2**63 - 2} are missing", 7),
        # Two entries have exchanged their numbers.
        (
            lambda e: [*e[:2], replace(e[3], sequence=3), replace(e[2], sequence=4), *e[4:]],
            "entry 3 was changed",
            3,
        ),
    ],
)
def test_what_is_missing_or_moved_is_found(
    changed: Callable[[list[StoredEntry]], list[StoredEntry]], message: str, first: int
) -> None:
    with pytest.raises(ChainBroken, match=message) as broken:
        check(changed(chain()))
    assert broken.value.sequence == first


def test_an_entry_that_was_replaced_with_the_key_breaks_what_follows() -> None:
    entries = chain()
    (forged,) = linked(KEY, [entry(99)], 2, entries[1].hash, NOW)
    with pytest.raises(ChainBroken, match="entry 4 does not follow entry 3") as broken:
        check([*entries[:2], forged, *entries[3:]])
    assert broken.value.sequence == 4


def test_entries_made_without_the_key_are_found() -> None:
    entries = chain()
    forged = linked(chain_key("guess"), [entry(99)], 6, entries[-1].hash, NOW)
    with pytest.raises(ChainBroken, match="entry 7 was changed, or was not written by this installation"):
        check([*entries, *forged])


def test_a_removed_end_is_found_by_a_hash_that_was_seen() -> None:
    entries = chain()
    check(entries[:4])
    with pytest.raises(ChainBroken, match="was removed, with all that followed it") as broken:
        check(entries[:4], expected=entries[-1].hash)
    assert broken.value.sequence == 5
    with pytest.raises(ChainBroken, match="was removed, with all that followed it"):
        check([], expected=entries[0].hash)


values = st.one_of(
    *(st.integers(), st.text(), st.booleans(), st.none()),
    *(st.lists(st.text()), st.dictionaries(st.text(), st.text())),
)


@given(st.dictionaries(st.text(), values), st.dictionaries(st.text(), values))
def test_different_details_have_different_hashes(one: dict[str, object], other: dict[str, object]) -> None:
    first, second = (
        linked(KEY, [ORIGIN.entry(Action.KEY_CREATE, "k", after=after)], 0, GENESIS, NOW)[0].hash  # pyright: ignore[reportArgumentType] (any JSON)
        for after in (one, other)
    )
    # True and 1 are equal in Python, and differ in JSON.
    assert (first == second) == (repr(sorted(one.items())) == repr(sorted(other.items())))


def test_a_timeline_names_the_key() -> None:
    assert ORIGIN.by == "key:1a2b3c4d (till)"
    assert replace(ORIGIN, name="").by == "key:1a2b3c4d"
