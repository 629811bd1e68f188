"""The REST API as a client of the scenarios sees it."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

CONNECTIONS_MAX = 40


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer: its status and its JSON."""

    status: int
    body: dict[str, Any]
    replayed: bool = False

    @property
    def id(self) -> str:
        """The notification's id, empty when there is none."""
        return str(self.body.get("id", ""))

    @property
    def code(self) -> str:
        """The problem's stable code, empty for none."""
        return str(self.body.get("code", ""))


class Api:
    """A client of `/v1`. Raises httpx.HTTPError when there is no answer, and for a refused question."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url}/v1",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        )

    async def submit(self, body: Mapping[str, Any], key: str | None = None) -> Answer:
        """Submit a notification, whatever the answer."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return _answer(await self._client.post("/notifications", json=body, headers=headers))

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Answer:
        """Ask for something to be done, whatever the answer."""
        return _answer(await self._client.post(path, json=body))

    async def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Store something."""
        (await self._client.put(path, json=body)).raise_for_status()

    async def get(self, path: str) -> dict[str, Any]:
        """Read something."""
        response = await self._client.get(path)
        response.raise_for_status()
        return response.json()

    async def notification(self, id: str) -> dict[str, Any]:
        """A notification as it is now."""
        return await self.get(f"/notifications/{id}")

    async def attempts(self, id: str) -> Sequence[dict[str, Any]]:
        """A notification's attempts in order."""
        return (await self.get(f"/notifications/{id}/attempts"))["attempts"]

    async def timeline(self, id: str) -> Sequence[dict[str, Any]]:
        """Everything that happened to a notification, in order."""
        return (await self.get(f"/notifications/{id}/timeline"))["entries"]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _answer(response: httpx.Response) -> Answer:
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    replayed = response.headers.get("Idempotency-Replayed") == "true"
    return Answer(response.status_code, body if isinstance(body, dict) else {}, replayed)
