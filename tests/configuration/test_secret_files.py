"""What is in a secret's file becomes the secret, or stops the start; nothing unseen is part of one."""

import json
import os
import socket
from pathlib import Path

import pytest
from settings_case import MAPS, SECRETS, found, read, siblings, strong, value

from settings import SettingsError

ONE = ["HERALD_SECRET_KEY", "HERALD_DATABASE_URL", "HERALD_API_KEY", "HERALD_PROVIDERS__SENDGRID__API_KEY"]
BOM = b"\xef\xbb\xbf"
WRONG = {
    "two newlines": (b"%s\n\n", "has more than one line"),
    "a comment": (b"%s\n# rotated in May\n", "has more than one line"),
    "a comment first": (b"# the key\n%s\n", "has more than one line"),
    "an empty line first": (b"\n%s", "has more than one line"),
    "two secrets": (b"%s\r\n%s\r\n", "has more than one line"),
    "a carriage return within": (b"%s\rx", "has more than one line"),
    "a NUL": (b"%s\0x", "contains a NUL"),
    "NULs at the end": (b"%s\0\0\0", "contains a NUL"),
    "not UTF-8": (b"%s\xff", "not text in UTF-8"),
    "UTF-16 with a mark": ("utf-16", "not text in UTF-8"),
    "UTF-16, little end first": ("utf-16-le", "contains a NUL"),
    "UTF-16, big end first": ("utf-16-be", "contains a NUL"),
    "UTF-32": ("utf-32-le", "contains a NUL"),
    "a space before": (b" %s\n", "white space"),
    "a space after": (b"%s \n", "white space"),
    "a tab after": (b"%s\t", "control character"),
    "a vertical tab": (b"%s\x0b", "control character"),
    "an escape": (b"\x1b[0m%s", "control character"),
    "a delete": (b"%s\x7f", "control character"),
    "a C1 control": (b"%s\xc2\x85", "control character"),
    "a mark within": (b"x" + BOM + b"%s", "control character"),
    "two marks": (BOM * 2 + b"%s", "control character"),
    "a zero width space": (b"\xe2\x80\x8b%s", "control character"),
    "a line separator": (b"%s\xe2\x80\xa8", "control character"),
    "a no-break space": (b"%s\xc2\xa0", "white space"),
}


@pytest.mark.parametrize("wrong", WRONG)
@pytest.mark.parametrize("variable", ONE)
def test_what_does_not_belong_to_a_secret_is_refused(
    monkeypatch, tmp_path: Path, variable: str, wrong: str
) -> None:
    form, why = WRONG[wrong]
    secret = value(variable)
    content = secret.encode(form) if isinstance(form, str) else form.replace(b"%s", secret.encode())
    file = tmp_path / "secret"
    file.write_bytes(content)
    with pytest.raises(SettingsError) as refused:
        read(variable, {**siblings(variable), f"{variable}_FILE": str(file)}, monkeypatch)
    message = str(refused.value)
    assert variable in message
    assert why in message or "expected a URL" in message
    assert strong(variable) not in message


@pytest.mark.parametrize("variable", SECRETS)
def test_a_byte_order_mark_is_not_part_of_a_secret(monkeypatch, tmp_path: Path, variable: str) -> None:
    file = tmp_path / "secret"
    file.write_bytes(BOM + value(variable).encode() + b"\r\n")
    settings = read(variable, {**siblings(variable), f"{variable}_FILE": str(file)}, monkeypatch)
    assert found(settings, variable) == (strong(variable) if variable in MAPS else value(variable))


@pytest.mark.parametrize("variable", MAPS)
def test_json_may_have_several_lines(monkeypatch, tmp_path: Path, variable: str) -> None:
    file = tmp_path / "secrets"
    file.write_text(json.dumps({"a": strong(variable)}, indent=2) + "\n\n")
    settings = read(variable, {**siblings(variable), f"{variable}_FILE": str(file)}, monkeypatch)
    assert found(settings, variable) == strong(variable)


UNSEEN = ["\n", "\r", "\t", "\x01", "\x7f", "\x85", "\ufeff", "\u200b", "\u2028", "\udcff"]


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
@pytest.mark.parametrize("variable", [name for name in SECRETS if name not in MAPS])
def test_a_control_character_in_a_variable_is_refused(monkeypatch, variable: str, unseen: str) -> None:
    secret = value(variable)
    for given in (f"{secret}{unseen}", f"{secret[:-3]}{unseen}{secret[-3:]}"):
        with pytest.raises(
            SettingsError, match=f"{variable}: (contains a control|.*not a valid URL)"
        ) as refused:
            read(variable, {**siblings(variable), variable: given}, monkeypatch)
        allowed = SECRETS[variable].is_generated
        assert ("HERALD_ALLOW_WEAK_SECRETS" in str(refused.value)) == allowed


@pytest.mark.parametrize("unseen", UNSEEN, ids=ascii)
@pytest.mark.parametrize("variable", MAPS)
def test_a_control_character_in_json_is_refused(monkeypatch, variable: str, unseen: str) -> None:
    given = json.dumps({"a": strong(variable), "b": strong(variable) + unseen})
    with pytest.raises(SettingsError, match=r"contains a control character"):
        read(variable, {**siblings(variable), variable: given}, monkeypatch)


def test_a_secret_key_that_ends_in_a_newline_can_stay(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids are derived from it, and `echo` may have written it."""
    given = {"HERALD_SECRET_KEY": strong("a") + "\n", "HERALD_ALLOW_WEAK_SECRETS": "secret_key"}
    assert found(read("HERALD_SECRET_KEY", given, monkeypatch), "HERALD_SECRET_KEY") == strong("a") + "\n"


def test_only_a_regular_file_holds_a_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Opening a pipe that nothing writes to would wait for ever."""
    pipe, link, place = tmp_path / "pipe", tmp_path / "link", tmp_path / "s"
    os.mkfifo(pipe)
    link.symlink_to(pipe)
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("s")
        for file, why in (
            (pipe, "not a regular file"),
            (link, "not a regular file"),
            (Path("/dev/null"), "not a regular file"),
            (Path("/dev/zero"), "not a regular file"),
            (place, "cannot be read"),
            (tmp_path, "Is a directory"),
        ):
            with pytest.raises(
                SettingsError, match=f"HERALD_SECRET_KEY_FILE: {file} cannot be read: .*"
            ) as refused:
                read("HERALD_SECRET_KEY", {"HERALD_SECRET_KEY_FILE": str(file)}, monkeypatch)
            assert why in str(refused.value)


def test_a_link_to_a_file_holds_its_secret(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kubernetes mounts each key of a secret as one."""
    (tmp_path / "..data").mkdir()
    (tmp_path / "..data" / "key").write_text(strong("a"))
    (tmp_path / "key").symlink_to("..data/key")
    given = {"HERALD_SECRET_KEY_FILE": str(tmp_path / "key")}
    assert found(read("HERALD_SECRET_KEY", given, monkeypatch), "HERALD_SECRET_KEY") == strong("a")
