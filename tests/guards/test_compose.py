"""docker-compose.yml and the image, checked without a container engine: against the compose schema, the
settings, the worker's timeouts and the stack that the tests run on."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import yaml
from repository import MODULES, NOT_IN_PRODUCTION, PACKAGES, ROOT, variables

from api.app import FLUSH_S
from api.serve import DRAIN_S
from devstack import binaries
from devstack.temporal import DYNAMIC_CONFIG
from providers import registry
from settings import Settings, StoreSettings
from wiring.parts import GRACE_S

FILE = ROOT / "docker-compose.yml"
COMPOSE: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = ("api", "callbacks", "worker", "worker-critical")
ONE_SHOT = {name for name, service in SERVICES.items() if str(service["restart"]).startswith("on-failure")}
PRIVATE = re.compile(r"PASSWORD|PWD|SECRET|AUTH|TOKEN$|_KEYS?$|ACCOUNT_SID")
REQUIRED = re.compile(r"\$\{[A-Z_]+:\?[^}]+\}")

DOCKERFILE = (ROOT / "deploy" / "Dockerfile").read_text(encoding="utf-8")


def environment(service: str) -> dict[str, str | None]:
    return SERVICES[service].get("environment", {})


def herald_variables(service: str) -> set[str]:
    return {name for name in environment(service) if name.startswith("HERALD_")}


def seconds(text: str) -> int:
    return int(text.removesuffix("s"))


def test_it_fits_the_compose_schema() -> None:
    command = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec", str(FILE)]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize("service", [name for name in SERVICES if herald_variables(name)])
def test_its_variables_exist_and_required_ones_are_set(service: str) -> None:
    model = StoreSettings if service == "migrate" else Settings
    known = variables(model)
    assert herald_variables(service) <= known.keys()
    assert {name for name, required in known.items() if required} <= {
        name for name, value in environment(service).items() if value is not None
    }


def test_every_setting_can_be_set() -> None:
    accounts = {name for name in variables(Settings) if name.startswith("HERALD_PROVIDERS__")}
    assert set().union(*map(herald_variables, OURS)) == variables(Settings).keys() - accounts


def test_only_the_services_that_need_the_vendors_accounts_get_them() -> None:
    given = {name: service["env_file"] for name, service in SERVICES.items() if service.get("env_file")}
    accounts = [{"path": "${PROVIDERS_ENV:-./deploy/providers.env}", "required": False}]
    assert given == dict.fromkeys(OURS, accounts)


@pytest.mark.parametrize("service", OURS)
def test_every_store_is_a_service_that_it_waits_for(service: str) -> None:
    ports = {"postgres": 5432, "valkey": 6379, "temporal": 7233}
    given = environment(service)
    addresses = [
        urlsplit(re.sub(REQUIRED, "secret", str(given["HERALD_DATABASE_URL"]))),
        urlsplit(re.sub(REQUIRED, "secret", str(given["HERALD_VALKEY_URL"]))),
        urlsplit(f"//{given['HERALD_TEMPORAL__ADDRESS']}"),
    ]
    assert {address.hostname: address.port for address in addresses} == ports
    assert ports.keys() <= SERVICES.keys()
    assert waits_for(service) >= ports.keys() | {"migrate", "temporal-schema", "temporal-namespace"}


def waits_for(service: str) -> set[str]:
    direct = set(SERVICES[service].get("depends_on", {}))
    return direct.union(*map(waits_for, direct))


def test_secrets_have_no_default_and_say_what_is_missing() -> None:
    wrong = {
        f"{name}: {variable}"
        for name in SERVICES
        for variable, value in environment(name).items()
        if PRIVATE.search(variable) and value is not None and not REQUIRED.search(value)
        if not re.search(r"_(FILE|NAME|ID)$", variable)
    }
    assert wrong == set()
    text = FILE.read_text(encoding="utf-8")
    defaults = re.findall(r"\$\{([A-Z_]+):?-", text)
    assert [name for name in defaults if PRIVATE.search(name)] == []
    assert re.search(r"content: requirepass \$\{VALKEY_PASSWORD:\?", text)


@pytest.mark.parametrize("service", SERVICES)
def test_no_secret_is_on_a_command_line(service: str) -> None:
    """Every process of the host can read the command lines of all others."""
    words = [SERVICES[service].get(key, []) for key in ("command", "entrypoint")]
    words.append(SERVICES[service].get("healthcheck", {}).get("test", []))
    named = re.findall(r"\$\$?\{?([A-Z_]+)", str(words))
    assert [variable for variable in named if PRIVATE.search(variable)] == []


@pytest.mark.parametrize("service", SERVICES)
def test_every_service_is_restricted_and_checked(service: str) -> None:
    given = SERVICES[service]
    assert given["logging"]["options"].keys() == {"max-size", "max-file"}
    assert given["cap_drop"] == ["ALL"]
    assert given["security_opt"] == ["no-new-privileges:true"]
    assert given["read_only"] or service == "temporal-ui"
    if service in ONE_SHOT:
        conditions = [
            s["depends_on"][service]["condition"]
            for s in SERVICES.values()
            if service in s.get("depends_on", {})
        ]
        assert set(conditions) == {"service_completed_successfully"}
    else:
        assert given["restart"] == "unless-stopped"
        assert "healthcheck" in given or service == "temporal-ui"


def test_a_service_that_must_be_healthy_has_a_health_check() -> None:
    healthy = {
        name
        for service in SERVICES.values()
        for name, how in service.get("depends_on", {}).items()
        if how["condition"] == "service_healthy"
    }
    assert [name for name in healthy if "test" not in SERVICES[name].get("healthcheck", {})] == []


def test_workers_can_be_scaled() -> None:
    assert not {"container_name", "ports", "hostname"} & SERVICES["worker"].keys()


def test_stopping_leaves_time_for_open_work(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HERALD_SECRET_KEY", "tests-secret-8c1f6be2d40a97e35b12")
    catalog = Settings().catalog  # pyright: ignore[reportCallIssue] (the environment fills it)
    call_s = max(catalog.provider(name).timeout_s for name in registry.KNOWN)
    # The activities end, then the groups of the ledger and of the receipts are flushed in turn.
    needed_s = 3 * (call_s + GRACE_S)
    for name in ("worker", "worker-critical"):
        assert seconds(SERVICES[name]["stop_grace_period"]) > needed_s
    assert seconds(SERVICES["api"]["stop_grace_period"]) > DRAIN_S + 3 * FLUSH_S


def test_images_have_the_versions_that_the_tests_run_on() -> None:
    temporal = printed(binaries.temporal(), "--version")
    tested = {
        "postgres": re.findall(r"\d+\.\d+", printed(binaries.postgres(), "--version"))[0],
        "valkey/valkey": re.findall(r"v=(\S+)", printed(binaries.valkey(), "--version"))[0],
        "temporalio/server": re.findall(r"Server (\d+\.\d+\.\d+)", temporal)[0],
        "temporalio/admin-tools": re.findall(r"Server (\d+\.\d+\.\d+)", temporal)[0],
        "temporalio/ui": re.findall(r"UI (\d+\.\d+\.\d+)", temporal)[0],
    }
    foreign = [service["image"].partition(":") for service in SERVICES.values() if "build" not in service]
    assert {image: tag.partition("-")[0] for image, _, tag in foreign} == tested


def printed(program: Path, *arguments: str) -> str:
    return subprocess.run([program, *arguments], check=True, capture_output=True, text=True).stdout


def test_temporal_runs_as_the_development_stack_tunes_it() -> None:
    mounts = {mount["target"]: mount["source"] for mount in SERVICES["temporal"]["volumes"]}
    inside = Path(environment("temporal")["DYNAMIC_CONFIG_FILE_PATH"] or "")
    assert ROOT / mounts[str(inside.parent)] / inside.name == DYNAMIC_CONFIG
    assert int(environment("temporal")["NUM_HISTORY_SHARDS"] or 0) >= 512
    databases = {environment("temporal")[name] for name in ("DBNAME", "VISIBILITY_DBNAME")}
    for script in ("deploy/postgres/init.sh", "deploy/temporal/schema.sh"):
        text = (ROOT / script).read_text(encoding="utf-8")
        assert [name for name in databases if not re.search(rf"\b{name}\b", text)] == []
    namespaces = {environment("temporal-namespace")["TEMPORAL_NAMESPACE"]}
    assert {environment(name)["HERALD_TEMPORAL__NAMESPACE"] for name in (*OURS, "migrate")} == namespaces


def test_valkey_evicts_nothing() -> None:
    command = " ".join(SERVICES["valkey"]["command"])
    for option in ("--appendonly yes", "--appendfsync everysec", "--maxmemory-policy noeviction"):
        assert option in command


def test_everything_that_is_mounted_or_declared_exists() -> None:
    mounts = [mount for service in SERVICES.values() for mount in service.get("volumes", [])]
    for mount in mounts:
        if mount["type"] == "volume":
            assert mount["source"] in COMPOSE["volumes"]
        else:
            assert (ROOT / re.sub(r"\$\{\w+:-(.+)\}", r"\1", mount["source"])).exists()
    assert {net for service in SERVICES.values() for net in service["networks"]} == COMPOSE["networks"].keys()


def test_only_loopback_is_published_by_default() -> None:
    published = [port for service in SERVICES.values() for port in service.get("ports", [])]
    assert [port for port in published if not re.match(r"\$\{\w+:-127\.0\.0\.1:\d+\}:\d+$", port)] == []


def test_the_image_holds_what_production_runs_and_no_more() -> None:
    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE.rpartition("\nFROM ")[2], re.MULTILINE)
    modules = {f"{module}.py" for module in MODULES}
    assert {name for line in copied for name in line.split()} == (
        (PACKAGES - NOT_IN_PRODUCTION) | modules | {"herald.toml"}
    )
    admitted = (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines()
    sources = {
        name
        for line in re.findall(r"^COPY (?!--from)(.+) \S+$", DOCKERFILE, re.MULTILINE)
        for name in line.split()
    }
    assert {line[1:] for line in admitted if line.startswith("!")} == sources


def test_the_image_is_pinned_unprivileged_and_takes_signals() -> None:
    stages = re.findall(r"^FROM (\S+) AS (\w+)$", DOCKERFILE, re.MULTILINE)
    names = {name for _, name in stages}
    assert [base for base, _ in stages if base not in names and not re.search(r":\d+\.\d+\.\d+-", base)] == []
    assert "--require-hashes" in DOCKERFILE
    assert "requirements-prod.lock" in DOCKERFILE
    for stage in re.split(r"^FROM ", DOCKERFILE, flags=re.MULTILINE)[-2:]:
        assert re.search(r"^USER herald$", stage, re.MULTILINE)
        assert re.search(r'^ENTRYPOINT \["python"', stage, re.MULTILINE)
    targets = {service["build"]["target"] for service in SERVICES.values() if "build" in service}
    assert targets <= names
