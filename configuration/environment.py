"""How the environment becomes settings: empty variables, and secrets in files.

- A variable that is empty, or only white space, is not set.
- Each secret can be in a file instead: `NAME_FILE` has its path.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, get_args

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo
from pydantic_settings import EnvSettingsSource

from configuration.secret_rules import Generated

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
            yield Variable(name, SecretStr in kinds, _is_generated(field), is_private_file)


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
        return {_BY_COUNTRY.sub(r"\1_by__", name): value for name, value in with_files.items()}


def is_blank(value: str | None) -> bool:
    """Whether a variable with this value counts as not set."""
    return value is None or not value.strip()


def secret_in(file: Path) -> str:
    """The secret in a file, without the newline at its end. Raises ValueError that says what is wrong."""
    try:
        with file.open("rb") as stream:
            content = stream.read(FILE_BYTES_MAX + 1)
        text = content.decode()
    except OSError as error:
        raise ValueError(f"{file} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not text in UTF-8") from None
    if len(content) > FILE_BYTES_MAX:
        raise ValueError(f"{file} is larger than {FILE_BYTES_MAX} bytes: is it the right file?")
    if not text.strip():
        raise ValueError(f"{file} is empty")
    return text.removesuffix("\n").removesuffix("\r")


def _read_files(given: Mapping[str, str | None], secrets: Mapping[str, Variable]) -> dict[str, str | None]:
    read = dict(given)
    spelt = {name.upper(): name for name in given}
    wrong: list[str] = []
    for secret in secrets:
        if (named := spelt.get(f"{secret}_FILE")) is None:
            continue
        path = Path(read.pop(named) or "")
        if secret in spelt:
            wrong.append(f"{secret} and {secret}_FILE are both set: keep one of them")
            continue
        try:
            read[secret.lower()] = secret_in(path)
        except ValueError as error:
            wrong.append(f"{secret}_FILE: {error}")
    if wrong:
        raise UnusableVariables(wrong)
    return read


def _flat(name: str, value: Any) -> Iterator[tuple[str, Any]]:
    if isinstance(value, BaseModel):
        yield from values(value, f"{name}__")
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            # A blank key is as unusable as a blank value.
            yield from _flat(f"{name}[{key}]", inner if str(key).strip() else "")
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


def _is_generated(field: FieldInfo) -> bool:
    marks = (*field.metadata, *_kinds(field.annotation))
    return any(isinstance(mark, Generated) for mark in marks)
