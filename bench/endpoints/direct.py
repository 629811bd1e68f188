"""The endpoint that Herald's is compared with: it starts the workflow itself, and answers when it has."""

import os
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from pydantic import BaseModel
from temporalio.client import Client


class Content(BaseModel):
    body: str


class To(BaseModel):
    sms: str


class Notification(BaseModel):
    user_id: str
    type: str
    channels: list[str]
    content: Content
    to: To
    idempotency_key: str


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncGenerator[None]:
    app.state.temporal = await Client.connect(os.environ["HERALD_TEMPORAL__ADDRESS"])
    yield


app = FastAPI(lifespan=lifespan)


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


@app.post("/notifications", status_code=202)
async def submit(notification: Notification) -> dict[str, str]:
    id = f"direct-{notification.idempotency_key}"
    # Nobody works on this queue: starting is all that is measured.
    await app.state.temporal.start_workflow(
        "Notification", notification.model_dump(), id=id, task_queue="nobody"
    )
    return {"id": id}
