"""Variables that are almost settings."""

from collections.abc import Iterable, Iterator, Sequence
from difflib import get_close_matches
from typing import get_args

from pydantic import BaseModel

from configuration.environment import PREFIX, Variable, nested, secret_variables, variables


def misspelt(given: Iterable[str], models: Sequence[type[BaseModel]]) -> list[str]:
    """An error for each variable that is almost a setting. Others are left alone: Kubernetes sets some."""
    fields = {field for model in models for field in model.model_fields}
    # A secret may be in a file.
    in_files = {f"{name}_FILE" for model in models for name in secret_variables(model) if "__" not in name}
    fields |= {name.removeprefix(PREFIX).lower() for name in in_files}
    inner = [f"{part}__{key}" for model in models for part, key in _nested(model)]
    leaves = {variable.name: variable for model in models for variable in variables(model)}.values()
    wrong: list[str] = []
    for variable in sorted(given):
        wrong += [_not_a_setting(variable, name) for name in _too_long(variable, leaves)]
        other, _, name = variable.lower().partition("__")[0].partition(PREFIX.lower())
        if other or not name or name in fields:
            continue
        joined = [key for key in inner if f"{name}_".startswith(f"{key.replace('__', '_')}_")]
        if meant := joined or get_close_matches(name, sorted(fields), 1, 0.85):  # a letter or two off
            wrong.append(_not_a_setting(variable, PREFIX + meant[0].upper()))
    return wrong


def _not_a_setting(variable: str, meant: str) -> str:
    return f"{variable} is not a setting; did you mean {meant}?"


def _too_long(variable: str, leaves: Iterable[Variable]) -> Iterator[str]:
    """What is meant by a variable that adds a part to a setting without parts, such as `NAME__FILE`. It would
    be ignored; as a key of several secrets, the path of the file would be the secret.
    """
    given = nested(variable).upper()
    for leaf in leaves:
        if given.startswith(f"{leaf.name}__") and (not leaf.is_json or given == f"{leaf.name}__FILE"):
            yield f"{leaf.name}_FILE" if leaf.is_secret and given.endswith("__FILE") else leaf.name


def _nested(model: type[BaseModel]) -> Iterable[tuple[str, str]]:
    """The settings that have parts, with each of their parts."""
    for field_name, field in model.model_fields.items():
        for kind in (field.annotation, *get_args(field.annotation)):
            if isinstance(kind, type) and issubclass(kind, BaseModel):
                yield from ((field_name, key) for key in kind.model_fields)
