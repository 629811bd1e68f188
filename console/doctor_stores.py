"""What `herald doctor` finds in Postgres, Valkey and Temporal."""

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Final

import asyncpg

from console import endpoints
from console.doctor_findings import Finding, error, ok, warning
from ratelimit.limiter import STORE_LOST, Limiter
from settings import StoreSettings
from storage import api_keys, maintenance
from storage.migrate import Phase, SchemaError, pending_steps
from storage.postgres import UNREACHABLE, Pool, open_pool
from telemetry.scrub import scrub
from temporal.registration import RegistrationError, inspect_server

TIMEOUT_S: Final = 8.0
"""How long one store may take to answer."""
POSTGRES_MIN: Final = 18
TESTED: Final = {"Valkey": "9.", "Temporal": "1.32."}
SKEW_S_MAX: Final = 1.0
"""The largest difference between the clocks that is not worth a warning, in seconds."""
SKEW_S_WRONG: Final = 60.0
"""The difference from which signed callbacks and tokens may be refused."""


async def examine(stores: StoreSettings) -> Sequence[Finding]:
    """The findings about each store; they are asked at once."""
    found = await asyncio.gather(_database(stores), _valkey(stores), _temporal(stores))
    return [finding for part in found for finding in part]


async def _database(stores: StoreSettings) -> list[Finding]:
    dsn = stores.database_dsn
    try:
        async with asyncio.timeout(TIMEOUT_S):
            pool = await open_pool(dsn, size_max=1)
            try:
                return await _asked(pool, dsn)
            finally:
                pool.terminate()
    except (*UNREACHABLE, asyncpg.PostgresError, ValueError) as failure:
        return [error("Postgres", scrub(endpoints.database_unusable(dsn, failure)), "")]


async def _asked(pool: Pool, dsn: str) -> list[Finding]:
    before = datetime.now(UTC)
    state = await maintenance.inspect(pool)
    after = datetime.now(UTC)
    version = f"version {state.version // 10_000}.{state.version % 10_000}"
    how = "encrypted" if state.encrypted else "not encrypted"
    found = [ok("Postgres", f"answers, {version}, {how}")]
    if state.version // 10_000 < POSTGRES_MIN:
        found = [warning("Postgres", f"{version} is untested.", f"Upgrade to {POSTGRES_MIN}.")]
    # The server's clock was read between these two times of ours.
    ahead_s = max((state.now - after).total_seconds(), (before - state.now).total_seconds(), 0.0)
    found.append(clocks(ahead_s))
    if not state.is_migrated:
        return [*found, error("schema", "The database has no tables.", "Run `herald migrate`.")]
    if not state.has_next_month:
        text = "The partitions of the coming month are missing."
        found.append(error("partitions", text, "Run `herald migrate`, and check that a worker runs."))
    else:
        found.append(ok("partitions", "created ahead"))
    return [*found, await _schema(dsn), *await _keys(pool)]


def clocks(apart_s: float) -> Finding:
    """The finding about how far the clocks of this host and of Postgres are apart."""
    if apart_s <= SKEW_S_MAX:
        return ok("clocks", "this host and Postgres agree")
    found = error if apart_s > SKEW_S_WRONG else warning
    return found("clocks", f"This host and Postgres differ by {apart_s:.1f} s.", "Synchronise them (NTP).")


async def _schema(dsn: str) -> Finding:
    try:
        pending = await pending_steps(dsn)
    except SchemaError as wrong:
        return error("schema", str(wrong), "")
    names = ", ".join(step.name for step in pending)
    if any(step.phase is Phase.BEFORE for step in pending):
        return error("schema", f"Not migrated yet: {names}.", "Run `herald migrate --before`.")
    if pending:
        text = f"Left for after the upgrade: {names}."
        return warning("schema", text, "Run `herald migrate --after` once no older process runs.")
    return ok("schema", "up to date")


async def _keys(pool: Pool) -> list[Finding]:
    active = [key for key in await api_keys.every_key(pool) if key.revoked_at is None]
    if not active:
        return [warning("API keys", "There is none.", "Create one with `herald keys create TENANT`.")]
    found = [ok("API keys", f"{len(active)} active")]
    return found + [
        warning(
            "API keys",
            f"The key {key.prefix} is of a development stack.",
            f"`herald keys revoke {key.prefix}`",
        )
        for key in active
        if key.name == api_keys.DEVELOPMENT
    ]


async def _valkey(stores: StoreSettings) -> list[Finding]:
    try:
        limiter = Limiter.connect(stores.valkey_dsn, timeout_s=TIMEOUT_S)
        try:
            state = await limiter.inspect()
        finally:
            await limiter.aclose()
    except (*STORE_LOST, ValueError) as failure:
        text = f"cannot be used ({type(failure).__name__}: {scrub(str(failure))})."
        return [error("Valkey", text, "Start it, or correct HERALD_VALKEY_URL.")]
    found = [ok("Valkey", f"answers, version {state.version}")]
    if not state.version.startswith(TESTED["Valkey"]):
        found = [warning("Valkey", f"answers, and version {state.version} is untested.", "Use version 9.")]
    if state.eviction != "noeviction":
        text = f"With maxmemory-policy {state.eviction} it may forget limits."
        found.append(warning("Valkey", text, "Set maxmemory-policy to noeviction."))
    if not state.is_durable:
        text = "Its append-only file is off: limits are lost when it restarts."
        found.append(warning("Valkey", text, "Set appendonly to yes."))
    return found


async def _temporal(stores: StoreSettings) -> list[Finding]:
    temporal = stores.temporal
    try:
        async with asyncio.timeout(TIMEOUT_S):
            state = await inspect_server(
                temporal.address,
                temporal.namespace,
                api_key=temporal.api_key_in_clear,
                tls=temporal.tls_files,
            )
    except RegistrationError as failure:
        return [error("Temporal", scrub(str(failure)), "")]
    except (OSError, TimeoutError) as failure:
        text = f"{temporal.address} did not answer ({type(failure).__name__})."
        return [error("Temporal", text, "Start it, or correct HERALD_TEMPORAL__ADDRESS.")]
    found = [ok("Temporal", f"answers, version {state.version}")]
    if not state.version.startswith(TESTED["Temporal"]):
        found = [
            warning("Temporal", f"answers, and version {state.version} is untested.", "Use version 1.32.")
        ]
    if state.missing:
        text = f"Search attributes are not registered: {', '.join(state.missing)}."
        found.append(error("Temporal", text, "Run `herald migrate`."))
    return found
