"""The six steps of a notification, the same for every system.

1. check the user's preference (Postgres) · 2. reserve a place under the rate limit (Valkey, with Herald's own
script) · 3. log the attempt (Postgres) · 4. send over HTTP to the simulated Twilio · 5. log the outcome
(Postgres) · 6. process the receipt (`receipts.py`).

`Steps` is for systems with threads or processes, `AsyncSteps` for those with an event loop: the same
statements, script and HTTP limits, and the cheapest pooled client of each kind.
"""

import os
import threading
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import urlencode

import aiohttp
import asyncpg
import psycopg
import redis
import redis.asyncio
import urllib3

from bench.comparison.shared_settings import (
    HTTP_TIMEOUT_S,
    IN_FLIGHT,
    LIMIT_MAX,
    LIMIT_PER_MS,
    PER_PROCESS,
    Notification,
)
from simulators.twilio import ACCOUNT_SID, AUTH_TOKEN, SENDER

# Both drivers prepare these; psycopg wants its own placeholders.
PREFERS = "SELECT enabled FROM preferences WHERE user_id = $1 AND channel = 'sms'"
INTEND = """
INSERT INTO attempts (notification_id, number, provider)
SELECT $1, count(*) + 1, 'twilio' FROM attempts WHERE notification_id = $1
HAVING count(*) FILTER (WHERE outcome = 'accepted') = 0
RETURNING number"""
CLOSE = """
UPDATE attempts SET outcome = $3, provider_message_id = $4, closed_at = now()
WHERE notification_id = $1 AND number = $2"""
RECEIVE = """
UPDATE attempts SET receipt_status = $3, receipt_at = now()
WHERE notification_id = $1 AND number = $2 AND receipt_status IS DISTINCT FROM 'delivered'"""

_RESERVE = (Path(__file__).parents[2] / "ratelimit" / "reserve.lua").read_text(encoding="utf-8")
_HEADERS = {
    **urllib3.make_headers(basic_auth=f"{ACCOUNT_SID}:{AUTH_TOKEN}", keep_alive=True),
    "Content-Type": "application/x-www-form-urlencoded",
}


class SendFailed(Exception):
    """The vendor did not confirm the message; it may or may not have accepted it."""


@dataclass(frozen=True)
class Endpoints:
    """The addresses of everything, from the `COMPARISON_…` variables."""

    database_url: str
    valkey_url: str
    vendor_url: str
    callback_url: str

    @classmethod
    def given(cls) -> Self:
        """Raises KeyError for a missing variable."""
        return cls(*(os.environ[f"COMPARISON_{name.upper()}"] for name in cls.__dataclass_fields__))


def _form(endpoints: Endpoints, notification: Notification, number: int) -> bytes:
    reference = urlencode({"ref": notification["id"], "number": number})
    fields = {
        "To": notification["to"],
        "From": SENDER,
        "Body": notification["text"],
        "StatusCallback": f"{endpoints.callback_url}?{reference}",
    }
    return urlencode(fields).encode()


def _url(endpoints: Endpoints) -> str:
    return f"{endpoints.vendor_url}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"


def _accepted(status: int, body: Mapping[str, Any]) -> str | None:
    """The vendor's message id; None if it rejected the message. Raises SendFailed."""
    if status == 201:
        return str(body["sid"])
    if 400 <= status < 500 and status != 429:
        return None
    raise SendFailed(f"HTTP {status}")


def _limit_arguments(notification: Notification) -> tuple[list[str], list[Any]]:
    keys = ["comparison:since", f"comparison:sms:{notification['user_id']}"]
    return keys, [notification["id"], "1", LIMIT_MAX, LIMIT_PER_MS]


_steps = list["Steps"]()


def own_steps() -> "Steps":
    """The steps of this process. Created after the fork, because connections cannot be shared across one."""
    if not _steps:
        _steps.append(Steps())
    return _steps[0]


class Steps:
    """The steps for threads: one Postgres connection per thread, pools for the rest."""

    def __init__(self) -> None:
        self._endpoints = Endpoints.given()
        self._thread = threading.local()
        self._valkey = redis.Redis.from_url(self._endpoints.valkey_url)
        self._reserve = self._valkey.register_script(_RESERVE)
        self._http = urllib3.PoolManager(
            num_pools=1, maxsize=IN_FLIGHT, timeout=HTTP_TIMEOUT_S, retries=False, headers=_HEADERS
        )

    def deliver(self, notification: Notification) -> None:
        """All steps in one task. Raises SendFailed, after which the task may run again."""
        if not self.check_preferences(notification) or not self.check_rate_limit(notification):
            return
        if number := self.log_attempt(notification):
            self.log_outcome(notification, number, self.send(notification, number))

    def check_preferences(self, notification: Notification) -> bool:
        """Whether the user accepts text messages."""
        row = self._execute(PREFERS, notification["user_id"]).fetchone()
        return row is None or row[0]

    def check_rate_limit(self, notification: Notification) -> bool:
        """Whether the limit allows it. Reserves a place, once for each notification."""
        keys, arguments = _limit_arguments(notification)
        return bool(self._reserve(keys=keys, args=arguments)[0])

    def log_attempt(self, notification: Notification) -> int | None:
        """The number of the new attempt; None if an earlier one was accepted."""
        row = self._execute(INTEND, notification["id"]).fetchone()
        return None if row is None else row[0]

    def send(self, notification: Notification, number: int) -> str | None:
        """The vendor's message id; None if it rejected the message. Raises SendFailed."""
        try:
            answer = self._http.request(
                "POST", _url(self._endpoints), body=_form(self._endpoints, notification, number)
            )
            return _accepted(answer.status, answer.json() if answer.status == 201 else {})
        except urllib3.exceptions.HTTPError as error:
            raise SendFailed(type(error).__name__) from error

    def log_outcome(self, notification: Notification, number: int, message_id: str | None) -> None:
        """Close the attempt."""
        outcome = "accepted" if message_id else "rejected"
        self._execute(CLOSE, notification["id"], number, outcome, message_id)

    def _execute(self, statement: str, *arguments: Any) -> Any:
        if not hasattr(self._thread, "connection"):
            self._thread.connection = psycopg.RawCursor(
                psycopg.connect(self._endpoints.database_url, autocommit=True, prepare_threshold=0)
            )
        return self._thread.connection.execute(statement, arguments)


class AsyncSteps:
    """The steps for an event loop: pools for everything. Use with `async with`."""

    async def __aenter__(self) -> Self:
        self._endpoints = Endpoints.given()
        self._postgres: Any = await asyncpg.create_pool(
            self._endpoints.database_url, min_size=PER_PROCESS, max_size=PER_PROCESS
        )
        self._valkey = redis.asyncio.Redis.from_url(self._endpoints.valkey_url)
        self._reserve = self._valkey.register_script(_RESERVE)
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=IN_FLIGHT),
            timeout=aiohttp.ClientTimeout(total=HTTP_TIMEOUT_S),
            headers=_HEADERS,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._http.close()
        await self._valkey.aclose()
        await self._postgres.close()

    async def check_preferences(self, notification: Notification) -> bool:
        """As in Steps."""
        return await self._postgres.fetchval(PREFERS, notification["user_id"]) is not False

    async def check_rate_limit(self, notification: Notification) -> bool:
        """As in Steps."""
        keys, arguments = _limit_arguments(notification)
        return bool((await self._reserve(keys=keys, args=arguments))[0])

    async def log_attempt(self, notification: Notification) -> int | None:
        """As in Steps."""
        return await self._postgres.fetchval(INTEND, notification["id"])

    async def send(self, notification: Notification, number: int) -> str | None:
        """As in Steps."""
        try:
            async with self._http.post(
                _url(self._endpoints), data=_form(self._endpoints, notification, number)
            ) as answer:
                return _accepted(answer.status, await answer.json() if answer.status == 201 else {})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SendFailed(type(error).__name__) from error

    async def log_outcome(self, notification: Notification, number: int, message_id: str | None) -> None:
        """As in Steps."""
        outcome = "accepted" if message_id else "rejected"
        await self._postgres.execute(CLOSE, notification["id"], number, outcome, message_id)
