"""Postgres derives a notification's status by max(status), domain/status.py by the order of Status."""

import itertools

from domain.status import Status, derive
from storage.postgres import Pool


async def test_the_enum_of_postgres_lists_the_same_statuses_in_the_same_order(pool: Pool) -> None:
    labels = await pool.fetchval("SELECT enum_range(NULL::status)::text[]")
    assert labels == [status.value for status in Status]


async def test_postgres_and_the_domain_derive_the_same_status(pool: Pool) -> None:
    combinations = [
        statuses for size in (1, 2, 3) for statuses in itertools.combinations_with_replacement(Status, size)
    ]
    derived = await pool.fetch(
        "SELECT (SELECT max(word::status) FROM unnest(string_to_array(line, ',')) word)::text AS status"
        " FROM unnest($1::text[]) WITH ORDINALITY AS t (line, position) ORDER BY position",
        [",".join(statuses) for statuses in combinations],
    )
    assert [row["status"] for row in derived] == [derive(statuses).value for statuses in combinations]
