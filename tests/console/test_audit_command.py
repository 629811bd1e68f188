"""`herald audit`, and the reasons that operators' commands give."""

import os
import pwd
from collections.abc import Mapping

import pytest
import pytest_asyncio
from console_case import Herald, WorkerActions, asked_on_a_terminal

from storage import api_keys
from storage.postgres import Pool

USER = f"cli:{pwd.getpwuid(os.getuid()).pw_name}"


@pytest_asyncio.fixture(scope="module")
async def installation(environment: Mapping[str, str], pool: Pool) -> Herald:
    """The command with a key of the installation; its environment names a tenant too."""
    key = await api_keys.create(pool, None, "operator")
    return Herald({**environment, "HERALD_API_KEY": key, "HERALD_TENANT": "bank"})


async def last(pool: Pool) -> tuple[str, str, str, str | None]:
    """The newest entry: its actor, action, subject and reason."""
    row = await pool.fetchrow(
        "SELECT actor, action, subject, reason FROM audit_log ORDER BY sequence DESC LIMIT 1"
    )
    assert row is not None
    return row["actor"], row["action"], row["subject"], row["reason"]


async def test_every_command_that_acts_records_its_reason(
    run: Herald, installation: Herald, workers: WorkerActions, pool: Pool
) -> None:
    key, operator = (
        f"key:{each.environment['HERALD_API_KEY'].split('_')[2]}" for each in (run, installation)
    )
    retried, discarded, replayed = [(await run.send(type="statement"))["id"] for _ in range(3)]
    for id in (retried, discarded, replayed):
        await workers.park(id)
    made = await run("keys", "create", "shop", "--name", "till", "--reason", "a new till, für Ada")
    prefix = made.out.split("_")[2]
    assert await last(pool) == (USER, "key.create", prefix, "a new till, für Ada")
    for with_key, arguments, expected in (
        (run, ("keys", "revoke", prefix), (USER, "key.revoke", prefix)),
        (installation, ("providers", "drain", "twilio"), (operator, "provider.drain", "twilio")),
        (installation, ("providers", "activate", "twilio"), (operator, "provider.activate", "twilio")),
        (run, ("dlq", "retry", retried), (key, "dead_letter.retry", retried)),
        (run, ("dlq", "discard", discarded, "--yes"), (key, "dead_letter.discard", discarded)),
        (run, ("dlq", "replay", "--type", "statement", "--send"), (key, "dead_letter.replay", replayed)),
    ):
        ran = await with_key(*arguments, "--reason", "lost")
        assert ran.code == 0, ran.err
        assert await last(pool) == (*expected, "lost")
    tenants = await pool.fetch("SELECT tenant FROM audit_log WHERE action LIKE 'key.%'")
    assert {row["tenant"] for row in tenants} == {"shop"}
    # A refused act leaves nothing.
    assert (await run("keys", "revoke", prefix)).code == 1
    assert await last(pool) == (key, "dead_letter.replay", replayed, "lost")


async def test_the_entry_of_a_key_says_what_it_may_do_and_until_when(run: Herald, pool: Pool) -> None:
    for given, expires_at in (
        ((), None),
        (("--expires", "2999-11-30T06:48:43Z"), "2999-11-30T06:48:43+00:00"),
    ):
        made = await run("keys", "create", "shop", "--name", "till of 0803 123 0077", *given)
        assert made.code == 0, made.err
        entry = await pool.fetchrow("SELECT after FROM audit_log ORDER BY sequence DESC LIMIT 1")
        assert entry is not None
        expected = {"name": "till of [private]", "scopes": ["read", "send"], "test": False}
        assert entry["after"] == expected | {"expires_at": expires_at}


async def test_a_reason_travels_whole_or_is_refused(run: Herald, installation: Herald, pool: Pool) -> None:
    for reason in ("50% off – für Ada", "UTF-8''%41", "UTF-8'en'%41", "'; DROP TABLE audit_log; --"):
        for command in ("drain", "activate"):
            assert (await installation("providers", command, "twilio", "--reason", reason)).code == 0
            assert (await last(pool))[3] == reason
    for wrong in ("two\nlines", "\x1b[2J", "x" * 501):
        refused = await installation("providers", "drain", "twilio", "--reason", wrong)
        assert (refused.code, "The reason cannot be recorded" in refused.err) == (1, True)
        refused = await run("keys", "create", "shop", "--reason", wrong)
        assert (refused.code, "The reason cannot be recorded" in refused.err) == (1, True)
    assert (await last(pool))[1] == "provider.activate"


async def test_a_reason_code_is_not_taken_for_a_reason(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send(type="marketing"))["id"]
    await workers.park(id)
    refused = await run("dlq", "replay", "--send", "--reason", "no_contact")
    assert (refused.code, "--reason-code no_contact" in refused.err) == (1, True)
    assert (await run("show", id, "--json")).json["status"] == "dead_lettered"
    for option in ("--reason", "--reason-code"):
        assert id in (await run("dlq", "list", option, "providers_exhausted")).out
        assert id not in (await run("dlq", "list", option, "no_contact")).out
    dry = await run("dlq", "replay", "--reason-code", "providers_exhausted", "--type", "marketing")
    assert dry.out.startswith("1 dead letter matched")


async def test_the_command_asks_on_a_terminal(environment: Mapping[str, str], pool: Pool) -> None:
    assert await asked_on_a_terminal(environment, "typed by hand") == 0
    assert (await last(pool))[1:] == ("key.create", (await last(pool))[2], "typed by hand")


async def test_a_tenants_key_lists_its_tenants_entries(run: Herald, installation: Herald) -> None:
    await installation("providers", "drain", "twilio")
    await installation("providers", "activate", "twilio")
    await run("keys", "create", "bank")
    own, every = [(await each("audit", "list", "--json")).json for each in (run, installation)]
    assert {entry["tenant"] for entry in own} == {"bank"}
    assert {entry["tenant"] for entry in every} >= {None, "bank"}
    assert own[0] == every[0]


async def test_entries_are_listed_and_cannot_act_on_the_terminal(installation: Herald, pool: Pool) -> None:
    run = installation
    await installation("providers", "drain", "twilio", "--reason", "an outage")
    await installation("providers", "activate", "twilio")
    listed = await run("audit", "list", "--subject", "twilio", "--limit", "2")
    heading, newest, older = listed.out.splitlines()[:3]
    assert heading.split()[:4] == ["entry", "at", "actor", "tenant"]
    assert "provider.activate" in newest
    assert "status drained → status active" in newest
    assert "an outage" in older
    assert "There are more" in listed.out
    found = (await run("audit", "list", "--action", "provider.drain", "--since", "1h", "--json")).json
    assert {entry["action"] for entry in found} == {"provider.drain"}
    assert (await run("audit", "list", "--actor", "cli:no such user")).out == "no entries\n"
    unknown = await run("audit", "list", "--action", "provider.explode")
    assert (unknown.code, "/query/action" in unknown.err) == (1, True)
    await pool.execute(
        "INSERT INTO audit_log SELECT 1000000, now(), actor, E'\\x1b[2Jevil', tenant, action, E'a\\nb',"
        " before, after, reason, request_id, previous, hash FROM audit_log WHERE sequence = 1"
    )
    forged = await run("audit", "list", "--limit", "1")
    assert "\\x1b[2Jevil" in forged.out
    assert "a\\nb" in forged.out
    assert "\x1b" not in forged.out
    found = await run("audit", "verify")
    assert (found.code, "to 999999 are missing" in found.err) == (1, True)
    await pool.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
    await pool.execute("DELETE FROM audit_log WHERE sequence = 1000000")
    await pool.execute("ALTER TABLE audit_log ENABLE ALWAYS TRIGGER audit_log_append_only")


async def test_verify_names_the_first_wrong_entry(
    run: Herald, installation: Herald, environment: Mapping[str, str], pool: Pool
) -> None:
    for command in ("drain", "activate", "drain"):
        await installation("providers", command, "twilio")
    whole = await run("audit", "verify")
    assert whole.code == 0, whole.err
    count = await pool.fetchval("SELECT count(*) FROM audit_log")
    assert whole.out.startswith(f"{count} entries, all as written")
    seen = whole.out.split()[-1]
    await installation("providers", "activate", "twilio")
    later = await run("audit", "verify", "--expect", seen)
    assert f"Entry {count} has the expected hash." in later.out
    nonsense = await run("audit", "verify", "--expect", "abc")
    assert (nonsense.code, "is not a hash" in nonsense.err) == (1, True)
    other = await run("audit", "verify", HERALD_SECRET_KEY=environment["HERALD_SECRET_KEY"][::-1])
    assert (other.code, "entry 1 was changed, or was not written by this" in other.err) == (
        1,
        True,
    )
    newest = (await run("audit", "verify")).out.split()[-1]
    await pool.execute("ALTER TABLE audit_log DISABLE TRIGGER ALL")
    await pool.execute("DELETE FROM audit_log WHERE sequence = $1", count + 1)
    assert (await run("audit", "verify")).code == 0
    cut = await run("audit", "verify", "--expect", newest)
    assert (cut.code, "was removed, with all that followed it" in cut.err) == (1, True)
    await pool.execute("UPDATE audit_log SET reason = 'never' WHERE sequence = 3")
    changed = await run("audit", "verify")
    assert (changed.code, "entry 3 was changed" in changed.err) == (1, True)


async def test_a_command_prints_the_hash_of_its_entry(run: Herald, pool: Pool) -> None:
    """No process logs it: without it nothing shows later that the entry was removed."""
    prefix = (await run("keys", "create", "shop")).out.split("_")[2]
    for arguments in (("create", "shop"), ("revoke", prefix)):
        command = await run("keys", *arguments)
        entry = await pool.fetchrow("SELECT sequence, hash FROM audit_log ORDER BY sequence DESC LIMIT 1")
        assert entry is not None
        assert f"Entry {entry['sequence']} of the audit log, hash {entry['hash'].hex()}\n" in command.err
        assert entry["hash"].hex() not in command.out


@pytest.mark.parametrize("command", [("audit", "verify"), ("keys", "create", "shop")])
async def test_the_chain_needs_the_secret_key(run: Herald, command: tuple[str, ...]) -> None:
    refused = await run(*command, HERALD_SECRET_KEY=None)
    assert (refused.code, "HERALD_SECRET_KEY is not set" in refused.err) == (1, True)
