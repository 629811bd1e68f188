"""An endpoint to compare Herald's with: it puts a task into Celery's queue and answers.

Once as a coroutine, in which `.delay()` blocks the event loop, and once as a plain function, which FastAPI
runs in a thread. Redis keeps the queue. Idempotency keys are not checked, and nothing else is stored.
"""

import os

from celery import Celery
from fastapi import FastAPI

from bench.endpoints.notification import Notification, health

celery = Celery("queued", broker=os.environ["HERALD_VALKEY_URL"].replace("/0", "/9"))
celery.conf.update(task_ignore_result=True)


@celery.task
def send(notification: dict[str, object]) -> None:
    """The worker's task; no worker runs."""


app = FastAPI()
app.include_router(health)


@app.post("/coroutine", status_code=202)
async def coroutine(notification: Notification) -> dict[str, str]:
    return {"id": send.delay(notification.model_dump()).id}


@app.post("/thread", status_code=202)
def thread(notification: Notification) -> dict[str, str]:
    return {"id": send.delay(notification.model_dump()).id}
