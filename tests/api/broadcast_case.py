"""Broadcasts that the tests submit."""

from typing import Any
from uuid import uuid4

import httpx

LIST = {"kind": "list", "recipients": [{"user_id": "ada", "data": {"name": "Ada"}}]}
UPLOAD = {"kind": "upload"}
CSV = {"Content-Type": "text/csv"}
NDJSON = {"Content-Type": "application/x-ndjson"}


def broadcast(**changes: Any) -> dict[str, Any]:
    """A valid broadcast."""
    valid: dict[str, Any] = {
        "type": "marketing",
        "channels": ["sms"],
        "template": {"body": "Hello {{ name }}"},
        "audience": LIST,
    }
    return {name: value for name, value in (valid | changes).items() if value is not None}


async def create(api: httpx.AsyncClient, key: str = "", **changes: Any) -> httpx.Response:
    """Create a broadcast, by default under a new key."""
    headers = {"Idempotency-Key": key or str(uuid4())}
    return await api.post("/broadcasts", json=broadcast(**changes), headers=headers)


async def created(api: httpx.AsyncClient, **changes: Any) -> dict[str, Any]:
    """Create a broadcast and expect 202."""
    answer = await create(api, **changes)
    assert answer.status_code == 202, answer.text
    return answer.json()


async def upload(
    api: httpx.AsyncClient, id: str, content: bytes | str, headers: dict[str, str] = CSV, query: str = ""
) -> httpx.Response:
    """Upload an audience."""
    return await api.put(f"/broadcasts/{id}/audience{query}", content=content, headers=headers)


async def refused(api: httpx.AsyncClient, id: str) -> dict[int, str]:
    """The codes of the refused lines, by line."""
    answer = await api.get(f"/broadcasts/{id}/refused", params={"limit": 200})
    return {item["line"]: item["code"] for item in answer.json()["refused"]}
