"""An endpoint to compare Herald's with: it starts the workflow itself and answers once Temporal has it."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from temporalio.client import Client

from bench.endpoints.notification import Notification, health


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    app.status.temporal = await Client.connect(os.environ["HERALD_TEMPORAL__ADDRESS"])
    yield


app = FastAPI(lifespan=lifespan)
app.include_router(health)


@app.post("/notifications", status_code=202)
async def submit(notification: Notification) -> dict[str, str]:
    id = f"direct-{notification.idempotency_key}"
    # No worker polls this queue: only the start is measured.
    await app.status.temporal.start_workflow(
        "Notification", notification.model_dump(), id=id, task_queue="nobody"
    )
    return {"id": id}
