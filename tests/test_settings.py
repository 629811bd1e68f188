"""Wrong variables prevent the start, with one message that names each of them."""

import re
from pathlib import Path

import pytest

from settings import SettingsError, load, load_client, load_stores

NEARLY = {
    "HERALD_DATABSE_URL": "HERALD_DATABASE_URL",
    "HERALD_LOG_LEVL": "HERALD_LOG_LEVEL",
    "herald_confg": "HERALD_CONFIG",
    "HERALD_API_KEYS": "HERALD_API_KEY",
    "HERALD_ROUTE__SMS": "HERALD_ROUTES",
    "HERALD_ROUTES_SMS": "HERALD_ROUTES__SMS",
    "HERALD_ROUTES_SMS__NG": "HERALD_ROUTES__SMS",
    "HERALD_TEMPORAL_ADDRESS": "HERALD_TEMPORAL__ADDRESS",
    "HERALD_PROVIDERS_TWILIO_AUTH_TOKEN": "HERALD_PROVIDERS__TWILIO",
    "HERALD_PROVIDERS_TWILIO__AUTH_TOKEN": "HERALD_PROVIDERS__TWILIO",
    "HERALD_SECRET_KEY__FILE": "HERALD_SECRET_KEY_FILE",
    "HERALD_DATABASE_URL__FILE": "HERALD_DATABASE_URL_FILE",
    "HERALD_UNSUBSCRIBE_KEYS__FILE": "HERALD_UNSUBSCRIBE_KEYS_FILE",
    "herald_api_key__file": "HERALD_API_KEY_FILE",
    "HERALD_LOG_LEVEL__X": "HERALD_LOG_LEVEL",
}
OTHERS = [
    # What Kubernetes sets for services named herald, herald-api and herald-temporal.
    "HERALD_SERVICE_HOST",
    "HERALD_PORT_8000_TCP_ADDR",
    "HERALD_API_SERVICE_PORT",
    "HERALD_API_PORT_8000_TCP",
    "HERALD_TEMPORAL_SERVICE_HOST",
    "HERALD_TEMPORAL_PORT",
    "HERALD_TEMPORAL_PORT_7233_TCP",
    # What the Makefile and Compose read.
    "HERALD_SPECS",
    "HERALD_VERSION",
]


@pytest.fixture(autouse=True)
def set_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_SECRET_KEY", "tests-secret-8c1f6be2d40a97e35b12")


@pytest.mark.parametrize("read", [load, load_stores, load_client])
@pytest.mark.parametrize("given", NEARLY)
def test_a_misspelt_setting_is_refused_with_a_suggestion(monkeypatch, given: str, read) -> None:
    monkeypatch.setenv(given, "s3cret")
    with pytest.raises(SettingsError) as refused:
        read()
    message = str(refused.value)
    assert message.endswith(f"\n  {given} is not a setting; did you mean {NEARLY[given]}?")
    assert "s3cret" not in message


@pytest.mark.parametrize("given", OTHERS)
def test_foreign_variables_are_ignored(monkeypatch, given: str) -> None:
    monkeypatch.setenv(given, "tcp://10.0.0.1:8000")
    load()


def test_every_error_is_reported_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HERALD_SECRET_KEY")
    monkeypatch.setenv("HERALD_SECRET_KYE", "s3cret")
    monkeypatch.setenv("HERALD_API_PORT", "http")
    with pytest.raises(SettingsError) as refused:
        load()
    head, *lines = str(refused.value).splitlines()
    assert head == "The settings cannot be used:"
    assert [re.split("[: ]", line.strip())[0] for line in lines] == [
        "HERALD_SECRET_KYE",
        "HERALD_SECRET_KEY",
        "HERALD_API_PORT",
    ]


def test_invalid_json_is_named_without_its_value(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_FINGERPRINT_KEYS", "s3cret")
    with pytest.raises(SettingsError, match=r"HERALD_FINGERPRINT_KEYS: expected JSON$"):
        load()


@pytest.mark.parametrize(
    ("development", "rules", "countries"),
    [
        ("false", "", None),
        ("true", "", "all"),
        ("true", '[sms]\ncountries = ["NG"]\n', ("NG",)),
        ("false", '[sms]\ncountries = "all"\n', "all"),
        ("true", "[sms]\ncountries = []\n", ()),
    ],
)
def test_every_country_is_open_only_in_development_or_by_decision(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, development: str, rules: str, countries: object
) -> None:
    config = tmp_path / "herald.toml"
    config.write_text(f"[types.otp]\n{rules}", encoding="utf-8")
    monkeypatch.setenv("HERALD_CONFIG", str(config))
    monkeypatch.setenv("HERALD_DEVELOPMENT", development)
    assert load().catalog.sms.countries == countries


def test_no_country_is_open_in_the_shipped_configuration() -> None:
    assert load().catalog.sms.countries is None


def test_trusted_proxies_are_a_list_of_networks(monkeypatch: pytest.MonkeyPatch) -> None:
    for text, networks in (("", []), ("10.0.0.0/8, fd00::/8", ["10.0.0.0/8", "fd00::/8"])):
        monkeypatch.setenv("HERALD_TRUSTED_PROXIES", text)
        assert [str(network) for network in load().trusted_proxies] == networks
    monkeypatch.setenv("HERALD_TRUSTED_PROXIES", "the proxy")
    with pytest.raises(SettingsError, match="HERALD_TRUSTED_PROXIES"):
        load()
