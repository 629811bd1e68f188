"""`herald migrate` as an operator runs it: phases, what would run, and what its errors say."""

from collections.abc import Mapping

import pytest
from console_case import Herald

from storage.postgres import Pool

FUNCTION = "suppression_key_v1"


@pytest.fixture
def run(bare: Mapping[str, str], database: str) -> Herald:
    """Against the module's database; Temporal is away."""
    return Herald({**bare, "HERALD_DATABASE_URL": database, "HERALD_TEMPORAL__ADDRESS": "127.0.0.1:9"})


@pytest.mark.parametrize(
    "arguments", [(), ("--before",), ("--after",), ("--status",), ("--dry-run", "--before")]
)
async def test_a_database_that_is_up_to_date(run: Herald, arguments: tuple[str, ...]) -> None:
    ran = await run("migrate", *arguments)
    assert (ran.code, ran.out) == (0, "The database is up to date.\n")


async def test_what_would_run_is_shown_with_its_phase(run: Herald, pool: Pool) -> None:
    await pool.execute("DELETE FROM schema_migrations WHERE name = $1", FUNCTION)
    for option in ("--status", "--dry-run"):
        ran = await run("migrate", option)
        assert (ran.code, ran.out) == (0, f"before: {FUNCTION}\n")
    late = await run("migrate", "--after")
    assert (late.code, late.out) == (1, "")
    assert f"{FUNCTION} has not run yet: run `herald migrate --before`" in late.err
    # It is there all the same: what failed is said, and the database's address is not blamed.
    failed = await run("migrate")
    assert (failed.code, failed.out) == (1, "")
    assert f"Function {FUNCTION} failed (DuplicateFunctionError" in failed.err
    assert "HERALD_DATABASE_URL" not in failed.err
    await pool.execute(f"DROP FUNCTION {FUNCTION}")
    assert (await run("migrate", "--before")).out == f"ran {FUNCTION}\n"


async def test_a_changed_function_is_named_with_what_to_do(run: Herald, pool: Pool) -> None:
    digest = await pool.fetchval(
        "UPDATE schema_migrations SET digest = 'other' WHERE name = $1 RETURNING old.digest", FUNCTION
    )
    ran = await run("migrate")
    await pool.execute("UPDATE schema_migrations SET digest = $2 WHERE name = $1", FUNCTION, digest)
    assert (ran.code, ran.out) == (1, "")
    assert f"Function {FUNCTION} was created in this database with another text" in ran.err
    assert "add a new version of it" in ran.err
    assert "HERALD_DATABASE_URL" not in ran.err
