"""What would cross a network in plain text is refused, unless a setting names it."""

import pytest
from settings_case import strong

from configuration.plaintext import is_loopback
from settings import SettingsError, load, load_client, load_stores

DATABASE, VALKEY, TEMPORAL = "HERALD_DATABASE_URL", "HERALD_VALKEY_URL", "HERALD_TEMPORAL__ADDRESS"
SMTP = {"HERALD_PROVIDERS__SMTP__FROM_EMAIL": "a@herald.example"}
TWILIO = {
    "HERALD_PROVIDERS__TWILIO__ACCOUNT_SID": "AC5e",
    "HERALD_PROVIDERS__TWILIO__AUTH_TOKEN": strong("twilio"),
    "HERALD_PROVIDERS__TWILIO__FROM": "Herald",
}
FCM = {"HERALD_PROVIDERS__FCM__PROJECT_ID": "p", "HERALD_PROVIDERS__FCM__SERVICE_ACCOUNT_FILE": "/dev/null"}

PLAIN = [
    ("database", {DATABASE: "postgresql://herald:pw-1234567@db.internal/herald"}),
    ("database", {DATABASE: "postgresql://db/herald?sslmode=disable"}),
    ("database", {DATABASE: "postgresql://db/herald?sslmode=allow"}),
    ("database", {DATABASE: "postgresql://db/herald?sslmode=prefer"}),
    ("database", {DATABASE: "postgresql://127.0.0.1,db/herald"}),
    ("database", {DATABASE: "postgresql:///herald?host=db"}),
    ("database", {DATABASE: "postgresql:///herald", "PGHOST": "db.example.com"}),
    ("database", {DATABASE: "postgresql:///herald", "PGHOST": "/run/postgresql,db.example.com"}),
    ("database", {DATABASE: "postgresql:///herald?service=db"}),
    ("database", {DATABASE: "postgresql:///herald?host=", "PGSERVICE": "db"}),
    ("database", {DATABASE: "postgresql://db/herald?sslmode=", "PGSSLMODE": "disable"}),
    ("database", {DATABASE: "postgresql://db/herald?sslmode=require&sslmode=disable"}),
    ("database", {DATABASE: "postgresql://db.localhost/herald"}),
    ("database", {DATABASE: "postgresql://[2001:db8::1]/herald"}),
    ("database", {DATABASE: "postgresql://localhost.example/herald"}),
    ("valkey", {VALKEY: "redis://valkey:6379/0"}),
    ("valkey", {VALKEY: "valkey://10.0.0.7"}),
    ("valkey", {VALKEY: "rediss://valkey:6379/0?ssl_cert_reqs=none"}),
    ("valkey", {VALKEY: "rediss://valkey:6379/0?ssl_check_hostname=false"}),
    ("valkey", {VALKEY: "redis:///0?host=valkey"}),
    ("valkey", {VALKEY: "valkey://?host=valkey&port=6379"}),
    ("valkey", {VALKEY: "rediss:///0?host=valkey&ssl_cert_reqs=none"}),
    ("valkey", {VALKEY: "rediss://valkey?ssl_cert_reqs=optional&ssl_cert_reqs=required"}),
    ("temporal", {TEMPORAL: "temporal:7233"}),
    ("temporal", {TEMPORAL: "temporal.localhost:7233"}),
    ("temporal", {TEMPORAL: "[::ffff:10.0.0.1]:7233"}),
    ("temporal", {TEMPORAL: "[2001:db8::1]:7233"}),
    ("public_url", {"HERALD_PUBLIC_URL": "http://notify.example.com"}),
    ("providers", {**TWILIO, "HERALD_PROVIDERS__TWILIO__BASE_URL": "http://api.example"}),
    ("providers", {**FCM, "HERALD_PROVIDERS__FCM__TOKEN_URL": "http://token.example"}),
    (
        "providers",
        {
            **SMTP,
            "HERALD_PROVIDERS__SMTP__BASE_URL": "smtp://mail:25",
            "HERALD_PROVIDERS__SMTP__STARTTLS": "false",
        },
    ),
]
SAFE = [
    {DATABASE: "postgresql://herald@127.8.9.1/herald"},
    {DATABASE: "postgresql://herald@[::1]:5432/herald"},
    {DATABASE: "postgresql:///herald?host=/run/postgresql"},
    {DATABASE: "postgresql:///herald", "PGHOST": "/run/postgresql"},
    {DATABASE: "postgresql://127.0.0.1/herald", "PGHOST": "db", "PGSERVICE": "db"},
    {DATABASE: "postgresql://127.0.0.1/herald?host=db"},
    {DATABASE: "postgresql://db/herald?sslmode=", "HERALD_DATABASE_TLS__CA_FILE": "/dev/null"},
    {DATABASE: "postgresql://localhost/herald?sslmode=disable"},
    {DATABASE: "postgresql://db/herald?sslmode=require"},
    {DATABASE: "postgresql://db/herald?sslmode=verify-full"},
    {DATABASE: "postgresql://db/herald", "HERALD_DATABASE_TLS__CA_FILE": "/dev/null"},
    {VALKEY: "redis://localhost"},
    {VALKEY: "rediss://valkey:6380/0"},
    {VALKEY: "valkeys://valkey"},
    {TEMPORAL: "localhost:7233"},
    {TEMPORAL: "[::1%lo]:7233"},
    {TEMPORAL: "temporal:7233", "HERALD_TEMPORAL__TLS": "true"},
    {TEMPORAL: "temporal:7233", "HERALD_TEMPORAL__CA_FILE": "/dev/null"},
    {"HERALD_PUBLIC_URL": "http://127.0.0.1:8000"},
    {"HERALD_PUBLIC_URL": "https://notify.example.com"},
    {**TWILIO, "HERALD_PROVIDERS__TWILIO__BASE_URL": "http://localhost:8100/twilio"},
    {**SMTP, "HERALD_PROVIDERS__SMTP__BASE_URL": "smtp://mail:587"},
    {**SMTP, "HERALD_PROVIDERS__SMTP__BASE_URL": "smtps://mail:465"},
    {"HERALD_TEMPORAL__UI_URL": "http://temporal-ui:8080"},
]
HERE = [
    *("127.0.0.1", "127.9.9.9", "::1", "[::1]", "::1%lo", "::ffff:127.0.0.1"),
    *("localhost", "LOCALHOST"),
]
ELSEWHERE = [
    *("10.0.0.1", "128.0.0.1", "::2", "0.0.0.0"),
    *("a.localhost", "localhost.", "@localhost", "/run/postgresql", "", None),
    *("localhost.example", "notlocalhost", "127.0.0.1.example", "127.0.0.1%.example", "postgres"),
]


@pytest.fixture(autouse=True)
def set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_SECRET_KEY", strong("HERALD_SECRET_KEY"))


def give(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)


@pytest.mark.parametrize(("name", "environment"), PLAIN, ids=str)
def test_a_plain_connection_to_another_host_is_refused(monkeypatch, name: str, environment) -> None:
    give(monkeypatch, environment)
    monkeypatch.setenv("HERALD_ALLOW_PLAINTEXT", ",".join(sorted({kind for kind, _ in PLAIN} - {name})))
    with pytest.raises(SettingsError) as refused:
        load()
    message = str(refused.value)
    assert message.count("\n") == 1
    assert f"set HERALD_ALLOW_PLAINTEXT={name} to use it nevertheless" in message
    assert "pw-1234567" not in message
    monkeypatch.setenv("HERALD_ALLOW_PLAINTEXT", name)
    load()


@pytest.mark.parametrize("environment", SAFE, ids=str)
def test_tls_and_loopback_are_accepted(monkeypatch: pytest.MonkeyPatch, environment: dict[str, str]) -> None:
    give(monkeypatch, environment)
    load()


def test_migrations_and_keys_refuse_plain_stores_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(DATABASE, "postgresql://db/herald")
    with pytest.raises(SettingsError, match=r"HERALD_ALLOW_PLAINTEXT=database"):
        load_stores()


def test_an_api_key_is_not_sent_in_plain_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_API_URL", "http://notify.example.com")
    with pytest.raises(SettingsError, match=r"HERALD_ALLOW_PLAINTEXT=api_url"):
        load_client()
    monkeypatch.setenv("HERALD_ALLOW_PLAINTEXT", "api_url")
    load_client()


def test_only_known_names_are_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_ALLOW_PLAINTEXT", "database,everything")
    with pytest.raises(SettingsError, match=r"HERALD_ALLOW_PLAINTEXT"):
        load()


@pytest.mark.parametrize(
    "url",
    ["postgresql://a:p#w@h/d", "postgresql://a:p/w@h/d", "postgresql://a:p?w@h/d", "postgresql://a:p@w@h/d"],
)
def test_a_password_with_a_special_character_is_not_repeated(monkeypatch, url: str) -> None:
    monkeypatch.setenv(DATABASE, url)
    with pytest.raises(SettingsError, match=r"HERALD_DATABASE_URL: not a valid URL") as refused:
        load()
    assert not {"p#w", "p/w", "p?w", "p@w"} & set(str(refused.value).split())


@pytest.mark.parametrize("host", HERE)
def test_this_machine(host: str) -> None:
    assert is_loopback(host)


@pytest.mark.parametrize("host", ELSEWHERE)
def test_other_machines(host: str | None) -> None:
    assert not is_loopback(host)


@pytest.mark.parametrize(
    ("given", "part"),
    [
        ({"HERALD_DATABASE_TLS__CA_FILE": "/nowhere/ca.pem"}, "/nowhere/ca.pem cannot be read"),
        ({"HERALD_TEMPORAL__CERT_FILE": "/dev/null"}, "needs both CERT_FILE and KEY_FILE"),
        ({"HERALD_VALKEY_TLS__KEY_FILE": "/dev/null"}, "needs both CERT_FILE and KEY_FILE"),
        ({"HERALD_VALKEY_TLS__CA_FILE": "/dev/null"}, "not used with redis://"),
    ],
    ids=str,
)
def test_files_that_cannot_be_used_are_named(monkeypatch, given: dict[str, str], part: str) -> None:
    give(monkeypatch, given)
    with pytest.raises(SettingsError) as refused:
        load()
    assert part in str(refused.value)
    assert next(iter(given)).rpartition("__")[0] in str(refused.value)
