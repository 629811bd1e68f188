"""How the environment becomes settings: empty variables, and secrets in files.

- A variable that is empty, or only white space, is not set.
- Each secret can be in a file instead: `NAME_FILE` has its path.
"""

import json
import os
import re
import stat
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from errno import EINVAL, EISDIR
from pathlib import Path
from typing import Any, Final, cast, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from configuration.secret_rules import Generated, Url

PREFIX: Final = "HERALD_"
FILE_BYTES_MAX: Final = 65_536

_PRIVATE_FILES: Final = ("KEY_FILE", "SERVICE_ACCOUNT_FILE")
_BY_COUNTRY: Final = re.compile(r"^(herald_routes__sms)__(?=[^_]+$)", re.IGNORECASE)


class UnusableVariables(Exception):
    """Variables that cannot be read. Each problem begins with the variable's name."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


@dataclass(frozen=True, slots=True)
class Variable:
    """A setting by the name of its variable."""

    name: str
    is_secret: bool
    is_generated: bool
    is_url: bool
    is_json: bool
    """Whether it holds several, as JSON by key: of its text, only the values are secrets."""
    is_private_file: bool
    """Whether it names a file that no one else may read: a private key, or a vendor's account."""


def variables(model: type[BaseModel], prefix: str = PREFIX) -> Iterator[Variable]:
    """Every setting of a model, nested ones included."""
    for field_name, field in model.model_fields.items():
        name = prefix + (field.alias or field_name).upper()
        kinds = list(_kinds(field.annotation))
        inner = [kind for kind in kinds if isinstance(kind, type) and issubclass(kind, BaseModel)]
        if inner:
            yield from variables(inner[0], f"{name}__")
        else:
            is_private_file = Path in kinds and name.endswith(_PRIVATE_FILES)
            is_generated, is_url = (_is_marked(field, mark) for mark in (Generated, Url))
            is_json = get_origin(field.annotation) is dict
            yield Variable(name, SecretStr in kinds, is_generated, is_url, is_json, is_private_file)


def names(model: type[BaseModel]) -> Iterator[str]:
    """The names of a model's settings, in lower case, and of the parts of nested ones."""
    for variable in variables(model):
        yield from variable.name.removeprefix(PREFIX).lower().split("__")


def secret_variables(model: type[BaseModel]) -> dict[str, Variable]:
    """The settings of a model that are secrets, by name; each can be in a file named by `NAME_FILE`."""
    return {variable.name: variable for variable in variables(model) if variable.is_secret}


def values(model: BaseModel, prefix: str = PREFIX) -> Iterator[tuple[str, Any]]:
    """Every setting of a model with its value; of one that holds several, each of them."""
    for field_name, field in type(model).model_fields.items():
        name = prefix + (field.alias or field_name).upper()
        yield from _flat(name, getattr(model, field_name))


def split_commas(value: Any) -> Any:
    """The parts of a list that is separated by commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class Environment(EnvSettingsSource):
    """The environment, where `HERALD_ROUTES__SMS` is one order and `HERALD_ROUTES__SMS__NG` another.

    pydantic takes a variable either as a value or as the prefix of nested names, never as both.
    """

    def _load_env_vars(self) -> Mapping[str, str | None]:
        loaded = {name: value for name, value in super()._load_env_vars().items() if not is_blank(value)}
        with_files = _read_files(loaded, secret_variables(self.settings_cls))
        return {nested(name): value for name, value in with_files.items()}


def nested(variable: str) -> str:
    """The name of a variable as pydantic reads it."""
    return _BY_COUNTRY.sub(r"\1_by__", variable)


def is_blank(value: str | None) -> bool:
    """Whether a variable with this value counts as not set."""
    return value is None or not value.strip()


def shown(file: Path) -> str:
    """How a message names a file: by its path, unless that may be the secret itself, given by mistake."""
    # Path.is_dir raises if a name is too long, or if a directory may not be entered.
    is_path = file.is_absolute() and len(file.parents) > 1 and os.path.isdir(file.parent)
    return str(file) if is_path else "the file that it names"


def secret_in(file: Path) -> str:
    """The secret in a file of one line, without the newline at its end. Raises ValueError that says what is
    wrong.
    """
    line = text_in(file).removesuffix("\n").removesuffix("\r")
    if "\n" in line or "\r" in line:
        raise ValueError(
            f"{shown(file)} has more than one line: a secret is one line, and nothing else is in its file"
        )
    return line


def text_in(file: Path) -> str:
    """The text of a regular file, without a byte order mark. Raises ValueError that says what is wrong."""
    try:
        content = _content(file)
        text = content.decode("utf-8-sig")
    except OSError as error:
        raise ValueError(f"{shown(file)} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{shown(file)} is not text in UTF-8") from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{shown(file)} is larger than {FILE_BYTES_MAX} bytes: is it the right file?")
    if "\0" in text:
        raise ValueError(f"{shown(file)} is not text in UTF-8: it contains a NUL, as UTF-16 does")
    if not text.strip():
        raise ValueError(f"{shown(file)} is empty")
    return text


def _content(file: Path) -> bytes:
    # Without O_NONBLOCK, opening a pipe waits until something writes to it.
    opened = os.open(file, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as stream:
        mode = os.fstat(opened).st_mode
        if stat.S_ISDIR(mode):
            raise OSError(EISDIR, os.strerror(EISDIR))
        if not stat.S_ISREG(mode):
            raise OSError(EINVAL, "it is not a regular file")
        return stream.read(FILE_BYTES_MAX + 1)


def _read_files(given: Mapping[str, str | None], secrets: Mapping[str, Variable]) -> dict[str, str | None]:
    read = dict(given)
    spelt = {name.upper(): name for name in given}
    wrong: list[str] = []
    for secret, kind in secrets.items():
        if (named := spelt.get(f"{secret}_FILE")) is None:
            continue
        path = Path(read.pop(named) or "")
        if others := [name for name, variable in spelt.items() if _sets(name, given[variable], secret)]:
            where = "" if others[0] == secret else f" (within {others[0]})"
            wrong.append(f"{secret}{where} and {secret}_FILE are both set: keep one of them")
            continue
        try:
            read[secret.lower()] = (text_in if kind.is_json else secret_in)(path)
        except ValueError as error:
            wrong.append(f"{secret}_FILE: {error}")
    if wrong:
        raise UnusableVariables(wrong)
    return read


def _sets(variable: str, value: str | None, secret: str) -> bool:
    """Whether a variable gives a value to a secret setting: its own, that of one entry, or JSON with it."""
    if variable == secret or variable.startswith(f"{secret}__"):
        return True
    if not secret.startswith(f"{variable}__"):
        return False
    try:
        inner: Any = json.loads(value or "")
    except ValueError:
        return False
    for part in secret.removeprefix(f"{variable}__").lower().split("__"):
        if not isinstance(inner, dict):
            return False
        inner = cast("dict[str, Any]", inner).get(part)
    return inner is not None


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from values(value, f"{name}__")
    elif isinstance(value, Mapping):
        for number, (key, inner) in enumerate(value.items(), 1):
            # A key may be a secret, if the two were exchanged. A blank one is as unusable as a blank value.
            place = number if isinstance(inner, SecretStr) else key
            yield from _flat(f"{name}[{place}]", inner if str(key).strip() else "")
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _flat(name, inner)
    else:
        yield name, value


def _kinds(annotation: Any) -> Iterator[Any]:
    """The types that an annotation consists of, and what they are annotated with."""
    yield annotation
    for inner in (*get_args(annotation), *getattr(annotation, "__metadata__", ())):
        yield from _kinds(inner)


def _is_marked(field: FieldInfo, kind: type) -> bool:
    return any(isinstance(mark, kind) for mark in (*field.metadata, *_kinds(field.annotation)))
