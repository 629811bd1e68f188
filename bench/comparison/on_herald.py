"""Herald, as a client uses it: notifications go to the API in batches."""

import os
from collections.abc import Sequence

import httpx

from bench.comparison.shared_settings import Notification

_BATCH = 500
_api = httpx.Client(
    base_url=os.environ["COMPARISON_API_URL"],
    headers={"Authorization": f"Bearer {os.environ['COMPARISON_API_KEY']}"},
    trust_env=False,
    timeout=60,
)


def submit(notifications: Sequence[Notification]) -> None:
    """Submit them in batches, or a single one by the plain route."""
    bodies = [_body(notification) for notification in notifications]
    if len(bodies) == 1:
        _api.post("/v1/notifications", json=bodies[0]).raise_for_status()
        return
    for first in range(0, len(bodies), _BATCH):
        batch = bodies[first : first + _BATCH]
        answer = _api.post("/v1/notifications/batch", json={"notifications": batch}).raise_for_status().json()
        if refused := [item for item in answer["results"] if item["status"] != 202]:
            raise RuntimeError(f"{len(refused)} of {len(batch)} were not accepted, the first: {refused[0]}")


def _body(notification: Notification) -> dict[str, object]:
    return {
        "user_id": notification["user_id"],
        "type": os.environ["COMPARISON_TYPE"],
        "idempotency_key": notification["id"],
        "channels": ["sms"],
        "content": {"body": notification["text"]},
        "to": {"sms": notification["to"]},
    }
