"""Celery, with Redis as its broker: late acknowledgement, retries with backoff, tasks that may run twice.

As its documentation has it: `acks_late` with `reject_on_worker_lost` for tasks that are idempotent, one
message reserved for each thread or process, `visibility_timeout` longer than any task (default: an hour).
Run by `celery --app bench.peers.on_celery worker`.
"""

import os
from collections.abc import Sequence
from typing import Any

from celery import Celery
from celery.signals import worker_ready

from bench.peers.steps import SendFailed, Steps
from bench.peers.terms import RETRIES_MAX, Notification

app = Celery("peers", broker=os.environ["PEERS_BROKER_URL"])
app.conf.update(
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    broker_transport_options={"visibility_timeout": int(os.environ["PEERS_REDELIVER_S"])},
    broker_connection_retry_on_startup=True,
)
_steps: list[Steps] = []


def _own_steps() -> Steps:
    # Made in the worker process, after the fork: connections cannot be shared over one.
    if not _steps:
        _steps.append(Steps())
    return _steps[0]


@app.task(autoretry_for=(SendFailed,), retry_backoff=True, max_retries=RETRIES_MAX)
def deliver(notification: Notification) -> None:
    """All steps in one task; a failed send runs it again."""
    steps = _own_steps()
    if not steps.check_preferences(notification) or not steps.check_rate_limit(notification):
        return
    no = steps.log_attempt(notification)
    if no is None:
        return
    steps.log_outcome(notification, no, steps.send(notification, no))


@worker_ready.connect
def _tell(**_: object) -> None:
    print("worker is ready", flush=True)


def submit(notifications: Sequence[Notification]) -> None:
    """Hand them over, as an API would for each request."""
    task: Any = deliver
    for notification in notifications:
        task.delay(notification)
