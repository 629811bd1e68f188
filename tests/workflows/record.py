"""Records the histories that tests replay. Run it when a changed workflow is released.

    python tests/workflows/record.py

Histories of earlier releases are never changed: give a scenario a new name instead of recording over an old
one.
"""

import asyncio
import json
import tempfile
from pathlib import Path
from typing import Any

from batch_script import BATCHES, record_batch
from temporalio.client import Client
from workflow_case import SCENARIOS, record

from devstack.ports import free_port
from devstack.process import Process
from devstack.temporal import Temporal

HISTORIES = Path(__file__).parent / "histories"


async def record_missing() -> list[str]:
    """Record every scenario without a history on a separate server. Returns their names."""
    known = dict.fromkeys(SCENARIOS, record) | {f"batches/{name}": record_batch for name in BATCHES}
    missing = [name for name in known if not (HISTORIES / f"{name}.json").exists()]
    with tempfile.TemporaryDirectory() as directory:
        server = Temporal(Path(directory) / "temporal", free_port(), free_port())
        process = Process(server.part(), Path(directory) / "logs")
        await process.start()
        try:
            client = await Client.connect(server.address, identity="recorder")
            for name in missing:
                history = await known[name](client, name.rpartition("/")[2])
                text = json.dumps(_impersonal(history.to_json_dict()), indent=1, sort_keys=True)
                (HISTORIES / f"{name}.json").write_text(text + "\n", encoding="utf-8")
        finally:
            await process.stop()
    return missing


def _impersonal(value: Any) -> Any:
    """Remove stack traces: they hold paths of this machine, and no replay reads them."""
    if isinstance(value, dict):
        return {key: _impersonal(item) for key, item in value.items() if key != "stackTrace"}
    return [_impersonal(item) for item in value] if isinstance(value, list) else value


if __name__ == "__main__":
    print("\n".join(asyncio.run(record_missing())) or "no history is missing")
