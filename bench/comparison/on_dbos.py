"""DBOS: a durable workflow in Postgres, whose finished steps are not run again.

As its documentation recommends: every effect is a step, the send a step with retries. A client enqueues
workflows; worker processes with distinct executor ids run them, and each resumes its own after a restart.
Run by `python -m bench.comparison.on_dbos EXECUTOR_ID`.
"""

import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient, DBOSConfig

from bench.comparison.shared_settings import PER_PROCESS, RETRIES_MAX, Notification
from bench.comparison.steps import own_steps

QUEUE = "notifications"
VERSION = "1"
POLL_S = 0.1
CLAIMED = 8 * PER_PROCESS
"""Every POLL_S a worker fills up to this many, so that its threads always have work. With DBOS's default of
one poll a second, the queue would be the bottleneck."""


@DBOS.step()
def check_preferences(notification: Notification) -> bool:
    return own_steps().check_preferences(notification)


@DBOS.step()
def check_rate_limit(notification: Notification) -> bool:
    return own_steps().check_rate_limit(notification)


@DBOS.step()
def log_attempt(notification: Notification) -> int | None:
    return own_steps().log_attempt(notification)


@DBOS.step(retries_allowed=True, max_attempts=1 + RETRIES_MAX, interval_seconds=1, backoff_rate=2)
def send(notification: Notification, number: int) -> str | None:
    return own_steps().send(notification, number)


@DBOS.step()
def log_outcome(notification: Notification, number: int, message_id: str | None) -> None:
    own_steps().log_outcome(notification, number, message_id)


@DBOS.workflow(name="deliver")
def deliver(notification: Notification) -> None:
    """One step for every effect; a failed send is retried within its step."""
    if not check_preferences(notification) or not check_rate_limit(notification):
        return
    if number := log_attempt(notification):
        log_outcome(notification, number, send(notification, number))


def submit(notifications: Sequence[Notification]) -> None:
    """Enqueue them from another process, several at a time, like concurrent API requests."""
    if not _client:
        _client.append(DBOSClient(system_database_url=os.environ["COMPARISON_SYSTEM_DATABASE_URL"]))
    list(_threads.map(_enqueue, notifications))


def _enqueue(notification: Notification) -> None:
    _client[0].enqueue(
        {"workflow_name": "deliver", "queue_name": QUEUE, "app_version": VERSION}, notification
    )


_client: list[DBOSClient] = []
_threads = ThreadPoolExecutor(PER_PROCESS)


def main() -> None:
    config: DBOSConfig = {
        "name": "comparison",
        "system_database_url": os.environ["COMPARISON_SYSTEM_DATABASE_URL"],
        "executor_id": sys.argv[1],
        "application_version": VERSION,
        "log_level": "WARNING",
        "max_executor_threads": PER_PROCESS,
    }
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CLAIMED, polling_interval_sec=POLL_S)
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


if __name__ == "__main__":
    main()
