"""Every secret setting, found by introspection: empty is unset, weak is refused, and it may be in a file."""

import json
import re
from pathlib import Path

import pytest
from settings_case import ALL, MAPS, REQUIRED, SECRETS, URLS, found, read, siblings, strong, value

from configuration.secret_rules import OWN_LENGTH_MIN
from settings import SettingsError

PLACEHOLDERS = [
    "change-me",
    "CHANGEME",
    "…",
    "...",
    "<secret>",
    "your-secret-key-here",
    "xxxxxxxx",
    "password",
]
NESTED = [name for name in SECRETS if name.startswith("HERALD_PROVIDERS__")]


def refusal(variable: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    with pytest.raises(SettingsError) as refused:
        read(variable, environment, monkeypatch)
    return str(refused.value)


def holding(variable: str, secret: str) -> str:
    """A value of the setting with this secret in it."""
    if variable in MAPS:
        return json.dumps({"a": secret}, ensure_ascii=False)
    return URLS.get(variable, "{}").format(secret)


def test_the_secrets_are_found() -> None:
    assert {"HERALD_SECRET_KEY", "HERALD_DATABASE_URL", "HERALD_API_KEY", *MAPS} <= SECRETS.keys()
    assert len(NESTED) > 20
    assert [name for name, secret in SECRETS.items() if secret.is_generated] == ["HERALD_SECRET_KEY", *MAPS]


def test_what_is_named_like_a_secret_is_one() -> None:
    named = re.compile(r"TOKEN|SECRET|PASSWORD|_KEYS?(_PREVIOUS)?$")
    plain = {"HERALD_ALLOW_WEAK_SECRETS"}
    assert {name for name in ALL if named.search(name)} - SECRETS.keys() - plain == {
        "HERALD_PROVIDERS__FCM__TOKEN_URL",
        "HERALD_PROVIDERS__SENDGRID__WEBHOOK_PUBLIC_KEY",
        "HERALD_PROVIDERS__SENDGRID__WEBHOOK_PUBLIC_KEY_PREVIOUS",
    }


def test_no_secret_in_a_file_shares_its_variable_with_another_setting() -> None:
    assert {f"{name}_FILE" for name in SECRETS} & ALL.keys() == set()


@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_is_taken_and_never_shown(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    settings = read(variable, {**siblings(variable), variable: value(variable)}, monkeypatch)
    assert strong(variable) in (found(settings, variable) or "")
    assert strong(variable) not in f"{settings!r} {settings} {settings.model_dump()}"


@pytest.mark.parametrize("blank", ["", "  \t\n"], ids=["empty", "blank"])
@pytest.mark.parametrize("variable", SECRETS)
def test_an_empty_variable_is_not_set(monkeypatch: pytest.MonkeyPatch, variable: str, blank: str) -> None:
    environment = {**siblings(variable), variable: blank}
    if variable in REQUIRED:
        unset = refusal(variable, siblings(variable), monkeypatch)
        assert f"{variable}: is not set; it needs a value" in unset
        message = refusal(variable, environment, monkeypatch)
        assert f"{variable}: is empty; it needs a value" in message
    else:
        unset = found(read(variable, siblings(variable), monkeypatch), variable)
        assert found(read(variable, environment, monkeypatch), variable) == unset


@pytest.mark.parametrize("variable", NESTED)
def test_an_empty_value_in_json_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    group, _, field = variable.rpartition("__")
    environment = siblings(variable)
    account = {name: environment.pop(name) for name in list(environment) if name.startswith(f"{group}__")}
    account[variable] = " "
    written = {name.removeprefix(f"{group}__").lower(): text for name, text in account.items()}
    message = refusal(variable, {**environment, group: json.dumps(written)}, monkeypatch)
    assert re.search(rf"{variable}: (is empty|Value should have at least)", message), (field, message)


@pytest.mark.parametrize("entries", [{"a": ""}, {"a": "  "}, {"": "s" * 3}, {"a": strong("a"), "b": ""}])
@pytest.mark.parametrize("variable", MAPS)
def test_an_empty_entry_is_refused(monkeypatch, variable: str, entries: dict[str, str]) -> None:
    environment = {**siblings(variable), variable: json.dumps(entries)}
    assert re.search(rf"{variable}\[\w*\]: is empty", refusal(variable, environment, monkeypatch))


@pytest.mark.parametrize("secret", PLACEHOLDERS)
@pytest.mark.parametrize("variable", SECRETS)
def test_a_placeholder_is_refused(monkeypatch: pytest.MonkeyPatch, variable: str, secret: str) -> None:
    environment = {**siblings(variable), variable: holding(variable, secret)}
    message = refusal(variable, environment, monkeypatch)
    assert variable in message
    assert re.search("placeholder|at least 16|valid URL", message)


@pytest.mark.parametrize("secret", ["x", "0123456789abcdef" * 2, "ab" * 20, "k3y-" * 9, "k" * 64])
@pytest.mark.parametrize("variable", [name for name, secret in SECRETS.items() if secret.is_generated])
def test_a_weak_secret_of_ours_is_refused_unless_it_is_named(monkeypatch, variable: str, secret: str) -> None:
    environment = {**siblings(variable), variable: holding(variable, secret)}
    message = refusal(variable, environment, monkeypatch)
    assert "openssl rand -hex 32" in message or "placeholder" in message
    assert f"HERALD_ALLOW_WEAK_SECRETS={variable} " in message
    for name in (variable, variable.removeprefix("HERALD_").lower()):
        allowed = {**environment, "HERALD_ALLOW_WEAK_SECRETS": f"HERALD_API_KEY, {name}"}
        assert found(read(variable, allowed, monkeypatch), variable) == secret


@pytest.mark.parametrize("variable", [name for name in NESTED if "AFRICASTALKING__CALLBACK" not in name])
def test_a_secret_of_a_vendor_is_never_very_short(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    environment = {**siblings(variable), variable: "k3y!"}
    assert f"{variable}: has fewer than 8 characters" in refusal(variable, environment, monkeypatch)
    monkeypatch.setenv("HERALD_ALLOW_WEAK_SECRETS", variable)
    assert found(read(variable, environment, monkeypatch), variable) == "k3y!"


def test_an_empty_secret_cannot_be_allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    variable = "HERALD_UNSUBSCRIBE_KEYS"
    allowed = {"HERALD_ALLOW_WEAK_SECRETS": variable, variable: '{"a": ""}'}
    assert "[1]: is empty" in refusal(variable, {**siblings(variable), **allowed}, monkeypatch)


def test_only_secrets_can_be_allowed_to_be_weak(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**siblings("HERALD_SECRET_KEY"), "HERALD_SECRET_KEY": strong("a")}
    environment["HERALD_ALLOW_WEAK_SECRETS"] = "secret_keys"
    message = refusal("HERALD_SECRET_KEY", environment, monkeypatch)
    assert "name 1 is not the name of a secret setting; did you mean HERALD_SECRET_KEY?" in message


def test_the_minimum_is_what_openssl_makes() -> None:
    assert len("openssl rand -hex 16") * 2 >= OWN_LENGTH_MIN


@pytest.mark.parametrize("end", ["", "\n", "\r\n"], ids=["as it is", "newline", "carriage return"])
@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_may_be_in_a_file(monkeypatch, tmp_path: Path, variable: str, end: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(f"{value(variable)}{end}".encode())
    settings = read(variable, {**siblings(variable), f"{variable}_FILE": str(file)}, monkeypatch)
    expected = strong(variable) if variable in MAPS else value(variable)
    assert found(settings, variable) == expected


@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_is_given_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str) -> None:
    file = tmp_path / "secret"
    file.write_text(value(variable))
    both = {**siblings(variable), variable: value(variable), f"{variable}_FILE": str(file)}
    message = refusal(variable, both, monkeypatch)
    assert f"{variable} and {variable}_FILE are both set" in message
    assert strong(variable) not in message
    # An empty variable is not set.
    assert found(read(variable, {**both, variable: ""}, monkeypatch), variable)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "No such file"),
        (b"", "is empty"),
        (b" \n", "is empty"),
        (b"\xff\xfe", "not text in UTF-8"),
        (b"k" * 70_000, "larger than"),
    ],
)
@pytest.mark.parametrize("variable", SECRETS)
def test_a_file_that_holds_no_secret_is_named(
    monkeypatch, tmp_path: Path, variable: str, content: bytes | None, why: str
) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    message = refusal(variable, {**siblings(variable), f"{variable}_FILE": str(file)}, monkeypatch)
    assert message.count("\n") == 1
    assert f"{variable}_FILE: {file} " in message
    assert why in message


def test_a_directory_is_no_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    message = refusal("HERALD_SECRET_KEY", {"HERALD_SECRET_KEY_FILE": str(tmp_path)}, monkeypatch)
    assert f"HERALD_SECRET_KEY_FILE: {tmp_path} cannot be read: Is a directory" in message


def test_a_misspelt_file_variable_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = {**siblings(""), "HERALD_SECRT_KEY_FILE": "/x"}
    assert "did you mean HERALD_SECRET_KEY_FILE?" in refusal("", environment, monkeypatch)
    monkeypatch.delenv("HERALD_SECRT_KEY_FILE")
    environment = {**siblings(""), "HERALD_TEMPORAL__API_KEY_FLE": "/x"}
    assert "HERALD_TEMPORAL__API_KEY_FLE" in refusal("", environment, monkeypatch)
