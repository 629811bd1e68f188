"""What import-linter cannot see: modules at the top, libraries, imports that must stay late."""

import ast
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest
from repository import MODULES, NOT_IN_PRODUCTION, PACKAGES, ROOT, code, files, imported, name, part, tree

from providers import registry

OURS = PACKAGES | MODULES

# Which libraries each part, or one file of it, may use, beyond Python's own.
LIBRARIES = {
    "domain": {"babel", "email_validator", "jinja2", "markupsafe", "phonenumbers", "pydantic"},
    "workflows": {"temporalio"},
    "activities": {"asyncpg", "structlog", "temporalio"},
    "delivery": {"asyncpg", "structlog"},
    "dispatcher": {"asyncpg", "structlog", "temporalio"},
    "temporal": {"structlog", "temporalio"},
    "runtime": {"structlog"},
    "wiring": {"structlog", "temporalio"},
    "providers": {
        *(
            "aiohttp",
            "aiosmtplib",
            "cryptography",
            "h2",
            "hpack",
            "http_ece",
            "jwt",
            "standardwebhooks",
            "yarl",
        ),
        "structlog",
    },
    "storage": {"asyncpg", "structlog"},
    "ratelimit": {"redis", "structlog"},
    "telemetry": {"prometheus_client", "structlog"},
    "configuration": {"pydantic", "pydantic_settings"},
    "api": {
        *("cryptography", "fastapi", "httptools", "pydantic", "pydantic_core", "starlette", "structlog"),
        *("temporalio", "uvicorn"),
    },
    "console": {"asyncpg", "httpx", "pydantic", "rich", "temporalio", "typer"},
    "devstack": {"asyncpg", "httpx", "rich", "temporalio"},
    "simulators": {"aiohttp", "cryptography", "h2", "httpx", "hyperframe", "jwt", "multidict", "uvloop"},
    "providers/settings.py": {"pydantic", "pydantic_settings"},
    "settings": {"pydantic", "pydantic_settings"},
    "worker": {"asyncpg", "structlog", "temporalio", "uvloop"},
    "cli": {"typer"},
}

# What the modules at the top may import of ours; import-linter has the packages.
TOP_MODULES = {
    "settings": {"configuration", "domain", "providers"},
    "worker": {"dispatcher", "domain", "runtime", "settings", "telemetry", "temporal", "wiring"},
    "cli": {"api", "console", "devstack", "domain", "settings", "worker"},
}


def imports(path: Path) -> list[tuple[int, str]]:
    return [
        (node.lineno, m) for node in ast.walk(tree(path)) for m in imported(node) if hasattr(node, "lineno")
    ]


def libraries_of(path: Path) -> set[str]:
    return LIBRARIES.get(name(path)) or LIBRARIES[part(path)]


def test_every_part_uses_its_own_libraries_only() -> None:
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in code()
        for line, module in imports(path)
        if (top := module.split(".")[0]) not in OURS | libraries_of(path)
        and top not in sys.stdlib_module_names
    ]
    assert wrong == []


@pytest.mark.parametrize("module", sorted(TOP_MODULES))
def test_top_level_modules_import_only_what_they_wire(module: str) -> None:
    used = {m.split(".")[0] for _, m in imports(ROOT / f"{module}.py")} & OURS
    assert used <= TOP_MODULES[module]


def test_vendors_do_not_import_each_other() -> None:
    """Only the registry imports an adapter, so no adapter reaches another, even indirectly. Simulators
    need no list: no module imports one."""
    adapters = {f"providers.{channel}.{vendor}" for vendor, channel in registry.KNOWN.items()}
    simulated = {f"simulators.{vendor}" for vendor in registry.KNOWN}
    importing = [
        (module.rpartition(".")[0], name(path))
        for path in code()
        if part(path) in ("providers", "simulators")
        for _, module in imports(path)
        if module.rpartition(".")[0] in adapters | simulated
    ]
    assert sorted(importing) == sorted((adapter, "providers/registry.py") for adapter in adapters)


def test_reading_settings_imports_no_vendor() -> None:
    """settings.py imports only the providers' settings models."""
    assert {m for _, m in imports(ROOT / "settings.py") if m.startswith("providers")} == {
        f"providers.settings.{model}" for model in ("ProviderSettings", "RouteSettings", "SettingsError")
    }
    ours = {m.split(".")[0] for _, m in imports(ROOT / "providers" / "settings.py")} & OURS
    assert ours == {"configuration", "domain"}


def test_only_the_domain_decides_about_transitions() -> None:
    """The engine, the activities and the API apply what domain.decision.decide returns."""
    building = [
        f"{name(path)}:{node.lineno}"
        for path in code(production=True)
        if part(path) != "domain"
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Transition"
    ]
    assert building == []


def test_the_api_imports_no_temporal_client() -> None:
    allowed = ("temporalio.service",)
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in code()
        if part(path) == "api"
        for line, module in imports(path)
        if module.startswith("temporalio") and not module.startswith(allowed)
    ]
    assert wrong == []


def test_workflows_import_nothing_with_side_effects() -> None:
    """They run unsandboxed in production: restricted imports replace the sandbox."""
    unsafe = {
        *(
            "os",
            "random",
            "secrets",
            "socket",
            "subprocess",
            "threading",
            "time",
            "uuid",
            "pathlib",
            "shutil",
        ),
        *("http", "urllib", "ssl", "sqlite3", "tempfile", "multiprocessing", "concurrent"),
    }
    wrong = [
        f"{name(path)}:{line} imports {module}"
        for path in code()
        if part(path) == "workflows"
        for line, module in imports(path)
        if module.split(".")[0] in (OURS - {"activities", "domain", "temporal", "workflows"}) | unsafe
        or module in {"temporal.client", "temporal.registration"}
    ]
    assert wrong == []


def test_production_starts_without_the_parts_that_its_image_leaves_out() -> None:
    """`herald dev` may import the development stack, but only when it is run."""
    wrong = [
        f"{name(path)}:{node.lineno} imports {module}"
        for path in code(production=True)
        for node in _run_on_import(tree(path))
        for module in imported(node)
        if module.split(".")[0] in NOT_IN_PRODUCTION
    ]
    assert wrong == []


def test_asyncio_wait_for_is_not_used() -> None:
    """Before Python 3.12 asyncio.wait_for loses a cancellation that arrives as the awaited task ends: a
    loop that uses it may never stop. asyncio.timeout does not have this fault.
    """
    wrong = [
        f"{name(path)}:{node.lineno}"
        for path in code(production=True)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute) and ast.unparse(node) == "asyncio.wait_for"
    ]
    assert wrong == []


def test_there_are_no_import_cycles() -> None:
    """Imports inside functions count too: they only hide a cycle."""
    modules = {_module(path): path for path in files(".py") if part(path) in OURS | {"bench"}}
    graph = {
        module: {
            target
            for _, named in imports(path)
            for target in [named if named in modules else named.rpartition(".")[0]]
            if target in modules and target != module
        }
        for module, path in modules.items()
    }
    assert any(graph.values())
    try:
        TopologicalSorter(graph).prepare()
    except CycleError as error:
        pytest.fail(f"an import circle: {' <- '.join(error.args[1])}")


def test_every_python_file_belongs_to_a_part() -> None:
    parts = OURS | {"tests", "bench"}
    assert {name(path) for path in files(".py") if part(path) not in parts} == set()


def _module(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


def _run_on_import(module: ast.Module) -> list[ast.stmt]:
    """Every statement that runs when the module is imported."""
    found: list[ast.stmt] = []
    waiting: list[ast.AST] = [module]
    while waiting:
        for node in ast.iter_child_nodes(waiting.pop()):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
                continue
            if isinstance(node, ast.stmt):
                found.append(node)
            waiting.append(node)
    return found
