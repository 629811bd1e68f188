"""No dead code: production uses everything that it defines. Use by a test is not enough."""

import importlib
import inspect
from functools import cache

from repository import MODULES, NOT_IN_PRODUCTION, PACKAGES, code, files, part
from uses import Definition, Uses, definitions, fields

from simulators.server import vendors

PRODUCTION = (PACKAGES | MODULES) - NOT_IN_PRODUCTION

ENTRY_POINTS = {"cli.app"}

REGISTERING = {
    *("field_validator", "model_validator", "app.command", "app.callback", "activity.defn"),
    *("workflow.defn", "workflow.run", "workflow.signal", "workflow.query", "workflow.update"),
    *("router.get", "router.post", "router.put", "router.patch", "router.delete"),
    *("direct.post", "uploads.put"),
}
"""Decorators that register a function with a framework, which calls it without its name."""

ALLOWED = {
    "storage.api_keys.ensure": "the development stack, which is not production code, creates its key with it",
    "domain.notification_types.Catalog.receipt_deadline_s": "passed as a value; fields share its name",
}
"""Unused definitions that stay, and why."""

READ_BY_NAME = {
    "console.capacity_model.Cost": "each cost by the name of what it is counted in",
    "storage.maintenance.Drift": "all counts together, as the activity's result and as a metric",
}
"""Classes whose fields are read without writing their names, and how."""


@cache
def uses() -> Uses:
    return Uses(code())


def full_name(definition: Definition) -> str:
    return ".".join(filter(None, (definition.module, definition.owner, definition.name)))


def is_hook(definition: Definition) -> bool:
    """Whether a library calls it: by its decorator, or because it overrides a method of the library's."""
    if REGISTERING & set(definition.decorators) or full_name(definition) in ENTRY_POINTS:
        return True
    if definition.owner is None:
        return False
    owner = getattr(importlib.import_module(definition.module), definition.owner)
    return any(
        definition.name in vars(base)
        for base in inspect.getmro(owner)[1:]
        if base.__module__.partition(".")[0] not in PACKAGES | MODULES
    )


def unused(defined: frozenset[str], by: frozenset[str]) -> dict[str, Definition]:
    """The definitions in `defined` that no part of `by` uses, by full name."""
    return {
        full_name(definition): definition
        for definition in definitions(path for path in code() if part(path) in defined)
        if not uses().of(definition, by) and not is_hook(definition)
    }


def test_production_uses_what_it_defines() -> None:
    found = unused(PRODUCTION, PRODUCTION)
    assert [str(one) for name, one in found.items() if name not in ALLOWED] == []
    assert ALLOWED.keys() - found.keys() == set(), "used or removed: delete it from ALLOWED"


def test_production_reads_the_fields_that_it_fills() -> None:
    unread = [
        str(field)
        for field in fields(code(production=True))
        if not uses().reads(field.name, PRODUCTION) and f"{field.module}.{field.owner}" not in READ_BY_NAME
    ]
    assert unread == []


def test_the_development_stack_and_the_simulators_are_used() -> None:
    """Use by tests and benchmarks counts: they exist for these."""
    found = unused(NOT_IN_PRODUCTION, PACKAGES | MODULES)
    others = [path for path in files(".py") if part(path) in {"bench", "tests"}]
    texts = {path: path.read_text(encoding="utf-8") for path in others}
    outside = Uses(path for path, text in texts.items() if any(one.name in text for one in found.values()))
    by_module = {f"{simulator.__module__}.{simulator.__name__}" for simulator in vendors()}
    unknown = [one for name, one in found.items() if name not in by_module]
    assert [str(one) for one in unknown if not outside.of(one, {"bench", "tests"})] == []
