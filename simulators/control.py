"""The control API and its client: what a vendor received, its faults, and its callback plans."""

import json
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

import httpx
from aiohttp import web

from simulators.base import Simulator
from simulators.faults import CallbackPlan, Fault, recipient_key


class Control:
    """The routes below `/control`, over all vendors."""

    def __init__(self, simulators: Mapping[str, Simulator]) -> None:
        self._simulators = simulators

    def routes(self) -> list[web.RouteDef]:
        one = "/control/{provider}"
        return [
            web.get("/control/healthz", self._health),
            web.get("/control/settings", self._settings),
            web.get(f"{one}/messages", self._messages),
            web.get(f"{one}/count", self._count),
            web.delete(f"{one}/messages", self._forget),
            web.post(f"{one}/messages/{{id}}/report", self._report),
            web.post(f"{one}/replies", self._reply),
            web.get(f"{one}/requests", self._requests),
            web.get(f"{one}/faults", self._faults),
            web.put(f"{one}/faults", self._add_fault),
            web.delete(f"{one}/faults", self._clear_faults),
            web.get(f"{one}/callbacks", self._plans),
            web.put(f"{one}/callbacks", self._put_plan),
            web.delete(f"{one}/callbacks", self._clear_plans),
        ]

    async def _health(self, request: web.Request) -> web.Response:
        return web.json_response({"status": "ok", "providers": sorted(self._simulators)})

    async def _settings(self, request: web.Request) -> web.Response:
        base_url = f"{request.scheme}://{request.host}"
        settings: dict[str, str] = {}
        for simulator in self._simulators.values():
            settings |= simulator.settings(base_url)
        return web.json_response({"settings": settings})

    async def _messages(self, request: web.Request) -> web.Response:
        simulator, to, contains = (
            self._of(request),
            request.query.get("to"),
            request.query.get("contains", ""),
        )
        found = simulator.messages.values() if to is None else simulator.messages_of(to)
        return web.json_response({"messages": [m.to_json() for m in found if contains in m.text]})

    async def _count(self, request: web.Request) -> web.Response:
        return web.json_response({"messages": len(self._of(request).messages)})

    async def _forget(self, request: web.Request) -> web.Response:
        simulator, to = self._of(request), request.query.get("to")
        for message in list(simulator.messages.values()) if to is None else simulator.messages_of(to):
            del simulator.messages[message.id]
        if to is None:
            simulator.refusals.clear()
        return web.Response(status=204)

    async def _report(self, request: web.Request) -> web.Response:
        simulator, wanted = self._of(request), await _body(request)
        message = simulator.messages.get(request.match_info["id"])
        if message is None:
            raise _problem(web.HTTPNotFound, "no such message")
        await simulator.report(message, str(wanted.get("status", "delivered")), wanted.get("code"))
        return web.json_response(message.to_json())

    async def _reply(self, request: web.Request) -> web.Response:
        simulator, reply = self._of(request), await _body(request)
        if not await simulator.receive_reply(str(reply.get("from", "")), str(reply.get("text", ""))):
            raise _problem(web.HTTPNotFound, "this vendor sends no callbacks for replies")
        return web.Response(status=204)

    async def _requests(self, request: web.Request) -> web.Response:
        to = request.query.get("to")
        refused = [
            r.to_json()
            for r in self._of(request).refusals
            if to is None or recipient_key(r.to) == recipient_key(to)
        ]
        return web.json_response({"requests": refused})

    async def _faults(self, request: web.Request) -> web.Response:
        return web.json_response({"faults": [f.to_json() for f in self._of(request).faults.faults]})

    async def _add_fault(self, request: web.Request) -> web.Response:
        simulator = self._of(request)
        try:
            fault = Fault.from_json(await _body(request))
        except (TypeError, ValueError) as error:
            raise _problem(web.HTTPUnprocessableEntity, f"invalid fault: {error}") from error
        simulator.faults.add(fault)
        return web.json_response(fault.to_json())

    async def _clear_faults(self, request: web.Request) -> web.Response:
        self._of(request).faults.clear(request.query.get("recipient"))
        return web.Response(status=204)

    async def _plans(self, request: web.Request) -> web.Response:
        return web.json_response({"callbacks": [p.to_json() for p in self._of(request).plans.plans.values()]})

    async def _put_plan(self, request: web.Request) -> web.Response:
        simulator = self._of(request)
        try:
            plan = CallbackPlan.from_json(await _body(request))
        except (TypeError, ValueError) as error:
            raise _problem(web.HTTPUnprocessableEntity, f"invalid callback plan: {error}") from error
        simulator.plans.put(plan)
        return web.json_response(plan.to_json())

    async def _clear_plans(self, request: web.Request) -> web.Response:
        self._of(request).plans.clear(request.query.get("recipient"))
        return web.Response(status=204)

    def _of(self, request: web.Request) -> Simulator:
        simulator = self._simulators.get(request.match_info["provider"])
        if simulator is None:
            raise _problem(
                web.HTTPNotFound, f"unknown provider; expected one of {', '.join(sorted(self._simulators))}"
            )
        return simulator


async def _body(request: web.Request) -> dict[str, Any]:
    try:
        value = await request.json()
    except ValueError as error:
        raise _problem(web.HTTPBadRequest, "the body is not JSON") from error
    if not isinstance(value, dict):
        raise _problem(web.HTTPBadRequest, "the body is not a JSON object")
    return value


def _problem(kind: type[web.HTTPException], detail: str) -> web.HTTPException:
    return kind(text=json.dumps({"detail": detail}), content_type="application/json")


class Simulators:
    """The control API's client, for tests and the demo. Raises httpx.HTTPStatusError."""

    def __init__(self, base_url: str) -> None:
        self._client = httpx.AsyncClient(
            base_url=f"{base_url.rstrip('/')}/control", trust_env=False, timeout=30
        )

    async def settings(self) -> dict[str, str]:
        """The `HERALD_PROVIDERS__…` variables for an installation that uses these simulators."""
        return (await self._call("GET", "/settings"))["settings"]

    async def messages(
        self, provider: str, to: str | None = None, contains: str | None = None
    ) -> list[dict[str, Any]]:
        """The messages that the vendor processed, oldest first."""
        return (await self._call("GET", f"/{provider}/messages", to=to, contains=contains))["messages"]

    async def count(self, provider: str) -> int:
        """The number of messages that the vendor processed. Cheap enough for polling."""
        return (await self._call("GET", f"/{provider}/count"))["messages"]

    async def requests(self, provider: str, to: str | None = None) -> list[dict[str, Any]]:
        """The requests that the vendor refused or never answered, oldest first."""
        return (await self._call("GET", f"/{provider}/requests", to=to))["requests"]

    async def fault(self, provider: str, kind: str, recipient: str | None = None, **more: Any) -> None:
        """Add a fault (simulators.faults.Fault); `recipient` None: for all."""
        await self._call("PUT", f"/{provider}/faults", {"kind": kind, "recipient": recipient, **more})

    async def heal(self, provider: str, recipient: str | None = None) -> None:
        """Remove the faults of one recipient, or all of them."""
        await self._call("DELETE", f"/{provider}/faults", recipient=recipient)

    async def callbacks(self, provider: str, recipient: str | None = None, **plan: Any) -> None:
        """Set a callback plan (simulators.faults.CallbackPlan)."""
        await self._call("PUT", f"/{provider}/callbacks", {"recipient": recipient, **plan})

    async def report(
        self, provider: str, message_id: str, status: str, code: str | int | None = None
    ) -> dict[str, Any]:
        """Make the vendor send one callback now; returns once it was answered or abandoned."""
        path = f"/{provider}/messages/{quote(message_id, safe='')}/report"
        return await self._call("POST", path, {"status": status, "code": code})

    async def reply(self, provider: str, sender: str, text: str) -> None:
        """Send a reply from a recipient; returns once the vendor's callback was answered or abandoned."""
        await self._call("POST", f"/{provider}/replies", {"from": sender, "text": text})

    async def forget(self, provider: str, to: str | None = None) -> None:
        """Forget the messages to one recipient, or all of them and the refused requests."""
        await self._call("DELETE", f"/{provider}/messages", to=to)

    async def clear(self, provider: str) -> None:
        """Forget the vendor's messages, faults and callback plans."""
        await self.forget(provider)
        await self._call("DELETE", f"/{provider}/faults")
        await self._call("DELETE", f"/{provider}/callbacks")

    async def aclose(self) -> None:
        """Close the connections."""
        await self._client.aclose()

    async def _call(
        self, method: str, path: str, body: dict[str, Any] | None = None, **query: str | None
    ) -> dict[str, Any]:
        params = {name: value for name, value in query.items() if value is not None}
        response = await self._client.request(method, path, json=body, params=params)
        response.raise_for_status()
        return response.json() if response.content else {}
