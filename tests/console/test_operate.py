"""Operators' commands: find stuck deliveries, handle dead letters, drain providers, manage API keys."""

import asyncio
from collections.abc import Mapping
from datetime import datetime, timedelta
from uuid import UUID

import httpx
from console_case import Herald, WorkerActions

from console.client import Api
from console.stuck import find_stuck
from domain.reasons import Reason
from domain.status import Status
from storage import api_keys
from storage.postgres import Pool


async def test_stuck_lists_only_deliveries_without_progress(run: Herald, workers: WorkerActions) -> None:
    parked, retrying, overdue, waiting, fresh = [(await run.send())["id"] for _ in range(5)]
    parking = await workers.at(0)
    await workers.park(parked)
    await workers.defer(retrying, 300, Reason.RETRY)
    await workers.defer(overdue, -300, Reason.QUIET_HOURS)
    await workers.defer(waiting, 300, Reason.QUIET_HOURS)

    found = {one["id"]: one for one in (await run("stuck", "--json")).json}
    assert found[parked]["reason"] == "providers_exhausted"
    assert datetime.fromisoformat(found[parked]["since"]) > parking - timedelta(milliseconds=1)
    assert found[retrying]["reason"] == "retry"
    assert found[overdue]["reason"].startswith("overdue")
    assert not {waiting, fresh} & found.keys()
    assert [one["since"] for one in found.values()] == sorted(one["since"] for one in found.values())
    shown = await run("stuck")
    assert shown.code == 0
    assert shown.out.splitlines()[1].startswith(overdue)


async def test_a_call_is_stuck_by_the_time_since_its_intent(
    environment: Mapping[str, str], run: Herald, workers: WorkerActions
) -> None:
    stuck, recent = [(await run.send())["id"] for _ in range(2)]
    for id in (stuck, recent):
        await workers.intend(id)
    await workers.ledger.pool.execute(
        "UPDATE notification_attempts SET intended_at = intended_at + interval '2 min'"
        " WHERE notification_id = $1",
        UUID(recent),
    )
    with httpx.Client(
        base_url=environment["HERALD_API_URL"],
        headers={"Authorization": f"Bearer {environment['HERALD_API_KEY']}"},
        trust_env=False,
    ) as client:
        found, _ = await asyncio.to_thread(find_stuck, Api(client), 100, await workers.at(180))
    assert [one.notification_id for one in found if one.notification_id in (stuck, recent)] == [stuck]


async def test_a_dead_letter_is_sent_again(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send())["id"]
    await workers.park(id)
    assert id in (await run("dlq", "list")).out
    ran = await run("dlq", "retry", id, "--to", "+2348031236780")
    assert ran.out.split()[:2] == [id, "accepted"]
    again = await run("dlq", "retry", id)
    assert again.code == 1
    assert "409 wrong_status" in again.err


async def test_retrying_an_unknown_outcome_requires_assume(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send())["id"]
    await workers.park(id, Status.OUTCOME_UNKNOWN)
    refused = await run("dlq", "retry", id)
    assert refused.code == 1
    assert "assume_required" in refused.err
    assert (await run("dlq", "retry", id, "--assume", "sent")).out.split()[1] == "sent"


async def test_discarding_asks_first(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send())["id"]
    await workers.park(id)
    refused = await run("dlq", "discard", id, stdin="n\n")
    assert refused.code == 1
    assert "nothing was discarded" in refused.err
    assert "1 dead letter without" in refused.out
    assert "failed (discarded)" in (await run("dlq", "discard", id, "--yes")).out


async def test_a_replay_is_a_dry_run_unless_send_is_given(run: Herald, workers: WorkerActions) -> None:
    id = (await run.send(type="statement"))["id"]
    await workers.park(id)
    matching = ("dlq", "replay", "--type", "statement")
    assert (await run(*matching)).out.startswith("1 dead letter matched; 1 would be sent again.")
    assert (await run("show", id, "--json")).json["status"] == "dead_lettered"
    assert (await run(*matching, "--send")).out.startswith("1 of 1 dead letter will be sent again.")
    assert (await run("show", id, "--json")).json["status"] == "accepted"


async def test_a_provider_is_drained_and_sends_again(run: Herald) -> None:
    made = await run("keys", "create", "--installation", "--scope", "read", "--scope", "operate")
    operator = made.out.strip()
    # The tenant is for commands that concern one.
    drained = await run("providers", "drain", "twilio", HERALD_API_KEY=operator, HERALD_TENANT="bank")
    assert "twilio is drained" in drained.out
    listed = await run("providers", HERALD_API_KEY=operator)
    statuses = {line.split()[2]: line.split()[3] for line in listed.out.splitlines()[1:]}
    assert statuses["twilio"] == "drained"
    assert statuses["termii"] == "off"
    activated = await run("providers", "activate", "twilio", HERALD_API_KEY=operator)
    assert "twilio is active" in activated.out
    refused = await run("providers", "drain", "termii", HERALD_API_KEY=operator)
    assert (refused.code, "409 provider_off" in refused.err) == (1, True)


async def test_a_tenants_key_drains_no_provider(run: Herald) -> None:
    for arguments in (("providers",), ("providers", "drain", "twilio")):
        refused = await run(*arguments)
        assert (refused.code, "403 installation_key_needed" in refused.err) == (1, True)
        assert "herald keys create --installation" in refused.err


async def test_a_key_of_the_installation_acts_for_the_tenant_in_the_environment(run: Herald) -> None:
    id = (await run.send())["id"]
    operator = (await run("keys", "create", "--installation")).out.strip()
    missing = await run("show", id, HERALD_API_KEY=operator)
    assert "Set HERALD_TENANT" in missing.err
    invalid = await run("show", id, HERALD_API_KEY=operator, HERALD_TENANT="-")
    assert "400 tenant_invalid" in invalid.err
    assert "Check HERALD_TENANT" in invalid.err
    shown = await run("show", id, "--json", HERALD_API_KEY=operator, HERALD_TENANT="bank")
    assert shown.json["id"] == id
    refused = await run("dlq", "retry", id, HERALD_API_KEY=operator, HERALD_TENANT="bank")
    assert (refused.code, "scope_missing" in refused.err) == (1, True)


async def test_keys_are_created_listed_and_revoked(run: Herald) -> None:
    made = await run("keys", "create", "Shop-4.north_1", "--name", "till 4", "--expires", "90d")
    assert "for read, send, until 2" in made.err
    key = made.out.strip()
    assert key.startswith("hk_live_")
    assert (await run("list", HERALD_API_KEY=key)).out == "no notifications\n"
    prefix = key.split("_")[2]
    listed = next(line for line in (await run("keys", "list")).out.splitlines() if line.startswith(prefix))
    for part in ("Shop-4.north_1", "read, send", "cli", "active", "till 4"):
        assert part in listed
    assert key not in (await run("keys", "list")).out
    assert (await run("keys", "revoke", key)).code == 0
    assert "revoked" in (await run("keys", "list")).out
    again = await run("keys", "revoke", prefix)
    assert (again.code, "no active key" in again.err) == (1, True)


async def test_a_key_is_listed_with_the_key_that_created_it(run: Herald, pool: Pool) -> None:
    made = await api_keys.create(pool, "shop", "a child", created_by="0a1b2c3d")
    listed = (await run("keys", "list")).out.splitlines()
    (row,) = [line for line in listed if line.startswith(made.split("_")[2])]
    assert row.index("key:0a1b2c3d") == listed[0].index("created by")


async def test_a_test_key_and_its_scopes_are_shown(run: Herald) -> None:
    made = await run("keys", "create", "shop", "--test", "--scope", "read:pii", "--scope", "send")
    assert "A test key of the tenant shop, for read:pii, send." in made.err
    prefix = made.out.split("_")[2]
    listed = next(line for line in (await run("keys", "list")).out.splitlines() if line.startswith(prefix))
    assert "shop (test)" in listed
    assert (await run("keys", "revoke", prefix)).code == 0
