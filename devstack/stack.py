"""The whole stack: stores, simulators, API and workers, described by `<data-dir>/dev.json`."""

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
"""What runs on the stores, given the ports and the environment."""


class Stack:
    """The stack, running within `async with`. Entering raises DevStackError, and then nothing runs.

    `environment` is what Herald's processes are given, with the stack's own addresses over it; a store whose
    `HERALD_…` variable it holds is used from there instead of being started. `say` is given one line for each
    event worth telling.
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
        except BaseException:  # also when cancelled: whatever has been started must not stay
            await self._end()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end()

    @property
    def description(self) -> dict[str, Any]:
        """What dev.json says. A part that does not run has no pid, and no address if it never will."""
        own = self._simulators
        stores = ("temporal", "postgres", "valkey")
        names = (*stores, "simulators", "api", "callbacks", "worker", "worker_critical")
        return {
            "api_url": self.api_url,
            "api_key": self.api_key,
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
        """The directory of every part's output."""
        return self._data.logs

    async def stop(self, *names: str) -> None:
        """Stop parts, as an outage: they stay stopped until `resume`."""
        await self._supervisor.stop(*names)
        self._describe()

    async def resume(self, name: str) -> None:
        """Start a stopped part again. Raises DevStackError."""
        await self._supervisor.resume(name)

    def kill(self) -> None:
        """SIGKILL to every part, without waiting. Leave the `async with` block afterwards."""
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
            # Nothing that was set for real vendors may reach Herald beside the simulators.
            for name in [name for name in environment if name.startswith("HERALD_PROVIDERS__")]:
                del environment[name]
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
        """The stores that are not used from outside."""
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
        try:
            if _DATABASE_URL not in self._outside:
                await self._postgres.ensure_database()
            if ran := await migrate(database_url):
                self._say(f"migrated the database: {len(ran)} steps, the last is {ran[-1]}")
            await api_keys.ensure(database_url, TENANT, self.api_key)
        except SchemaError as error:
            raise DevStackError(str(error)) from error
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            raise DevStackError(f"The database cannot be prepared: {error}") from error
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
                f"The simulators do not say how to reach them ({type(error).__name__}): "
                f"see {self._data.logs / 'simulators.log'}."
            ) from error

    def _describe(self) -> None:
        self._data.describe(self.description)

    async def _end(self) -> None:
        try:
            await self._supervisor.stop_all(_STOP_ORDER)
        finally:
            self._data.release()
