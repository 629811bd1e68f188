"""A system under measurement: submit notifications, kill its workers, ask whether it has finished."""

import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from bench.comparison.shared_settings import VENDOR, Notification
from bench.comparison.site import Producer, Site, site
from bench.comparison.systems import MAINTENANCE_CHANCE, REDELIVER_S, Alternative
from bench.counters import cpu_seconds
from bench.harness import Bench, Running
from simulators.control import Simulators

HERALD = Path(__file__).with_name("herald.toml")
"""Herald's notification types: with the retries and the limit per user of the other systems."""

_HERALD_LEFT = """
SELECT count(*) FROM notifications
WHERE status IN ('waiting', 'accepted', 'scheduled', 'deferred', 'sending', 'sent')"""
_PREFERENCES = """
INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)
SELECT 'dev', 'user-' || n, '*', 'sms', true FROM generate_series(0, 9999) n"""
_ALTERNATIVE_LEFT = """
SELECT count(*) FROM attempts WHERE outcome = 'accepted' AND receipt_status IS DISTINCT FROM 'delivered'"""


class Subject(Protocol):
    """One running system, with its vendor."""

    name: str
    simulators: Simulators

    async def submit(self, notifications: Sequence[Notification]) -> tuple[float, float]:
        """Submit these; begin and end, in seconds since the epoch."""
        ...

    async def kill_workers(self) -> None:
        """Kill every worker process (SIGKILL); return once they run again."""
        ...

    async def outstanding(self) -> int:
        """How many notifications are unfinished, counting missing receipts."""
        ...

    async def recorded(self) -> set[str]:
        """The vendor's ids of the messages that the system has recorded as sent."""
        ...

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by part so far."""
        ...


class AlternativeSubject:
    """An alternative on its site."""

    def __init__(self, system: Alternative, place: Site, producer: Producer) -> None:
        self.name = system.name
        self.simulators = place.simulators
        self._system = system
        self._site = place
        self._producer = producer
        self.submit = producer.submit

    async def kill_workers(self) -> None:
        """As in Subject."""
        await self._site.kill(*(name for name in self._site.processes if name.startswith("worker")))

    async def outstanding(self) -> int:
        """As in Subject."""
        return await self._system.outstanding(self._site) + await self._site.value(_ALTERNATIVE_LEFT)

    async def recorded(self) -> set[str]:
        """As in Subject."""
        return set(await self._site.value("SELECT array_agg(provider_message_id) FROM attempts") or ())

    def cpu_s(self) -> dict[str, float]:
        """As in Subject."""
        return _by_part({**self._site.cpu_s(), "producer": cpu_seconds(self._producer.pid)})


@asynccontextmanager
async def alternative(system: Alternative) -> AsyncGenerator[AlternativeSubject]:
    """Start an alternative on an empty site."""
    settings = {
        "COMPARISON_REDELIVER_S": str(REDELIVER_S),
        "COMPARISON_MAINTENANCE_CHANCE": str(MAINTENANCE_CHANCE),
    }
    async with site(settings) as place:
        await place.start(*system.servers(place))
        await place.start(*system.workers(place))
        if system.ready:
            await system.ready(place)
        producer = await Producer.start(system.module, place.environment, place.log("producer"))
        try:
            yield AlternativeSubject(system, place, producer)
        finally:
            await producer.stop()


class HeraldSubject:
    """The product on its own stack."""

    def __init__(self, name: str, running: Running, simulators: Simulators, producer: Producer) -> None:
        self.name = name
        self.simulators = simulators
        self.running = running
        self._producer = producer
        self.submit = producer.submit

    async def kill_workers(self) -> None:
        """As in Subject."""
        parts = ("worker", "worker_critical")
        killed = {part: self.running.pid(part) for part in parts}
        for pid in killed.values():
            os.killpg(pid, signal.SIGKILL)

        async def again() -> bool:
            pids = self.running.stack.description["pids"]
            return all(pids[part] not in (None, killed[part]) for part in parts)

        await self.running.until("the workers run again", again, 90)

    async def outstanding(self) -> int:
        """As in Subject."""
        return await self.running.value(_HERALD_LEFT)

    async def recorded(self) -> set[str]:
        """As in Subject."""
        return {
            row[0] for row in await self.running.query("SELECT provider_message_id FROM provider_messages")
        }

    def cpu_s(self) -> dict[str, float]:
        """As in Subject."""
        pids = self.running.stack.description["pids"]
        parts = {part: cpu_seconds(pid) for part, pid in pids.items() if pid}
        return _by_part({**parts, "producer": cpu_seconds(self._producer.pid)})


@asynccontextmanager
async def herald(bench: Bench, name: str, kind: str, catalog: str) -> AsyncGenerator[HeraldSubject]:
    """Start Herald with this catalog; its notifications have the type `kind`.

    It has one vendor, like the others: messages that failed over to a second one would count as missing.
    """
    async with bench.stack(catalog=catalog, HERALD_ROUTES__SMS=VENDOR) as running:
        await running.query(_PREFERENCES)
        environment = {
            **os.environ,
            "COMPARISON_API_URL": running.stack.api_url,
            "COMPARISON_API_KEY": running.stack.api_key,
            "COMPARISON_TYPE": kind,
        }
        producer = await Producer.start("herald", environment, running.stack.logs / "producer.log")
        simulators = Simulators(running.simulators_url)
        try:
            yield HeraldSubject(name, running, simulators, producer)
        finally:
            await simulators.aclose()
            await producer.stop()


def _by_part(cpu_s: dict[str, float]) -> dict[str, float]:
    """CPU by part: all workers together, and no simulators."""
    parts: dict[str, float] = {}
    for name, seconds in cpu_s.items():
        part = "workers" if name.startswith("worker") else name
        if part != "simulators":
            parts[part] = parts.get(part, 0) + seconds
    return parts
