"""TLS to Valkey and to Temporal: a real server each, behind an end that speaks TLS, because the server that
the tests run (a build without TLS, and the development server) does not.
"""

import asyncio
from collections.abc import AsyncIterator
from urllib.parse import urlsplit

import pytest
import pytest_asyncio
from authority import Certificates, Load, identity, tls_end
from redis.exceptions import RedisError

from devstack.temporal import Temporal
from ratelimit.limiter import Limiter
from settings import StoreSettings
from temporal.client import connect
from temporal.registration import RegistrationError, register_search_attributes

PATIENCE_S = 10


async def pinged(settings: StoreSettings) -> None:
    limiter = Limiter.connect(settings.valkey_dsn, timeout_s=PATIENCE_S)
    try:
        await limiter.ping()
    finally:
        await limiter.aclose()


async def registered(settings: StoreSettings) -> None:
    temporal = settings.temporal
    await register_search_attributes(temporal.address, "default", tls=temporal.tls_files)


@pytest_asyncio.fixture
async def valkey_port(valkey: str) -> int:
    port = urlsplit(valkey).port
    assert port
    return port


@pytest_asyncio.fixture
async def temporal_tls(temporal: Temporal, certificates: Certificates) -> AsyncIterator[str]:
    async with tls_end(temporal.port, certificates.server, certificates.ca_file, alpn="h2") as port:
        yield f"127.0.0.1:{port}"


async def test_valkey_is_verified(load: Load, certificates: Certificates, valkey_port: int) -> None:
    async with tls_end(valkey_port, certificates.server) as port:
        for scheme in ("rediss", "valkeys"):
            url = f"{scheme}://127.0.0.1:{port}/0"
            await pinged(load(VALKEY_URL=url, VALKEY_TLS__CA_FILE=certificates.ca_file))
        with pytest.raises(RedisError, match="certificate verify failed"):
            await pinged(load(VALKEY_TLS__CA_FILE=certificates.other_ca_file))


async def test_valkey_of_another_name_is_refused(load, certificates, valkey_port: int) -> None:
    async with tls_end(valkey_port, certificates.elsewhere) as port:
        settings = load(VALKEY_URL=f"rediss://localhost:{port}", VALKEY_TLS__CA_FILE=certificates.ca_file)
        with pytest.raises(RedisError, match="Hostname mismatch"):
            await pinged(settings)


async def test_valkey_of_an_unknown_authority_is_refused_without_a_file(
    load, certificates, valkey_port
) -> None:
    async with tls_end(valkey_port, certificates.server) as port:
        with pytest.raises(RedisError, match="certificate verify failed"):
            await pinged(load(VALKEY_URL=f"rediss://127.0.0.1:{port}"))


async def test_valkey_sees_our_certificate(load, certificates: Certificates, valkey_port: int) -> None:
    async with tls_end(valkey_port, certificates.server, certificates.ca_file) as port:
        tls = {"VALKEY_URL": f"rediss://127.0.0.1:{port}", "VALKEY_TLS__CA_FILE": certificates.ca_file}
        for refused in ({}, identity("VALKEY_TLS", certificates.stranger)):
            settings = load(**tls, **refused)
            with pytest.raises((RedisError, OSError)):
                await pinged(settings)
        await pinged(load(**tls, **identity("VALKEY_TLS", certificates.client)))


async def test_temporal_sees_our_certificate(load, certificates: Certificates, temporal_tls: str) -> None:
    ours = identity("TEMPORAL", certificates.client)
    settings = load(TEMPORAL__ADDRESS=temporal_tls, TEMPORAL__CA_FILE=certificates.ca_file, **ours)
    await registered(settings)
    client = await connect(temporal_tls, "default", tls=settings.temporal.tls_files)
    assert await client.service_client.check_health()


async def test_temporal_refuses_who_has_no_certificate(load, certificates, temporal_tls: str) -> None:
    settings = load(TEMPORAL__ADDRESS=temporal_tls, TEMPORAL__CA_FILE=certificates.ca_file)
    with pytest.raises(RegistrationError):
        await registered(settings)
    with pytest.raises(RegistrationError):
        await registered(load(**identity("TEMPORAL", certificates.stranger)))


async def test_another_temporal_is_refused(load: Load, certificates: Certificates, temporal_tls: str) -> None:
    ours = identity("TEMPORAL", certificates.client)
    wrong = load(TEMPORAL__ADDRESS=temporal_tls, TEMPORAL__CA_FILE=certificates.other_ca_file, **ours)
    with pytest.raises(RegistrationError):
        await registered(wrong)
    # A worker waits for it.
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(1):
            await connect(temporal_tls, "default", tls=wrong.temporal.tls_files)


async def test_temporal_may_have_another_name(load, certificates, temporal: Temporal) -> None:
    async with tls_end(temporal.port, certificates.elsewhere, certificates.ca_file, alpn="h2") as port:
        tls = {
            "TEMPORAL__ADDRESS": f"127.0.0.1:{port}",
            "TEMPORAL__CA_FILE": certificates.ca_file,
            **identity("TEMPORAL", certificates.client),
        }
        with pytest.raises(RegistrationError):
            await registered(load(**tls))
        await registered(load(**tls, TEMPORAL__SERVER_NAME="elsewhere.example"))
