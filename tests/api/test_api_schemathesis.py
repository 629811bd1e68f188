"""Schemathesis: requests made from the OpenAPI document get the answers that it lists."""

import asyncio
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import httpx
import pytest
import pytest_asyncio
import requests
import schemathesis
from api_server import MANY_WRONG_KEYS, config_with, settings_for
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from api.access import TENANT_HEADER
from api.app import create_app
from devstack.ports import free_port
from devstack.valkey import Valkey
from domain.access import Scope
from storage import api_keys
from storage.postgres import Pool

ROOT = Path(__file__).parents[2]
SERVE = "import settings; from api.serve import run; run(settings.load())"
CHECKS = [
    not_a_server_error,
    status_code_conformance,
    content_type_conformance,
    response_headers_conformance,
    response_schema_conformance,
]

FULL = ["tenant", "installation_for_a_tenant"]
"""The kinds of key that reach the routes themselves."""
BRIEF = [
    *("installation", "test", "another_tenants_name", "expired", "revoked", "mistyped", "none"),
    *(f"only_{scope}" for scope in Scope),
]
"""The kinds that most routes refuse, for which fewer requests are made."""


@schemathesis.serializer("application/x-ndjson", "text/csv")
def audience(_: schemathesis.SerializationContext, value: object) -> bytes:
    """The body of an upload: any text."""
    return value if isinstance(value, bytes) else str(value).encode("utf-8", "replace")


document = create_app(settings_for("postgresql://herald@127.0.0.1:1/herald")).openapi()
schema = schemathesis.openapi.from_dict(document)
brief = schemathesis.openapi.from_dict(document)
brief.config.phases.coverage.enabled = False


@pytest_asyncio.fixture(scope="module")
async def api_url(
    database: str, valkey_server: Valkey, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[str]:
    """The API in a separate process: the tests block this one."""
    port = free_port()
    environment = {
        **os.environ,
        "HERALD_CONFIG": str(config_with(tmp_path_factory.mktemp("config"), MANY_WRONG_KEYS)),
        "PYTHONPATH": str(ROOT),
        "HERALD_DATABASE_URL": database,
        "HERALD_VALKEY_URL": valkey_server.url(0),
        "HERALD_TEMPORAL__ADDRESS": f"127.0.0.1:{free_port()}",
        "HERALD_SECRET_KEY": "tests-secret-8c1f6be2d40a97e35b12",
        "HERALD_API_PORT": str(port),
        "HERALD_LOG_LEVEL": "ERROR",
    }
    url = f"http://127.0.0.1:{port}"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", SERVE, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL
    )
    async with httpx.AsyncClient(trust_env=False) as client, asyncio.timeout(60):
        while True:
            assert process.returncode is None
            try:
                await client.get(f"{url}/healthz")
            except httpx.TransportError:
                await asyncio.sleep(0.05)
            else:
                break
    yield url
    process.terminate()
    await process.wait()


@pytest_asyncio.fixture(scope="module")
async def authorisations(pool: Pool) -> dict[str, dict[str, str]]:
    """The headers of each authorisation."""
    tenant, installation, revoked, expired = [
        await api_keys.create(pool, whose, "tests") for whose in ("bank", None, "bank", "bank")
    ]
    await api_keys.revoke(pool, revoked.split("_")[2])
    await pool.execute(
        "UPDATE api_keys SET expires_at = now() - interval '1 hour' WHERE prefix = $1", expired.split("_")[2]
    )
    keys = {
        "tenant": tenant,
        "installation": installation,
        "installation_for_a_tenant": installation,
        "another_tenants_name": tenant,
        "test": await api_keys.create(pool, "bank", "tests", test=True),
        "expired": expired,
        "revoked": revoked,
        "mistyped": f"{tenant[:-1]}{'a' if tenant[-1] != 'a' else 'b'}",
        **{f"only_{one}": await api_keys.create(pool, "bank", "tests", scopes=[one]) for one in Scope},
    }
    headers = {kind: {"Authorization": f"Bearer {key}"} for kind, key in keys.items()} | {"none": {}}
    headers["installation_for_a_tenant"][TENANT_HEADER] = "bank"
    headers["another_tenants_name"][TENANT_HEADER] = "shop"
    return headers


@pytest.fixture(scope="module")
def session() -> requests.Session:
    found = requests.Session()
    found.trust_env = False
    return found


Check = Callable[[schemathesis.Case, str], None]


@pytest.fixture
def check(api_url: str, authorisations: dict[str, dict[str, str]], session: requests.Session) -> Check:
    """Sends a request with a kind of key, and compares the answer with the document."""

    def checked(case: schemathesis.Case, authorisation: str) -> None:
        answer = case.call(base_url=api_url, headers=authorisations[authorisation], session=session)
        case.validate_response(answer, checks=CHECKS)

    return checked


@schema.parametrize()
@settings(max_examples=12, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_is_documented(case: schemathesis.Case, check: Check) -> None:
    for authorisation in FULL:
        check(case, authorisation)


@brief.parametrize()
@settings(max_examples=2, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_answer_to_other_keys_is_documented(case: schemathesis.Case, check: Check) -> None:
    for authorisation in BRIEF:
        check(case, authorisation)
