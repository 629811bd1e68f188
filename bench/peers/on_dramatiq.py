"""Dramatiq, with Redis as its broker: actors are retried with backoff, and may run twice.

As its documentation has it: messages are acknowledged once processed; those of a worker that stopped its
heartbeats (`heartbeat_timeout`, default a minute) are put back by the maintenance that one command in a
thousand does (`maintenance_chance`). Run by `dramatiq bench.peers.on_dramatiq`.
"""

import os
from collections.abc import Sequence

import dramatiq
from dramatiq.brokers.redis import RedisBroker

from bench.peers.steps import Steps
from bench.peers.terms import RETRIES_MAX, Notification

dramatiq.set_broker(
    RedisBroker(
        url=os.environ["PEERS_BROKER_URL"],
        heartbeat_timeout=int(os.environ["PEERS_REDELIVER_S"]) * 1000,
        maintenance_chance=int(os.environ["PEERS_MAINTENANCE_CHANCE"]),
    )
)
_steps: list[Steps] = []


def _own_steps() -> Steps:
    if not _steps:
        _steps.append(Steps())
    return _steps[0]


@dramatiq.actor(max_retries=RETRIES_MAX, min_backoff=1000)
def deliver(notification: Notification) -> None:
    """All steps in one actor; a failed send runs it again."""
    steps = _own_steps()
    if not steps.check_preferences(notification) or not steps.check_rate_limit(notification):
        return
    no = steps.log_attempt(notification)
    if no is None:
        return
    steps.log_outcome(notification, no, steps.send(notification, no))


def submit(notifications: Sequence[Notification]) -> None:
    """Hand them over, as an API would for each request."""
    for notification in notifications:
        deliver.send(notification)
