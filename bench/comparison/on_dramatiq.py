"""Dramatiq, with Redis as its broker: actors are retried with backoff, and may run twice.

As its documentation describes: messages are acknowledged once processed. Those of a worker whose heartbeats
stopped (`heartbeat_timeout`, default a minute) are requeued by maintenance, which one command in a thousand
performs (`maintenance_chance`). Run by `dramatiq bench.comparison.on_dramatiq`.
"""

import os
from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.comparison.shared_settings import RETRIES_MAX, Notification
from bench.comparison.steps import own_steps

dramatiq.set_broker(
    RedisBroker(
        url=os.environ["COMPARISON_BROKER_URL"],
        heartbeat_timeout=int(os.environ["COMPARISON_REDELIVER_S"]) * 1000,
        maintenance_chance=int(os.environ["COMPARISON_MAINTENANCE_CHANCE"]),
    )
)


@dramatiq.actor(max_retries=RETRIES_MAX, min_backoff=1000)
def deliver(notification: Notification) -> None:
    """All steps in one actor; a failed send runs it again."""
    own_steps().deliver(notification)


def submit(notifications: Sequence[Notification]) -> None:
    """Enqueue them one by one, as an API would for each request."""
    for notification in notifications:
        deliver.send(notification)
