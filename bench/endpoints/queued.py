"""The endpoint that Herald's is compared with: it puts a task into Celery's queue and answers.

Once as a coroutine, in which `.delay()` holds up everybody else, and once as a plain function, which FastAPI
runs in a thread. Redis keeps the queue; there is no check of an idempotency key and no record of its own.
"""

import os

from celery import Celery
from fastapi import FastAPI
from pydantic import BaseModel

celery = Celery("queued", broker=os.environ["HERALD_VALKEY_URL"].replace("/0", "/9"))
celery.conf.update(task_ignore_result=True)


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


@celery.task
def send(notification: dict[str, object]) -> None:
    """What a worker would do; none runs."""


app = FastAPI()


@app.get("/healthz")
async def healthz() -> str:
    return "ok"


@app.post("/coroutine", status_code=202)
async def coroutine(notification: Notification) -> dict[str, str]:
    return {"id": send.delay(notification.model_dump()).id}


@app.post("/thread", status_code=202)
def thread(notification: Notification) -> dict[str, str]:
    return {"id": send.delay(notification.model_dump()).id}
