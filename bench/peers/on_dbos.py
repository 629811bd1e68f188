"""DBOS: a durable workflow in Postgres, whose finished steps are not run again.

As its documentation has it: every effect is a step, the send one with retries; workflows are queued by a
client and run by worker processes with executor ids of their own, each of which takes up its own
workflows when it starts again. Run by `python -m bench.peers.on_dbos EXECUTOR_ID`.
"""

import os
import signal
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

from dbos import DBOS, DBOSClient, DBOSConfig

from bench.peers.steps import Steps
from bench.peers.terms import PER_PROCESS, RETRIES_MAX, Notification

QUEUE = "notifications"
VERSION = "1"
POLL_S = 0.1
CLAIMED = 8 * PER_PROCESS
"""A worker claims once in POLL_S what it lacks up to this, so that its threads always have work; with DBOS's
default of a second between two polls the queue itself would be the limit."""
_steps: list[Steps] = []


@DBOS.step()
def check_preferences(notification: Notification) -> bool:
    return _steps[0].check_preferences(notification)


@DBOS.step()
def check_rate_limit(notification: Notification) -> bool:
    return _steps[0].check_rate_limit(notification)


@DBOS.step()
def log_attempt(notification: Notification) -> int | None:
    return _steps[0].log_attempt(notification)


@DBOS.step(retries_allowed=True, max_attempts=1 + RETRIES_MAX, interval_seconds=1, backoff_rate=2)
def send(notification: Notification, no: int) -> str | None:
    return _steps[0].send(notification, no)


@DBOS.step()
def log_outcome(notification: Notification, no: int, message_id: str | None) -> None:
    _steps[0].log_outcome(notification, no, message_id)


@DBOS.workflow(name="deliver")
def deliver(notification: Notification) -> None:
    """A step for every effect; a failed send is tried again within its step."""
    if not check_preferences(notification) or not check_rate_limit(notification):
        return
    no = log_attempt(notification)
    if no is None:
        return
    log_outcome(notification, no, send(notification, no))


def submit(notifications: Sequence[Notification]) -> None:
    """Queue them from another process, several at once as an API's requests would."""
    if not _client:
        _client.append(DBOSClient(system_database_url=os.environ["PEERS_SYSTEM_DATABASE_URL"]))
    list(_threads.map(_enqueue, notifications))


def _enqueue(notification: Notification) -> None:
    _client[0].enqueue(
        {"workflow_name": "deliver", "queue_name": QUEUE, "app_version": VERSION}, notification
    )


_client: list[DBOSClient] = []
_threads = ThreadPoolExecutor(PER_PROCESS)


def main() -> None:
    config: DBOSConfig = {
        "name": "peers",
        "system_database_url": os.environ["PEERS_SYSTEM_DATABASE_URL"],
        "executor_id": sys.argv[1],
        "application_version": VERSION,
        "log_level": "WARNING",
        "max_executor_threads": PER_PROCESS,
    }
    _steps.append(Steps())
    DBOS(config=config)
    DBOS.launch()
    DBOS.register_queue(QUEUE, worker_concurrency=CLAIMED, polling_interval_sec=POLL_S)
    print("ready", flush=True)
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    DBOS.destroy()


if __name__ == "__main__":
    main()
