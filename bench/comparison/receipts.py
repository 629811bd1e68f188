"""Step six for every system: a callback endpoint that marks the attempt delivered."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import parse_qsl

import asyncpg
import uvicorn
from fastapi import FastAPI, Request, Response

from bench.comparison.steps import RECEIVE, Endpoints
from simulators.twilio import AUTH_TOKEN, sign


@asynccontextmanager
async def _pool(app: FastAPI) -> AsyncGenerator[None]:
    async with asyncpg.create_pool(
        Endpoints.given().database_url, min_size=4, max_size=4
    ) as app.state.postgres:
        yield


app = FastAPI(lifespan=_pool, openapi_url=None)


@app.post("/callbacks")
async def receive(request: Request, ref: str, number: int) -> Response:
    """Verify the vendor's signature over the whole form, then store the status."""
    fields = dict(parse_qsl((await request.body()).decode()))
    url = f"{Endpoints.given().callback_url}?{request.url.query}"
    if request.headers.get("X-Twilio-Signature") != sign(AUTH_TOKEN, url, fields):
        return Response(status_code=403)
    postgres: Any = request.app.state.postgres
    await postgres.execute(RECEIVE, ref, number, fields["MessageStatus"])
    return Response(status_code=204)


@app.get("/healthz")
async def healthz() -> Response:
    """Whether it answers."""
    return Response(status_code=204)


if __name__ == "__main__":
    uvicorn.run(app, host="127.0.0.1", port=int(os.environ["COMPARISON_RECEIPTS_PORT"]), access_log=False)
