"""The files of statements: named and described blocks, parsed strictly."""

from pathlib import Path

import pytest

from storage.statements import StatementError, call, collect, parse, statement

ONE = "-- name: count_parked\n-- How many wait\n-- for an operator.\nSELECT 1\n  -- why\n\n"


def test_a_block_is_a_name_a_description_and_sql() -> None:
    first, second = parse(ONE + ONE.replace("count_parked", "other"), "a.sql")
    assert (first.name, second.name) == ("count_parked", "other")
    assert first.description == "How many wait for an operator."
    assert first.text == "SELECT 1\n  -- why"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("SELECT 1\n", "must begin with"),
        ("-- A comment.\n" + ONE, "must begin with"),
        ("-- name: Count\n-- It counts.\nSELECT 1\n", "names no statement"),
        ("-- name: count parked\n-- It counts.\nSELECT 1\n", "names no statement"),
        ("-- name: count_parked\nSELECT 1\n", "count_parked has no description"),
        ("-- name: count_parked\n-- It counts.\n", "count_parked has no SQL"),
    ],
)
def test_a_malformed_file_is_refused(text: str, message: str) -> None:
    with pytest.raises(StatementError, match=message):
        parse(text, "a.sql")


def test_a_name_used_twice_is_refused(tmp_path: Path) -> None:
    for name in ("a.sql", "b.sql"):
        (tmp_path / name).write_text(ONE)
    with pytest.raises(StatementError, match=r"b\.sql: there are two statements called count_parked"):
        collect(tmp_path.glob("*.sql"))


def test_an_unknown_name_is_refused() -> None:
    with pytest.raises(StatementError, match="no statement called nothing"):
        statement("nothing")
    with pytest.raises(StatementError, match="no nothing_v1"):
        call("nothing_v1")
