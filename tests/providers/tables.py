"""The adapters' translation tables, row by row, found by their contents: there is no list of them."""

import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from enum import Enum
from types import ModuleType
from typing import Any, cast

from domain.outcome import AddressVerdict, Outcome, ReceiptStatus
from providers.base import CodeMeaning
from providers.email.event_meanings import EventMeaning

Meant = CodeMeaning | EventMeaning | ReceiptStatus | AddressVerdict


@dataclass(frozen=True, slots=True)
class Row:
    """One row of one table. `changed`: the whole table, with another meaning in this row."""

    module: ModuleType
    table: str
    key: object
    field: str
    changed: object

    def __str__(self) -> str:
        return f"{self.module.__name__.rpartition('.')[2]}.{self.table}[{self.key!r}].{self.field}"


def rows_of(channel: str, provider: str) -> Iterator[Row]:
    """Every row of every table of a provider, once for each field of its meaning."""
    own = f"providers.{channel}.{provider}"
    for name, module in sorted(sys.modules.items()):
        if name == own or name.startswith(f"{own}_"):
            for table, value in vars(module).items():
                if table.isupper():
                    yield from _rows(module, table, value)


def _rows(module: ModuleType, table: str, value: object) -> Iterator[Row]:
    if isinstance(value, Mapping):
        entries = cast("Mapping[object, object]", value)
        for key, meant in entries.items():
            for field, other in _others(meant):
                yield Row(module, table, key, field, {**entries, key: other})
    elif isinstance(value, tuple):
        rows = cast("Sequence[object]", value)
        for place, meant in enumerate(rows):
            for field, other in _others(meant):
                changed = (*rows[:place], other, *rows[place + 1 :])
                yield Row(module, table, _beginning(meant), field, changed)


def _beginning(row: object) -> object:
    return cast("Sequence[object]", row)[0] if isinstance(row, tuple) else row


def _others(meant: object) -> Iterator[tuple[str, object]]:
    """The same row with one field changed, for each field."""
    if isinstance(meant, CodeMeaning) and meant.outcome is Outcome.ACCEPTED:
        yield "outcome", replace(meant, outcome=Outcome.REJECTED)
    elif isinstance(meant, CodeMeaning | EventMeaning):
        for one in fields(meant):
            yield one.name, replace(meant, **{one.name: _other(getattr(meant, one.name))})
    elif isinstance(meant, ReceiptStatus | AddressVerdict):
        yield type(meant).__name__, _other(meant)
    elif isinstance(meant, tuple) and any(isinstance(part, Meant) for part in cast("Sequence[Any]", meant)):
        parts = cast("Sequence[object]", meant)
        for place, part in enumerate(parts):
            for field, other in _others(part):
                yield field, (*parts[:place], other, *parts[place + 1 :])


def _other(value: object) -> object:
    """Another value of the same kind."""
    if isinstance(value, Enum):
        members = list(type(value))
        return members[(members.index(value) + 1) % len(members)]
    if isinstance(value, bool):
        return not value
    return 7777.0
