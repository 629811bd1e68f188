"""`herald doctor` over an installation in which one thing at a time is wrong."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import pytest_asyncio
import redis.asyncio
from console_case import Herald

from console import doctor, doctor_stores
from console.doctor_findings import Finding, Level
from console.doctor_stores import clocks
from devstack.ports import free_port
from devstack.temporal import Temporal
from devstack.valkey import Valkey
from storage import api_keys
from storage.postgres import Pool, open_pool

SECRET = "doctor-secret-8c1f6be2d40a97e35b12"
OK, WARNING, ERROR = Level.OK, Level.WARNING, Level.ERROR


@dataclass
class Installation:
    """An installation without a fault; `changes` spoil it."""

    variables: Mapping[str, str]
    pool: Pool
    monkeypatch: pytest.MonkeyPatch
    changes: dict[str, str | None] = field(default_factory=dict[str, str | None])

    async def examine(self, **changes: str | None) -> Sequence[Finding]:
        """What doctor finds; names without `HERALD_`, None removes a variable."""
        given = {**self.variables, **{f"HERALD_{name}": value for name, value in changes.items()}}
        for name, value in given.items():
            self.monkeypatch.delenv(name, raising=False) if value is None else self.monkeypatch.setenv(
                name, value
            )
        found = await doctor.examine()
        assert SECRET not in repr(found)
        return found

    async def differs(self, **changes: str | None) -> list[Finding]:
        """What doctor finds beyond what it finds in the sound installation."""
        before = {str(finding) for finding in await self.examine()}
        return [finding for finding in await self.examine(**changes) if str(finding) not in before]


@pytest.fixture
def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret"
    file.touch(mode=0o600)
    file.write_text(SECRET)
    return file


@pytest_asyncio.fixture
async def installation(
    own_database: str,
    valkey_server: Valkey,
    temporal: Temporal,
    secret_file: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> AsyncIterator[Installation]:
    rules = secret_file.with_name("rules.toml")
    rules.write_text('[types.otp]\n[sms]\ncountries = ["NG"]\n')
    pool = await open_pool(own_database)
    await api_keys.create(pool, "bank", "backend")
    variables = {
        "HERALD_CONFIG": str(rules),
        "HERALD_SECRET_KEY_FILE": str(secret_file),
        "HERALD_FINGERPRINT_KEYS": json.dumps({"a": f"{SECRET}-a"}),
        "HERALD_UNSUBSCRIBE_KEYS": json.dumps({"a": f"{SECRET}-b"}),
        "HERALD_PUBLIC_URL": "https://notify.example.com",
        "HERALD_DATABASE_URL": own_database,
        "HERALD_VALKEY_URL": valkey_server.url(),
        "HERALD_TEMPORAL__ADDRESS": temporal.address,
        "HERALD_PROVIDERS__TWILIO__ACCOUNT_SID": "AC5e",
        "HERALD_PROVIDERS__TWILIO__AUTH_TOKEN": f"{SECRET}-twilio",
        "HERALD_PROVIDERS__TWILIO__FROM": "Herald",
        "HERALD_PROVIDERS__SMTP__BASE_URL": "smtps://mail.example",
        "HERALD_PROVIDERS__SMTP__FROM_EMAIL": "a@herald.example",
        "HERALD_ROUTES__EMAIL": "smtp",
    }
    yield Installation(variables, pool, monkeypatch)
    await pool.close()


def levels(found: Sequence[Finding]) -> set[tuple[Level, str]]:
    return {(finding.level, finding.about) for finding in found}


async def test_a_sound_installation(installation: Installation) -> None:
    found = await installation.examine()
    about = {"settings", "HERALD_SECRET_KEY_FILE", "providers", "Postgres", "clocks", "partitions", "schema"}
    assert {(OK, name) for name in (*about, "API keys", "Valkey", "Temporal")} <= levels(found)
    # The test's providers do not cover every channel.
    others = {finding for finding in found if finding.level is not OK}
    assert levels(sorted(others, key=str)) == {(WARNING, "channel push"), (WARNING, "channel whatsapp")}
    assert all(finding.to_do for finding in others)


SETTINGS: list[tuple[dict[str, str | None], Level, str, str]] = [
    ({"SECRET_KEY_FILE": None}, ERROR, "settings", "HERALD_SECRET_KEY: is not set"),
    ({"SECRET_KEY_FILE": "/nowhere"}, ERROR, "settings", "the file that it names cannot be read"),
    ({"SECRET_KYE": "x"}, ERROR, "settings", "did you mean HERALD_SECRET_KEY"),
    ({"SECRET_KEY_FILE": None, "SECRET_KEY": "x"}, ERROR, "HERALD_SECRET_KEY", "fewer than 32"),
    (
        {"SECRET_KEY_FILE": None, "SECRET_KEY": "x", "ALLOW_WEAK_SECRETS": "secret_key"},
        *(WARNING, "HERALD_SECRET_KEY", "fewer than 32"),
    ),
    ({"FINGERPRINT_KEYS": None}, WARNING, "HERALD_FINGERPRINT_KEYS", "the secret key is used"),
    ({"UNSUBSCRIBE_KEYS": None}, WARNING, "HERALD_UNSUBSCRIBE_KEYS", "the secret key is used"),
    ({"UNSUBSCRIBE_KEYS": '{"a": ""}'}, ERROR, "HERALD_UNSUBSCRIBE_KEYS[1]", "is empty"),
    ({"PUBLIC_URL": None}, WARNING, "HERALD_PUBLIC_URL", "vendors cannot send callbacks"),
    ({"PUBLIC_URL": "http://notify.example.com"}, ERROR, "HERALD_PUBLIC_URL", "not encrypted"),
    ({"CONFIG": "/nowhere.toml"}, ERROR, "providers", "/nowhere.toml cannot be read"),
    # The rules that come with Herald do not name the countries.
    ({"CONFIG": None}, ERROR, "providers", "[sms] countries is not set"),
    ({"DEVELOPMENT": "true"}, WARNING, "HERALD_DEVELOPMENT", "SMS may go to every country"),
    ({"ROUTES__SMS": "twilo"}, ERROR, "providers", "twilo"),
    ({"PROVIDERS__TWILIO__AUTH_TOKEN": None}, ERROR, "settings", "AUTH_TOKEN: is not set"),
    (
        {"PROVIDERS__TWILIO__AUTH_TOKEN": "simulated-token"},
        WARNING,
        "HERALD_PROVIDERS__TWILIO__AUTH_TOKEN",
        "simulated",
    ),
    ({"ROUTES__SMS": "termii"}, WARNING, "channel sms", "nothing can be sent"),
    ({"DATABASE_TLS__CA_FILE": "/nowhere.pem"}, ERROR, "HERALD_DATABASE_TLS__CA_FILE", "cannot be read"),
]


@pytest.fixture(autouse=True)
def no_long_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """Some of the stores below do not exist."""
    monkeypatch.setattr(doctor_stores, "TIMEOUT_S", 5.0)


@pytest.mark.parametrize(("changes", "level", "about", "text"), SETTINGS, ids=str)
async def test_a_fault_of_the_settings(installation, changes, level: Level, about: str, text: str) -> None:
    found = await installation.differs(**changes)
    assert [one for one in found if (one.level, one.about) == (level, about) and text in one.text], found


async def test_each_wrong_value_of_the_file_is_one_finding(installation, tmp_path: Path) -> None:
    file = tmp_path / "herald.toml"
    file.write_text('[dispatch]\ncontended_slowdown = 1\nbatching = "often"\n[types.otp]\nlane = "fast"\n')
    found = await installation.differs(CONFIG=str(file))
    assert [finding.level for finding in found] == [ERROR] * 3
    assert [finding.text.split(": ")[2] for finding in found] == [
        *("types.otp.lane", "dispatch.batching", "dispatch.contended_slowdown")
    ]
    for finding in found:
        assert finding.text.startswith(f"HERALD_CONFIG: {file} is not valid: ")
        assert "\n" not in finding.text


async def test_a_secret_that_everyone_can_read(installation: Installation, secret_file: Path) -> None:
    await asyncio.to_thread(secret_file.chmod, 0o644)
    (found,) = [f for f in await installation.examine() if f.about == "HERALD_SECRET_KEY_FILE"]
    assert (found.level, found.to_do) == (WARNING, f"Run: chmod o= {secret_file}")


async def test_a_private_key_that_everyone_can_read(installation: Installation, tmp_path: Path) -> None:
    key = tmp_path / "key.pem"
    await asyncio.to_thread(key.touch, 0o604)
    tls = {"DATABASE_TLS__CERT_FILE": str(key), "DATABASE_TLS__KEY_FILE": str(key)}
    found = await installation.differs(**tls)
    assert (WARNING, "HERALD_DATABASE_TLS__KEY_FILE") in levels(found)
    # A certificate is public.
    assert (WARNING, "HERALD_DATABASE_TLS__CERT_FILE") not in levels(found)


@pytest.mark.parametrize(
    ("variable", "address", "about"),
    [
        ("DATABASE_URL", "postgresql://herald:p4ssw0rd-zqx@127.0.0.1:{}/herald", "Postgres"),
        ("VALKEY_URL", "redis://:p4ssw0rd-zqx@127.0.0.1:{}", "Valkey"),
        ("TEMPORAL__ADDRESS", "127.0.0.1:{}", "Temporal"),
    ],
)
async def test_a_store_that_is_away(installation, variable: str, address: str, about: str) -> None:
    found = await installation.differs(**{variable: address.format(free_port())})
    assert (ERROR, about) in levels(found)
    assert "p4ssw0rd" not in repr(found)
    assert all(variable in f"{one.text} {one.to_do}" for one in found if one.level is ERROR)


async def test_a_database_that_was_never_migrated(installation: Installation, postgres) -> None:
    found = await installation.differs(DATABASE_URL=postgres.url("postgres"))
    assert (ERROR, "schema") in levels(found)


async def test_a_database_that_is_not_migrated_yet(installation: Installation) -> None:
    await installation.pool.execute("DELETE FROM schema_migrations WHERE name = 'suppression_key_v1'")
    (found,) = [f for f in await installation.examine() if f.about == "schema"]
    assert (found.level, found.to_do) == (ERROR, "Run `herald migrate --before`.")
    assert "suppression_key_v1" in found.text


async def test_a_database_of_another_version(installation: Installation) -> None:
    await installation.pool.execute(
        "UPDATE schema_migrations SET digest = 'other' WHERE name = '0001_before_ledger'"
    )
    (found,) = [f for f in await installation.examine() if f.about == "schema"]
    assert (found.level, "0001_before_ledger" in found.text) == (ERROR, True)


async def test_months_without_partitions(installation: Installation) -> None:
    month = await installation.pool.fetchval(
        "SELECT to_char((now() AT TIME ZONE 'UTC') + interval '1 month', 'YYYY_MM')"
    )
    await installation.pool.execute(f"DROP TABLE notification_contents_{month}")
    (found,) = [f for f in await installation.examine() if f.about == "partitions"]
    assert (found.level, "herald migrate" in found.to_do) == (ERROR, True)


async def test_keys(installation: Installation) -> None:
    await installation.pool.execute("UPDATE api_keys SET name = $1", api_keys.DEVELOPMENT)
    found = [f for f in await installation.examine() if f.about == "API keys"]
    assert [finding.level for finding in found] == [OK, WARNING]
    await installation.pool.execute("UPDATE api_keys SET revoked_at = now()")
    (none,) = [f for f in await installation.examine() if f.about == "API keys"]
    assert (none.level, none.to_do) == (WARNING, "Create one with `herald keys create TENANT`.")


async def test_a_valkey_that_may_forget(installation: Installation, valkey_server: Valkey) -> None:
    async with redis.asyncio.from_url(valkey_server.url()) as client:
        await client.config_set("maxmemory-policy", "allkeys-lru")
        await client.config_set("appendonly", "no")
        try:
            found = [f for f in await installation.examine() if f.about == "Valkey"]
        finally:
            await client.config_set("maxmemory-policy", "noeviction")
            await client.config_set("appendonly", "yes")
    assert [finding.level for finding in found] == [OK, WARNING, WARNING]


async def test_a_namespace_that_does_not_exist(installation: Installation) -> None:
    found = await installation.differs(TEMPORAL__NAMESPACE="nowhere")
    assert (ERROR, "Temporal") in levels(found)


@pytest.mark.parametrize(("apart_s", "level"), [(0.0, OK), (1.0, OK), (1.5, WARNING), (61, ERROR)])
def test_clocks_that_differ(apart_s: float, level: Level) -> None:
    assert clocks(apart_s).level is level


async def test_the_command(installation: Installation, bare: Mapping[str, str]) -> None:
    run = Herald({**bare, **installation.variables})
    shown = await run("doctor")
    assert (shown.code, "Postgres" in shown.out, SECRET in shown.out + shown.err) == (0, True, False)
    weak = Herald({**bare, **installation.variables, "HERALD_FINGERPRINT_KEYS": '{"a": "short-secret"}'})
    failed = await weak("doctor", "--json")
    assert failed.code == 1
    found = json.loads(failed.out)
    assert {"level", "about", "text", "to_do"} == set(found[0])
    assert [one["about"] for one in found if one["level"] == "error"] == ["HERALD_FINGERPRINT_KEYS[1]"]
    assert "short-secret" not in failed.out + failed.err
