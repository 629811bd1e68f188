"""TLS to Postgres: everything that opens a connection verifies the server and shows our certificate.

A real server behind an end that speaks TLS, because the server that the tests run was built without it.
"""

import asyncio
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import asyncpg
import pytest
import pytest_asyncio
from authority import Certificates, Load, identity, tls_end

from dispatcher.listener import Listener
from storage import api_keys
from storage.migrate import migrate, pending_steps
from storage.postgres import open_pool


async def pooled(dsn: str) -> Any:
    pool = await open_pool(dsn)
    try:
        return await pool.fetchval("SELECT 1")
    finally:
        await pool.close()


async def listening(dsn: str) -> None:
    """Raises what keeps the listener from listening."""
    listener = Listener(dsn, ["herald_due"])
    # `run` would log the error and try again.
    listens, notified = asyncio.create_task(listener._listen()), asyncio.create_task(_notified(dsn, listener))
    done, _ = await asyncio.wait([listens, notified], return_when=asyncio.FIRST_COMPLETED)
    for task in (listens, notified):
        task.cancel()
    results = await asyncio.gather(listens, notified, return_exceptions=True)
    errors = [error for error in results if isinstance(error, Exception)]
    assert done
    if errors:
        raise errors[0]


async def _notified(dsn: str, listener: Listener) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        taken = asyncio.create_task(listener.payloads("herald_due"))
        while not taken.done():
            await connection.execute("SELECT pg_notify('herald_due', 'x')")
            await asyncio.wait([taken], timeout=0.1)
        assert taken.result() == ["x"]
    finally:
        await connection.close()


async def keyed(dsn: str) -> None:
    await migrate(dsn)
    await api_keys.ensure(dsn, "bank", api_keys.generate())


OPENING: dict[str, Callable[[str], Awaitable[Any]]] = {
    "pool": pooled,
    "migrate": migrate,
    "pending_steps": pending_steps,
    "listener": listening,
    "ensure": keyed,
}
REFUSED = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError)
opening = pytest.mark.parametrize("open_it", OPENING.values(), ids=OPENING)


@pytest_asyncio.fixture
async def database_port(database: str, certificates: Certificates) -> AsyncIterator[int]:
    """A server that any client may use."""
    async with tls_end(_port(database), certificates.server, postgres=True) as port:
        yield port


@pytest_asyncio.fixture
async def elsewhere_port(database: str, certificates: Certificates) -> AsyncIterator[int]:
    """A server whose certificate has another name."""
    async with tls_end(_port(database), certificates.elsewhere, postgres=True) as port:
        yield port


@pytest_asyncio.fixture
async def mutual_port(database: str, certificates: Certificates) -> AsyncIterator[int]:
    """A server that only clients with a certificate may use."""
    async with tls_end(_port(database), certificates.server, certificates.ca_file, postgres=True) as port:
        yield port


def url_of(database: str, host: str, port: int) -> str:
    return urlunsplit(urlsplit(database)._replace(netloc=f"herald@{host}:{port}"))


def _port(database: str) -> int:
    port = urlsplit(database).port
    assert port
    return port


@opening
async def test_a_server_of_our_authority_is_trusted(
    open_it, load: Load, database, certificates, database_port
) -> None:
    url = url_of(database, "127.0.0.1", database_port)
    await open_it(load(DATABASE_URL=url, DATABASE_TLS__CA_FILE=certificates.ca_file).database_dsn)


async def test_the_url_alone_is_enough(load: Load, database, certificates, database_port: int) -> None:
    url = f"{url_of(database, 'localhost', database_port)}?sslmode=verify-full"
    await pooled(load(DATABASE_URL=f"{url}&sslrootcert={certificates.ca_file}").database_dsn)


@opening
async def test_a_plain_connection_is_refused(open_it, database: str, database_port: int) -> None:
    """Otherwise the other tests would not show that a connection is encrypted."""
    with pytest.raises(REFUSED):
        await open_it(f"{url_of(database, '127.0.0.1', database_port)}?sslmode=disable")


@opening
async def test_another_authority_is_refused(
    open_it, load: Load, database, certificates, database_port
) -> None:
    url = url_of(database, "127.0.0.1", database_port)
    dsn = load(DATABASE_URL=url, DATABASE_TLS__CA_FILE=certificates.other_ca_file).database_dsn
    with pytest.raises(ssl.SSLCertVerificationError):
        await open_it(dsn)


async def test_without_a_file_only_the_systems_authorities_are_trusted(
    load: Load, database, database_port
) -> None:
    url = url_of(database, "127.0.0.1", database_port) + "?sslmode=verify-full"
    with pytest.raises(ssl.SSLCertVerificationError, match=r"unable to get local issuer|self.signed"):
        await pooled(load(DATABASE_URL=url).database_dsn)


@opening
async def test_a_server_with_another_name_is_refused(
    open_it, load, database, certificates, elsewhere_port
) -> None:
    url = url_of(database, "localhost", elsewhere_port)
    dsn = load(DATABASE_URL=url, DATABASE_TLS__CA_FILE=certificates.ca_file).database_dsn
    with pytest.raises(ssl.SSLCertVerificationError, match="Hostname mismatch"):
        await open_it(dsn)


@opening
async def test_our_certificate_is_shown(open_it, load: Load, database, certificates, mutual_port) -> None:
    url = url_of(database, "127.0.0.1", mutual_port)
    tls = {"DATABASE_URL": url, "DATABASE_TLS__CA_FILE": certificates.ca_file}
    for others in ({}, identity("DATABASE_TLS", certificates.stranger)):
        dsn = load(**tls, **others).database_dsn
        with pytest.raises(REFUSED):
            await open_it(dsn)
    await open_it(load(**tls, **identity("DATABASE_TLS", certificates.client)).database_dsn)
