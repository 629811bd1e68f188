"""A secret in the wrong place is not shown by the error about it, and one that is given twice is refused."""

import json
from pathlib import Path

import pytest
from settings_case import ALL, MAPS, SECRETS, read, siblings, strong, value

from settings import SettingsError, load, load_client

SECRET = "8c1f6be2d40a97e35b1270f4a6c3d2e1"
NESTED = [name for name in SECRETS if "__" in name]
ADDRESSES = [name for name in ALL if name.endswith(("_URL", "__ADDRESS")) and name not in SECRETS]


def refusal(variable: str, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> str:
    with pytest.raises(SettingsError) as refused:
        read(variable, environment, monkeypatch)
    message = str(refused.value)
    assert SECRET not in message.lower()
    return message


@pytest.mark.parametrize(
    "written",
    [
        json.dumps({SECRET: "2026a"}),
        json.dumps({SECRET: ""}),
        json.dumps({SECRET: 1}),
        json.dumps({SECRET: None}),
        json.dumps({SECRET: {SECRET: SECRET}}),
        json.dumps({"a": [SECRET]}),
        json.dumps({"a": {SECRET: 1}}),
        json.dumps([SECRET]),
        json.dumps(SECRET),
        SECRET,
        f'{{"a": "{SECRET}',
    ],
)
@pytest.mark.parametrize("variable", MAPS)
def test_a_secret_as_the_name_of_an_entry(monkeypatch, variable: str, written: str) -> None:
    message = refusal(variable, {**siblings(variable), variable: written}, monkeypatch)
    assert f"\n  {variable}" in message


@pytest.mark.parametrize("variable", NESTED)
def test_a_secret_as_a_name_within_json(monkeypatch: pytest.MonkeyPatch, variable: str) -> None:
    group, _, field = variable.lower().rpartition("__")
    outer, _, inner = group.partition("__")
    for name, content in (
        (group, {SECRET: "x"}),
        (group, {field: {SECRET: "x"}}),
        (group, {field: [SECRET]}),
        (outer, {SECRET: {field: "x"}}),
        *([(outer, {inner: {SECRET: "x"}})] if inner else []),
    ):
        given = {**siblings(""), name.upper(): json.dumps(content)}
        refusal(variable, given, monkeypatch)
        monkeypatch.delenv(name.upper())


def test_a_misspelt_name_is_still_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    name = "HERALD_PROVIDERS__TWILIO__AUTHENTICATION_TOKEN"
    assert name in refusal("", {**siblings(""), name: SECRET}, monkeypatch)


@pytest.mark.parametrize(
    "given", [SECRET, f"/{SECRET}", f"{SECRET[:9]}/{SECRET}", f"/{SECRET[:9]}/{SECRET}+/="]
)
@pytest.mark.parametrize("variable", SECRETS)
def test_a_secret_as_the_path_of_its_file(monkeypatch, variable: str, given: str) -> None:
    message = refusal(variable, {**siblings(variable), f"{variable}_FILE": given}, monkeypatch)
    assert f"{variable}_FILE: the file that it names cannot be read: No such file" in message


@pytest.mark.parametrize("variable", SECRETS)
def test_a_long_secret_as_the_path_of_its_file(monkeypatch, variable: str) -> None:
    given = f"/{SECRET * 10}/{SECRET}"
    message = refusal(variable, {**siblings(variable), f"{variable}_FILE": given}, monkeypatch)
    assert f"{variable}_FILE: the file that it names cannot be read: File name too long" in message


@pytest.mark.parametrize("variable", ["HERALD_TEMPORAL__KEY_FILE", "HERALD_DATABASE_TLS__KEY_FILE"])
def test_a_private_key_as_the_path_of_its_file(monkeypatch, variable: str) -> None:
    pair = {
        variable: f"-----BEGIN {'PRIVATE'} KEY-----\n{SECRET}",
        variable.replace("KEY_F", "CERT_F"): "/dev/null",
    }
    assert f"{variable}: the file that it names" in refusal("", {**siblings(""), **pair}, monkeypatch)


@pytest.mark.parametrize("given", [SECRET, f"HERALD_{SECRET}", f"HERALD_SECRET_KEY,{SECRET}"])
def test_a_secret_as_the_name_of_a_weak_one(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    message = refusal("", {**siblings(""), "HERALD_ALLOW_WEAK_SECRETS": given}, monkeypatch)
    assert f"name {given.count(',') + 1} is not the name of a secret setting" in message


def test_a_secret_as_what_may_be_plain(monkeypatch: pytest.MonkeyPatch) -> None:
    assert "HERALD_ALLOW_PLAINTEXT" in refusal(
        "", {**siblings(""), "HERALD_ALLOW_PLAINTEXT": SECRET}, monkeypatch
    )


@pytest.mark.parametrize("user", [f"user:{SECRET}@", f"{SECRET}@", f":{SECRET}@", f"a:{SECRET}@b:c@"])
@pytest.mark.parametrize("variable", ADDRESSES)
def test_an_address_holds_no_password(monkeypatch, variable: str, user: str) -> None:
    scheme = "smtps://" if "SMTP" in variable else "" if variable.endswith("ADDRESS") else "https://"
    given = {**siblings(variable), variable: f"{scheme}{user}herald.example:443"}
    for name, text in given.items():
        monkeypatch.setenv(name, text)
    with pytest.raises(SettingsError) as refused:
        (load_client if variable == "HERALD_API_URL" else load)()
    assert SECRET not in str(refused.value)
    assert variable in str(refused.value)


@pytest.mark.parametrize("variable", NESTED)
def test_a_secret_in_json_and_in_a_file_is_given_twice(monkeypatch, tmp_path: Path, variable: str) -> None:
    file = tmp_path / "secret"
    file.write_text(value(variable))
    group, _, field = variable.rpartition("__")
    outer, _, inner = group.partition("__")
    for name, content in (
        (group, {field.lower(): strong(variable)}),
        *([(outer, {inner.lower(): {field.lower(): strong(variable)}})] if inner else []),
    ):
        given = {**siblings(variable), name: json.dumps(content), f"{variable}_FILE": str(file)}
        message = refusal(variable, given, monkeypatch)
        assert f"{variable} (within {name}) and {variable}_FILE are both set" in message
        assert strong(variable) not in message
        monkeypatch.delenv(name)


@pytest.mark.parametrize("variable", MAPS)
def test_entries_in_variables_and_in_a_file_are_given_twice(
    monkeypatch, tmp_path: Path, variable: str
) -> None:
    file = tmp_path / "secrets"
    file.write_text(value(variable))
    given = {**siblings(variable), f"{variable}__B": strong("b"), f"{variable}_FILE": str(file)}
    assert f"and {variable}_FILE are both set" in refusal(variable, given, monkeypatch)
