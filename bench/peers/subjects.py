"""What a measurement sees of a system: it is handed notifications, killed, and asked whether it is done."""

import os
import signal
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from bench.counters import cpu_seconds
from bench.harness import Bench, Running
from bench.peers.site import Producer, Site, site
from bench.peers.systems import MAINTENANCE_CHANCE, REDELIVER_S, Peer
from bench.peers.terms import VENDOR, Notification
from domain.notification_types import DispatchPolicy
from simulators.control import Simulators

HERALD = Path(__file__).with_name("herald.toml").read_text(encoding="utf-8")

_HERALD_LEFT = """
SELECT count(*) FROM notifications
WHERE status IN ('waiting', 'accepted', 'scheduled', 'deferred', 'sending', 'sent')"""
_PREFERENCES = """
INSERT INTO user_notification_settings (tenant, user_id, type, channel, enabled)
SELECT 'dev', 'user-' || n, '*', 'sms', true FROM generate_series(0, 9999) n"""
_PEER_LEFT = """
SELECT count(*) FROM attempts WHERE outcome = 'accepted' AND receipt_status IS DISTINCT FROM 'delivered'"""


class Subject(Protocol):
    """One system that runs, with its vendor."""

    name: str
    simulators: Simulators

    async def submit(self, notifications: Sequence[Notification]) -> tuple[float, float]:
        """Hand these over; when that began and ended, in seconds since the epoch."""
        ...

    async def kill_workers(self) -> None:
        """SIGKILL to every worker process; returns once they run again."""
        ...

    async def outstanding(self) -> int:
        """How much is still to be done, receipts included."""
        ...

    async def recorded(self) -> set[str]:
        """The vendor's ids of the messages that the system knows it sent."""
        ...

    def cpu_s(self) -> dict[str, float]:
        """CPU seconds by part so far."""
        ...


class PeerSubject:
    """An alternative on its site."""

    def __init__(self, peer: Peer, place: Site, producer: Producer) -> None:
        self.name = peer.name
        self.simulators = place.simulators
        self._peer = peer
        self._site = place
        self._producer = producer
        self.submit = producer.submit

    async def kill_workers(self) -> None:
        """As in Subject."""
        await self._site.kill(*(name for name in self._site.processes if name.startswith("worker")))

    async def outstanding(self) -> int:
        """As in Subject."""
        return await self._peer.outstanding(self._site) + await self._site.value(_PEER_LEFT)

    async def recorded(self) -> set[str]:
        """As in Subject."""
        return set(await self._site.value("SELECT array_agg(provider_message_id) FROM attempts") or ())

    def cpu_s(self) -> dict[str, float]:
        """As in Subject."""
        return _by_part({**self._site.cpu_s(), "producer": cpu_seconds(self._producer.pid)})


@asynccontextmanager
async def alternative(peer: Peer) -> AsyncGenerator[PeerSubject]:
    """Start a peer on an empty site."""
    settings = {
        "PEERS_REDELIVER_S": str(REDELIVER_S),
        "PEERS_MAINTENANCE_CHANCE": str(MAINTENANCE_CHANCE),
    }
    async with site(settings) as place:
        await place.start(*peer.servers(place))
        await place.start(*peer.workers(place))
        if peer.ready:
            await peer.ready(place)
        producer = await Producer.start(peer.module, place.environment, place.log("producer"))
        try:
            yield PeerSubject(peer, place, producer)
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
    """Start Herald with this catalog; its notifications are of the type `kind`.

    It has one vendor, as the others have: what fell over to a second one would count as missing.
    """
    async with bench.stack(catalog=catalog, HERALD_ROUTES__SMS=VENDOR) as running:
        await running.query(_PREFERENCES)
        environment = {
            **os.environ,
            "PEERS_API_URL": running.stack.api_url,
            "PEERS_API_KEY": running.stack.api_key,
            "PEERS_TYPE": kind,
        }
        producer = await Producer.start("herald", environment, running.stack.logs / "producer.log")
        simulators = Simulators(running.simulators_url)
        try:
            yield HeraldSubject(name, running, simulators, producer)
        finally:
            await simulators.aclose()
            await producer.stop()


def pages_exist() -> bool:
    """Whether this revision can drain by pages."""
    try:
        DispatchPolicy.model_validate({"paging": "bulk"})
    except ValidationError:
        return False
    return True


def _by_part(cpu_s: dict[str, float]) -> dict[str, float]:
    """The workers of a system as one part; the simulators are the vendor's."""
    parts: dict[str, float] = {}
    for name, seconds in cpu_s.items():
        part = "workers" if name.startswith("worker") else name
        if part != "simulators":
            parts[part] = parts.get(part, 0) + seconds
    return parts
