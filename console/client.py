"""A REST client of the API: returns JSON, and turns problem documents into one readable message."""

from collections.abc import Generator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import httpx

from console import endpoints
from console.errors import CommandError

TIMEOUT_S: Final = 30
PAGE_SIZE_MAX: Final = 200
"""The API's limit on the items of one page."""

Json = dict[str, Any]

NEXT_STEPS: Final = {
    "not_found": "Check HERALD_API_URL: it must be the root of a Herald API, without /v1.",
    "api_key_missing": "Check HERALD_API_KEY. `herald keys create` makes a key.",
    "api_key_invalid": "Check HERALD_API_KEY. `herald keys list` shows active keys.",
    "api_key_mistyped": "Check HERALD_API_KEY.",
    "api_key_expired": "Set HERALD_API_KEY to another key. `herald keys create` makes one.",
    "scope_missing": "Set HERALD_API_KEY to a key with this scope. `herald keys list` shows scopes.",
    "installation_key_needed": "Set HERALD_API_KEY to that key.",
    "tenant_missing": "Set HERALD_TENANT to the tenant's name.",
    "tenant_invalid": "Check HERALD_TENANT.",
    "tenant_differs": "Unset HERALD_TENANT, or set HERALD_API_KEY to a key of the installation.",
    "notification_not_found": "`herald list` shows the notifications that this API key can read.",
    "limit_store_unavailable": "Check /readyz of the API: is Valkey up?",
    "provider_not_found": "`herald providers` shows all providers.",
    "reason_missing": "Give it with --reason.",
}
"""What to do after a problem whose detail does not say it, by its code."""


class Api:
    """The API. Every method raises CommandError if the API cannot be reached or refuses the request."""

    def __init__(self, client: httpx.Client) -> None:
        self._client = client

    def get(self, path: str, **query: Any) -> Json:
        """Read a resource."""
        return self._call("GET", path, query=query)

    def post(self, path: str, body: Json | None = None, headers: Mapping[str, str] | None = None) -> Json:
        """Submit a notification, or act on one."""
        return self._call("POST", path, body, headers=headers)

    def patch(self, path: str, body: Json, headers: Mapping[str, str] | None = None) -> Json:
        """Change a resource."""
        return self._call("PATCH", path, body, headers=headers)

    def list_all(self, path: str, items: str, limit: int, **query: Any) -> tuple[list[Json], bool]:
        """Read up to `limit` of a list's `items`, newest first, and whether there are more."""
        found: list[Json] = []
        cursor: str | None = None
        while len(found) < limit:
            page = self.get(path, cursor=cursor, limit=min(PAGE_SIZE_MAX, limit - len(found)), **query)
            found += page[items]
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
        parameters = {name: value for name, value in (query or {}).items() if value is not None}
        try:
            response = self._client.request(
                method, f"/v1{path}", json=body, params=parameters, headers=headers
            )
        except httpx.TransportError as error:
            raise CommandError(_unreachable(self._client.base_url, error)) from None
        if response.is_error:
            raise CommandError(_problem(response))
        try:
            return response.json()
        except ValueError:
            raise CommandError(_not_herald(response)) from None


@contextmanager
def connected(*, installation: bool = False) -> Generator[Api]:
    """Connect to this installation's API. Raises CommandError if there is no API key for it.

    `installation`: the command concerns every tenant. The request names none.
    """
    endpoint = endpoints.api(installation=installation)
    headers = {"Authorization": f"Bearer {endpoint.key}"}
    if endpoint.tenant and not installation:
        headers["Herald-Tenant"] = endpoint.tenant
    try:
        with httpx.Client(
            base_url=endpoint.url.rstrip("/"),
            headers=headers,
            timeout=TIMEOUT_S,
            # A proxy of the environment would see what http carries, on its way to this host too.
            trust_env=endpoint.url.lower().startswith("https:"),
        ) as client:
            yield Api(client)
    except (httpx.InvalidURL, httpx.UnsupportedProtocol, UnicodeEncodeError):
        raise CommandError(
            f"The API cannot be called at {endpoint.url} with this key: the address is not a URL, or the key "
            "or the tenant has characters other than ASCII. Check HERALD_API_URL, HERALD_API_KEY and "
            "HERALD_TENANT."
        ) from None


def _unreachable(url: httpx.URL, error: httpx.TransportError) -> str:
    if isinstance(error, httpx.UnsupportedProtocol):
        return f"HERALD_API_URL is {url}: use an address such as https://herald.example."
    if isinstance(error, httpx.TimeoutException):
        what = f"did not respond within {TIMEOUT_S} s"
    elif isinstance(error, httpx.NetworkError):
        what = "cannot be reached"
    else:
        return f"{url} does not respond like an HTTP server. Check that HERALD_API_URL is a Herald API."
    return f"The API at {url} {what}. Start it with `herald dev` or `herald api`, or correct HERALD_API_URL."


def _not_herald(response: httpx.Response) -> str:
    request = response.request
    return (
        f"{request.method} {request.url} returned {response.status_code} and no Herald response. "
        "Check that HERALD_API_URL is the address of a Herald API."
    )


def _problem(response: httpx.Response) -> str:
    """The problem, the refused request, each invalid field if there are several, and what to do next."""
    request = response.request
    try:
        problem: Json = response.json()
        detail, code = problem["detail"], problem["code"]
        errors: list[Json] = problem.get("errors", [])
    except (ValueError, KeyError, TypeError):
        return _not_herald(response)
    listed = [f"  {error['pointer'] or '/'}: {error['message']} ({error['code']})" for error in errors]
    if len(errors) > 1:
        detail = f"{len(errors)} fields are invalid."
    elif all(error["message"] in detail for error in errors):
        listed = []
    lines = [f"{detail} ({response.status_code} {code}, {request.method} {request.url.path})", *listed]
    if code in NEXT_STEPS:
        lines.append(NEXT_STEPS[code])
    return "\n".join(lines)
