"""The whole stack: stores, simulators, APIs and workers, described by `<data-dir>/dev.json`."""

import logging
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import asyncpg
import httpx

from devstack import herald
from devstack.data_dir import DataDir, new_secret
from devstack.errors import DevStackError
from devstack.ports import Ports
from devstack.postgres import Postgres, check_can_run
from devstack.process import Part
from devstack.supervisor import Supervisor
from devstack.temporal import Temporal
from devstack.valkey import Valkey
from storage import api_keys
from storage.migrate import SchemaError, migrate
from temporal.registration import RegistrationError, register_search_attributes

TENANT = "dev"

_LOG = logging.getLogger(__name__)

_STOP_ORDER = (
    ("api", "callbacks"),
    ("worker_critical", "worker"),
    ("simulators",),
    ("temporal",),
    ("valkey",),
    ("postgres",),
)

_DATABASE_URL, _VALKEY_URL = "HERALD_DATABASE_URL", "HERALD_VALKEY_URL"
_TEMPORAL_ADDRESS, _TEMPORAL_UI_URL = "HERALD_TEMPORAL__ADDRESS", "HERALD_TEMPORAL__UI_URL"
_SECRET_KEY = "HERALD_SECRET_KEY"  # noqa: S105 (the name of a variable)

Application = Callable[[Ports, Mapping[str, str]], Sequence[Part]]
"""The parts that run on the stores, by the ports and the environment."""


class Stack:
    """The stack, running within `async with`. If entering raises DevStackError, nothing is left running.

    `environment` is for Herald's processes; the stack adds its own addresses to it. A store whose `HERALD_…`
    variable is set in it is not started: the one at that address is used. `say` receives one line per event.
    """

    def __init__(
        self,
        data_dir: Path,
        ports: Ports,
        environment: Mapping[str, str],
        *,
        simulators: bool = True,
        fresh: bool = False,
        application: Application = herald.application,
        say: Callable[[str], None] = _LOG.info,
    ) -> None:
        self.ports = ports
        self.environment = dict(environment)
        self.api_url = ports.api_url
        self.api_key = ""
        self.operator_key = ""
        self._data = DataDir(data_dir)
        self._outside = set(environment)
        self._simulators = simulators
        self._fresh = fresh
        self._application = application
        self._say = say
        self._supervisor = Supervisor(self._data.logs, say, self._describe)

        self._postgres = Postgres(self._data.path / "postgres", ports.postgres)
        self._valkey = Valkey(self._data.path / "valkey", ports.valkey)
        self._temporal = Temporal(self._data.path / "temporal", ports.temporal, ports.temporal_ui)

    async def __aenter__(self) -> Self:
        await self._data.acquire(self._fresh)
        try:
            await self._start()
        except BaseException:  # cancellation too: nothing that was started may keep running
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def description(self) -> dict[str, Any]:
        """The content of dev.json. A stopped part has no pid, and a part that this stack lacks no address."""
        own = self._simulators
        stores = ("temporal", "postgres", "valkey")
        names = (*stores, "simulators", "api", "callbacks", "worker", "worker_critical")
        return {
            "api_url": self.api_url,
            "api_key": self.api_key,
            "operator_key": self.operator_key,
            "temporal_address": self.environment[_TEMPORAL_ADDRESS],
            "temporal_ui_url": self.environment.get(_TEMPORAL_UI_URL),
            "database_url": self.environment[_DATABASE_URL],
            "valkey_url": self.environment[_VALKEY_URL],
            "simulators_url": f"http://127.0.0.1:{self.ports.simulators}" if own else None,
            "apns_url": self.environment.get("HERALD_PROVIDERS__APNS__BASE_URL") if own else None,
            "pids": {name: self._supervisor.pid(name) for name in names},
        }

    @property
    def logs(self) -> Path:
        """The directory of the parts' log files."""
        return self._data.logs

    async def stop(self, *names: str) -> None:
        """Stop parts to simulate an outage: they stay stopped until `resume`."""
        await self._supervisor.stop(*names)
        self._describe()

    async def resume(self, name: str) -> None:
        """Start a stopped part again. Raises DevStackError."""
        await self._supervisor.resume(name)

    def kill(self) -> None:
        """Send SIGKILL to every part without waiting. Leave the `async with` block afterwards."""
        self._supervisor.kill_all()

    async def _start(self) -> None:
        stores = self._stores()
        await self._check(stores)
        environment = self.environment
        environment.setdefault(_DATABASE_URL, self._postgres.url())
        environment.setdefault(_VALKEY_URL, self._valkey.url())
        if _TEMPORAL_ADDRESS not in self._outside:
            environment[_TEMPORAL_ADDRESS] = self._temporal.address
            environment[_TEMPORAL_UI_URL] = self._temporal.ui_url
        environment.setdefault(_SECRET_KEY, self._data.secret("secret_key", new_secret()))
        environment["PYTHONUNBUFFERED"] = "1"
        environment |= {"HERALD_API_HOST": "127.0.0.1", "HERALD_API_PORT": str(self.ports.api)}

        parts = list(stores.values())
        if self._simulators:
            # Settings of real vendors must not reach Herald when it runs with simulators.
            for name in [name for name in environment if name.startswith("HERALD_PROVIDERS__")]:
                del environment[name]
            environment["HERALD_DEVELOPMENT"] = "true"
            public_url = environment["HERALD_PUBLIC_URL"] = self.ports.callbacks_url
            parts.append(
                herald.simulators(self.ports, self._data.path / "simulators", public_url, environment)
            )
        environment.setdefault("HERALD_PUBLIC_URL", self.ports.callbacks_url)

        await self._supervisor.start(*parts)
        await self._prepare_stores()
        if self._simulators:
            environment |= await self._simulator_settings()
        await self._supervisor.start(*self._application(self.ports, environment))
        self._describe()

    def _stores(self) -> dict[str, Part]:
        """The stores that the stack starts itself."""
        stores: dict[str, Part] = {}
        if _DATABASE_URL not in self._outside:
            stores["postgres"] = self._postgres.part()
        if _VALKEY_URL not in self._outside:
            stores["valkey"] = self._valkey.part()
        if _TEMPORAL_ADDRESS not in self._outside:
            stores["temporal"] = self._temporal.part()
        return stores

    async def _check(self, stores: Mapping[str, Part]) -> None:
        if "postgres" in stores:
            await check_can_run()
        needed = {*stores, "api", "callbacks", "worker_metrics", "worker_critical_metrics"}
        if "temporal" in stores:
            needed.add("temporal_ui")
        if self._simulators:
            needed |= {"simulators", "apns", "smtp"}
        await self.ports.check_free(needed)

    async def _prepare_stores(self) -> None:
        database_url = self.environment[_DATABASE_URL]
        self.api_key = self._data.secret("api_key", api_keys.generate())
        self.operator_key = self._data.secret("operator_key", api_keys.generate())
        try:
            if _DATABASE_URL not in self._outside:
                await self._postgres.ensure_database()
            if ran := await migrate(database_url):
                self._say(f"migrated the database: {len(ran)} steps, the last is {ran[-1]}")
            await api_keys.ensure(database_url, TENANT, self.api_key)
            await api_keys.ensure(database_url, None, self.operator_key)
        except SchemaError as error:
            raise DevStackError(str(error)) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DevStackError(
                f"The database cannot be prepared ({type(error).__name__}: {error}). "
                f"Check {_DATABASE_URL}, or unset it to let the stack run its own Postgres."
                if _DATABASE_URL in self._outside
                else f"The database cannot be prepared ({type(error).__name__}: {error}). "
                f"See {self._data.logs / 'postgres.log'}; --fresh deletes its data."
            ) from error
        if _TEMPORAL_ADDRESS in self._outside:
            namespace = self.environment.get("HERALD_TEMPORAL__NAMESPACE", "default")
            try:
                await register_search_attributes(self.environment[_TEMPORAL_ADDRESS], namespace)
            except RegistrationError as error:
                raise DevStackError(str(error)) from error

    async def _simulator_settings(self) -> dict[str, str]:
        try:
            return await herald.simulator_settings(f"http://127.0.0.1:{self.ports.simulators}")
        except (httpx.HTTPError, KeyError, ValueError) as error:
            raise DevStackError(
                f"The simulators did not return their settings ({type(error).__name__}). "
                f"See {self._data.logs / 'simulators.log'}."
            ) from error

    def _describe(self) -> None:
        self._data.describe(self.description)

    async def _end(self) -> None:
        try:
            await self._supervisor.stop_all(_STOP_ORDER)
        finally:
            self._data.release()
