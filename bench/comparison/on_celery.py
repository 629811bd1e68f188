"""Celery, with Redis as its broker: late acknowledgement, retries with backoff, tasks that may run twice.

As its documentation recommends: `acks_late` with `reject_on_worker_lost` for tasks that are idempotent, one
message reserved for each thread or process, `visibility_timeout` longer than any task (default: an hour).
Run by `celery --app bench.comparison.on_celery worker`.
"""

import os
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from bench.comparison.shared_settings import RETRIES_MAX, Notification
from bench.comparison.steps import SendFailed, own_steps

app = Celery("comparison", broker=os.environ["COMPARISON_BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": int(os.environ["COMPARISON_REDELIVER_S"])},
    broker_connection_retry_on_startup=True,
)


@app.task(autoretry_for=(SendFailed,), retry_backoff=True, max_retries=RETRIES_MAX)
def deliver(notification: Notification) -> None:
    """All steps in one task; a failed send runs it again."""
    own_steps().deliver(notification)


@worker_ready.connect
def _announce(**_: object) -> None:
    print("worker is ready", flush=True)


def submit(notifications: Sequence[Notification]) -> None:
    """Enqueue them one by one, as an API would for each request."""
    task: Any = deliver
    for notification in notifications:
        task.delay(notification)
