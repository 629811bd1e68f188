"""Speaks REST to the API: answers as JSON, problems as one readable message."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from console import places
from console.failure import Failure

TIMEOUT_S: Final = 30
PAGE: Final = 200
"""The most that the API gives at once."""

Json = dict[str, Any]


class Api:
    """The API. Every call raises Failure when it cannot be made or is refused."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **query: Any) -> Json:
        """Read."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None) -> Json:
        """Submit, or decide."""
        return self._call("POST", path, body, headers=headers)

    def patch(self, path: str, body: Json) -> Json:
        """Change."""
        return self._call("PATCH", path, body)

    def pages(self, path: str, at_most: int, **query: Any) -> tuple[list[Json], bool]:
        """Up to `at_most` notifications of a list, newest first, and whether there are more."""
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < at_most:
            page = self.get(path, cursor=cursor, limit=min(PAGE, at_most - len(found)), **query)
            found += page["notifications"]
            cursor = page["next_cursor"]
            if cursor is None:
                return found, False
        return found, True

    def _call(
        self,
        method: str,
        path: str,
        body: Json | None = None,
        *,
        query: Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Json:
        asked = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            answer = self._client.request(method, f"/v1{path}", json=body, params=asked, headers=headers)
        except httpx.TransportError as error:
            raise Failure(_unreachable(self._client.base_url, error)) from None
        if answer.is_error:
            raise Failure(_problem(answer))
        try:
            return answer.json()
        except ValueError:
            raise Failure(f"{answer.url} does not answer like Herald: is HERALD_API_URL right?") from None


@contextmanager
def connected() -> Generator[Api]:
    """The API of this installation. Raises Failure when nobody said where it is."""
    place = places.api()
    try:
        with httpx.Client(
            base_url=place.url.rstrip("/"),
            headers={"Authorization": f"Bearer {place.key}"},
            timeout=TIMEOUT_S,
        ) as client:
            yield Api(client)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeEncodeError):
        raise Failure(
            f"The API cannot be called at {place.url} with this key: check HERALD_API_URL and HERALD_API_KEY."
        ) from None


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> str:
    if isinstance(error, httpx.UnsupportedProtocol):
        return f"HERALD_API_URL is {url}: expected an address such as https://herald.example."
    what = "did not answer in time" if isinstance(error, httpx.TimeoutException) else "cannot be reached"
    return (
        f"The API at {url} {what}. Does it run (`herald dev`, `herald api`)? HERALD_API_URL says where it is."
    )


def _problem(answer: httpx.Response) -> str:
    try:
        problem: Json = answer.json()
        lines = [f"{problem['detail']} ({answer.status_code} {problem['code']})"]
        errors: list[Json] = problem.get("errors", [])
    except (ValueError, KeyError, TypeError):
        return f"{answer.request.method} {answer.url} was answered with {answer.status_code}."
    if len(errors) > 1 or not all(error["message"] in problem["detail"] for error in errors):
        lines += [f"  {error['pointer'] or '/'}: {error['message']} ({error['code']})" for error in errors]
    return "\n".join(lines)
