"""Sits between an adapter and the proxies: passes every exchange on, and records violations.

Prism checks a request against the vendor's document before the simulator sees it, and the answer before
the adapter does. With `--errors` it answers with its own problem instead, so the adapter sees every
violation too.
"""

import json
from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

import aiohttp
from aiohttp import web
from multidict import CIMultiDict
from yarl import URL

PRISM_PROBLEM = "https://stoplight.io/prism/errors#"
HOP_BY_HOP = frozenset({"connection", "content-length", "host", "keep-alive", "transfer-encoding"})


class Side(StrEnum):
    """The side that violated the document."""

    OURS = "request"
    SIMULATORS = "answer"


@dataclass(frozen=True, slots=True)
class Violation:
    """One violation that Prism reports."""

    side: Side
    exchange: str
    location: str
    message: str


@dataclass(slots=True)
class Witness:
    """Counts the exchanges with one vendor. `proxies`: Prism's address for each beginning of a path."""

    proxies: Mapping[str, str]
    url: str = ""
    checked: int = 0
    undescribed: int = 0
    """Answers whose status the document does not describe: only their requests were checked."""
    violations: list[Violation] = field(default_factory=list[Violation])

    async def take(self, request: web.Request) -> web.Response:
        """Pass one request on, and its answer back."""
        self.checked += 1
        exchange = f"{request.method} {request.path}"
        for path, proxy in self.proxies.items():
            if request.path.startswith(path):
                answer = await _passed_on(request, proxy)
                self.violations += _violations(exchange, answer)
                self.undescribed += "the returned status code" in answer.headers.get("sl-violations", "")
                return answer
        self.violations.append(Violation(Side.OURS, exchange, "path", "no document describes it"))
        return web.Response(status=404)


@asynccontextmanager
async def standing(witness: Witness) -> AsyncGenerator[Witness]:
    """Let a witness listen on a free port inside the block."""
    app = web.Application()
    app.add_routes([web.route("*", "/{path:.*}", witness.take)])
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        witness.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        yield witness
    finally:
        await runner.cleanup()


async def _passed_on(request: web.Request, base_url: str) -> web.Response:
    headers = {name: value for name, value in request.headers.items() if name.lower() not in HOP_BY_HOP}
    body = await request.read()
    async with (
        aiohttp.ClientSession(auto_decompress=False) as session,
        session.request(
            request.method,
            URL(base_url + request.raw_path, encoded=True),
            headers=headers,
            data=body or None,
            skip_auto_headers=("Content-Type",),
        ) as answer,
    ):
        kept = [(name, value) for name, value in answer.headers.items() if name.lower() not in HOP_BY_HOP]
        return web.Response(status=answer.status, body=await answer.read(), headers=CIMultiDict(kept))


def _violations(exchange: str, answer: web.Response) -> Sequence[Violation]:
    """The violations in Prism's problem: those that it lists, or the problem itself."""
    problem = _problem(answer)
    kind = str(problem.get("type", ""))
    if not kind.startswith(PRISM_PROBLEM):
        return []
    side = Side.SIMULATORS if kind.endswith("#VIOLATIONS") else Side.OURS
    listed = problem.get("validation") or [{"message": problem.get("title")}]
    return [
        Violation(side, exchange, ".".join(map(str, one.get("location", ()))), str(one["message"]))
        for one in listed
    ]


def _problem(answer: web.Response) -> dict[str, Any]:
    if answer.content_type != "application/problem+json" or not isinstance(answer.body, bytes):
        return {}
    return json.loads(answer.body)
