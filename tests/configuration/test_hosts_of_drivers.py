"""The hosts that settings are checked for are those that the drivers connect to, however a URL is written."""

import os
import socket
from collections.abc import Iterator, Mapping
from ipaddress import ip_address
from unittest import mock

import pytest
from asyncpg import connect_utils
from hypothesis import example, given
from hypothesis import strategies as st
from redis.asyncio.connection import parse_url
from settings_case import strong
from temporalio.service import ConnectConfig, ServiceClient

from configuration import plaintext
from console import client
from console.errors import CommandError
from devstack.ports import free_port
from ratelimit.limiter import redis_url
from settings import SettingsError, load

PLACES = [
    *("127.0.0.1", "[::1]", "localhost", "%6cocalhost", "db.example", "10.0.0.7:5432", "[2001:db8::1]:6432"),
    *("[fe80::1%25lo]", "localhost.example", "/run/x", "%2Frun%2Fx", "127.0.0.1,db.example"),
    "db.example,[::1]",
]
DATABASE_QUERIES = [
    *("", "host=db.example", "host=%2Frun%2Fx", "host=localhost", "host=127.0.0.1,db.example", "host="),
    *("sslmode=disable", "sslmode=prefer", "sslmode=require", "sslmode=require&sslmode=disable", "sslmode="),
    *("sslmode=disable&sslmode=require", "hostaddr=10.0.0.7", "application_name=x", "port=5432"),
    *("host=127.0.0.1&host=db.example", "host=db.example&host=127.0.0.1"),
]
VALKEY_QUERIES = [
    *("host=valkey.example", "host=localhost", "host=", "db=1", "port=7000", "path=%2Frun%2Fx"),
    *("ssl_cert_reqs=none", "ssl_cert_reqs=required", "ssl_check_hostname=No", "ssl_check_hostname=yes"),
]
USERS = ["", "herald@", "herald:pw-1234567@", "a@db.example,b@"]
ENVIRONMENTS: list[dict[str, str]] = [
    {},
    {"PGHOST": ""},
    {"PGHOST": "db.example"},
    {"PGHOST": "localhost,db.example"},
    {"PGHOST": "/run/postgresql"},
    {"PGHOST": "127.0.0.1", "PGSSLMODE": "disable"},
    {"PGHOSTADDR": "10.0.0.7"},
]


def is_here(host: str) -> bool:
    try:
        return host == "localhost" or ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        return False


def queries(parts: list[str]) -> st.SearchStrategy[str]:
    chosen = st.lists(st.sampled_from(parts), max_size=3)
    return chosen.map(lambda parts: "&".join(filter(None, parts))).map(
        lambda query: f"?{query}" if query else ""
    )


@given(
    st.sampled_from(USERS),
    st.sampled_from(["", *PLACES]),
    queries(DATABASE_QUERIES),
    st.sampled_from(ENVIRONMENTS),
)
@example("", "", "", {"PGHOST": "db.example"})
@example("a@db.example,b@", "127.0.0.1", "", {})
def test_no_plain_database_elsewhere(user: str, place: str, query: str, variables: Mapping[str, str]) -> None:
    dsn = f"postgresql://{user}{place}/herald{query}"
    others = {name: text for name, text in os.environ.items() if not name.startswith("PG")}
    unused = dict.fromkeys(
        (
            *("host", "port", "password", "passfile", "database", "ssl", "service", "servicefile"),
            *("direct_tls", "server_settings", "target_session_attrs", "krbsrvname", "gsslib"),
        )
    )
    with mock.patch.dict(os.environ, {**others, **variables, "HOME": "/nowhere"}, clear=True):
        try:
            addresses, used = connect_utils._parse_connect_dsn_and_args(dsn=dsn, user="u", **unused)
        except Exception:  # asyncpg would not connect
            return
    hosts = [address[0] for address in addresses if not isinstance(address, str)]
    plain = used.sslmode < connect_utils.SSLMode.require and not all(map(is_here, hosts))
    checked = plaintext.database(dsn, variables)
    if plain:
        assert checked
    elif "PGSSLMODE" not in variables and all(map(is_here, hosts)):
        assert checked is None


@given(
    st.sampled_from(["redis", "rediss", "valkey", "valkeys"]),
    st.sampled_from(["", ":pw-1234567@", "a@b@"]),
    st.sampled_from(["", *(place for place in PLACES if "," not in place and "/" not in place)]),
    queries(VALKEY_QUERIES),
)
@example("redis", "", "", "?host=valkey.example")
@example("rediss", "", "valkey", "?ssl_cert_reqs=none&ssl_cert_reqs=required")
def test_no_plain_store_elsewhere(scheme: str, user: str, place: str, query: str) -> None:
    url = f"{scheme}://{user}{place}/0{query}"
    used = parse_url(redis_url(url))
    is_verified = (
        "connection_class" in used
        and used.get("ssl_cert_reqs", "required") == "required"
        and used.get("ssl_check_hostname", True)
    )
    is_safe = is_here(used.get("host", "localhost")) or is_verified
    assert (plaintext.valkey(url) is None) == is_safe


NO_ADDRESSES = [
    *(
        "//db.example:7233",
        "/db.example:7233",
        "/@db.example:7233",
        "?x@db.example:7233",
        "#@db.example:7233",
    ),
    *(
        "u@db.example:7233",
        "127.0.0.1:7233@db.example:7233",
        "127.0.0.1:7233/@db.example",
        "127.0.0.1\\@db:7233",
    ),
    *(
        "http://db.example:7233",
        "dns:///db.example:7233",
        "db.example",
        "db.example:",
        ":7233",
        "db.example:0",
    ),
    *(
        "db.example:70000",
        "127.0.0.1:7233,db.example:7233",
        "127.0.0.1 :7233",
        "127.0.0.1:7233\n",
        "[::1]7233",
    ),
    *("[::1", "[db.example]:7233", "::1:7233", "db.example:７２３３"),
]


@pytest.mark.parametrize("address", NO_ADDRESSES)
def test_an_address_of_temporal_is_a_host_and_a_port(monkeypatch: pytest.MonkeyPatch, address: str) -> None:
    monkeypatch.setenv("HERALD_SECRET_KEY", strong("HERALD_SECRET_KEY"))
    monkeypatch.setenv("HERALD_TEMPORAL__ADDRESS", address)
    monkeypatch.setenv("HERALD_TEMPORAL__TLS", "true")
    with pytest.raises(SettingsError, match=r"HERALD_TEMPORAL__ADDRESS: expected HOST:PORT"):
        load()


@pytest.fixture
def elsewhere(monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """A server that every variable names that clients are known to look at."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        server.setblocking(False)
        place = f"127.0.0.1:{server.getsockname()[1]}"
        for name in ("TEMPORAL_ADDRESS", "TEMPORAL_HOST_URL", "TEMPORAL_CLI_ADDRESS"):
            monkeypatch.setenv(name, place)
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "GRPC_PROXY"):
            monkeypatch.setenv(name, f"http://{place}")
            monkeypatch.setenv(name.lower(), f"http://{place}")
        for name in ("NO_PROXY", "no_proxy"):
            monkeypatch.delenv(name, raising=False)
        yield server
        with pytest.raises(BlockingIOError):
            server.accept()


@pytest.mark.usefixtures("elsewhere")
async def test_temporal_is_reached_at_the_address_that_is_checked() -> None:
    with pytest.raises(RuntimeError):
        await ServiceClient.connect(ConnectConfig(target_host=f"127.0.0.1:{free_port()}"))


@pytest.mark.usefixtures("elsewhere")
def test_an_api_key_goes_through_no_proxy_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_API_URL", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setenv("HERALD_API_KEY", strong("HERALD_API_KEY"))
    with client.connected() as api, pytest.raises(CommandError, match="cannot be reached"):
        api.get("/v1/notifications")
