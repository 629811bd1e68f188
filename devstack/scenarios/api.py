"""The scenarios' client of the REST API."""

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx

CONNECTIONS_MAX = 40


@dataclass(frozen=True, slots=True)
class Response:
    """One HTTP response: its status and its JSON."""

    status: int
    body: dict[str, Any]
    replayed: bool = False

    @property
    def id(self) -> str:
        """The notification's id, or an empty string."""
        return str(self.body.get("id", ""))

    @property
    def code(self) -> str:
        """The problem's code, or an empty string."""
        return str(self.body.get("code", ""))


class Api:
    """A client of `/v1`. Raises httpx.HTTPError without a response; `get` and `put` also for a refusal."""

    def __init__(self, url: str, key: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{url}/v1",
            headers={"Authorization": f"Bearer {key}"},
            trust_env=False,
            timeout=30,
            limits=httpx.Limits(max_connections=CONNECTIONS_MAX),
        )

    async def submit(self, body: Mapping[str, Any], key: str | None = None) -> Response:
        """Submit a notification. Returns any response, also a refusal."""
        headers = {"Idempotency-Key": key or uuid.uuid4().hex}
        return _parsed(await self._client.post("/notifications", json=body, headers=headers))

    async def post(self, path: str, body: Mapping[str, Any] | None = None) -> Response:
        """Request an action. Returns any response, also a refusal."""
        return _parsed(await self._client.post(path, json=body))

    async def put(self, path: str, body: Mapping[str, Any]) -> None:
        """Store a resource."""
        (await self._client.put(path, json=body)).raise_for_status()

    async def get(self, path: str) -> dict[str, Any]:
        """Read a resource."""
        response = await self._client.get(path)
        response.raise_for_status()
        return response.json()

    async def notification(self, id: str) -> dict[str, Any]:
        """A notification's current view."""
        return await self.get(f"/notifications/{id}")

    async def attempts(self, id: str) -> Sequence[dict[str, Any]]:
        """A notification's attempts in order."""
        return (await self.get(f"/notifications/{id}/attempts"))["attempts"]

    async def timeline(self, id: str) -> Sequence[dict[str, Any]]:
        """A notification's timeline entries, in order."""
        return (await self.get(f"/notifications/{id}/timeline"))["entries"]

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def _parsed(response: httpx.Response) -> Response:
    try:
        body: Any = response.json()
    except ValueError:
        body = {}
    replayed = response.headers.get("Idempotency-Replayed") == "true"
    return Response(response.status_code, body if isinstance(body, dict) else {}, replayed)
