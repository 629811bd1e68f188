"""The six steps of a notification, the same for every system compared; what differs is who calls them.

1. may this user be written to (a read in Postgres) · 2. is there a place under the limit (Valkey, Herald's
own atomic script) · 3. the attempt is logged before the send (Postgres) · 4. the send, over HTTP, to the
simulated Twilio · 5. its outcome is logged (Postgres) · 6. the receipt is taken (`receipts.py`).

`Steps` is for systems that run threads or processes, `AsyncSteps` for those that run an event loop: the same
statements, the same script, the same HTTP limits, and the cheapest pooled client of each kind.
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

from bench.peers.terms import (
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
INSERT INTO attempts (notification_id, no, provider)
SELECT $1, count(*) + 1, 'twilio' FROM attempts WHERE notification_id = $1
HAVING count(*) FILTER (WHERE outcome = 'accepted') = 0
RETURNING no"""
CLOSE = """
UPDATE attempts SET outcome = $3, provider_message_id = $4, closed_at = now()
WHERE notification_id = $1 AND no = $2"""
RECEIVE = """
UPDATE attempts SET receipt_status = $3, receipt_at = now()
WHERE notification_id = $1 AND no = $2 AND receipt_status IS DISTINCT FROM 'delivered'"""

_RESERVE = (Path(__file__).parents[2] / "ratelimit" / "reserve.lua").read_text(encoding="utf-8")
_HEADERS = {
    **urllib3.make_headers(basic_auth=f"{ACCOUNT_SID}:{AUTH_TOKEN}", keep_alive=True),
    "Content-Type": "application/x-www-form-urlencoded",
}


class SendFailed(Exception):
    """The vendor did not say that it took the message. Whether it did is not known."""


@dataclass(frozen=True)
class Places:
    """Where everything is, from the `PEERS_…` variables."""

    database_url: str
    valkey_url: str
    vendor_url: str
    callback_url: str

    @classmethod
    def given(cls) -> Self:
        """Raises KeyError for a variable that is missing."""
        return cls(*(os.environ[f"PEERS_{name.upper()}"] for name in cls.__dataclass_fields__))


def _form(places: Places, notification: Notification, no: int) -> bytes:
    reference = urlencode({"ref": notification["id"], "no": no})
    fields = {
        "To": notification["to"],
        "From": SENDER,
        "Body": notification["text"],
        "StatusCallback": f"{places.callback_url}?{reference}",
    }
    return urlencode(fields).encode()


def _url(places: Places) -> str:
    return f"{places.vendor_url}/2010-04-01/Accounts/{ACCOUNT_SID}/Messages.json"


def _accepted(status: int, body: Mapping[str, Any]) -> str | None:
    """The vendor's id of the message, None when it refused it for good. Raises SendFailed."""
    if status == 201:
        return str(body["sid"])
    if 400 <= status < 500 and status != 429:
        return None
    raise SendFailed(f"HTTP {status}")


def _limit_arguments(notification: Notification) -> tuple[list[str], list[Any]]:
    keys = ["peers:since", f"peers:sms:{notification['user_id']}"]
    return keys, [notification["id"], "1", LIMIT_MAX, LIMIT_PER_MS]


class Steps:
    """The steps for threads: one Postgres connection a thread, pools for the rest. Made once a process."""

    def __init__(self) -> None:
        self._places = Places.given()
        self._thread = threading.local()
        self._valkey = redis.Redis.from_url(self._places.valkey_url)
        self._reserve = self._valkey.register_script(_RESERVE)
        self._http = urllib3.PoolManager(
            num_pools=1, maxsize=IN_FLIGHT, timeout=HTTP_TIMEOUT_S, retries=False, headers=_HEADERS
        )

    def check_preferences(self, notification: Notification) -> bool:
        """Whether the user takes text messages."""
        row = self._execute(PREFERS, notification["user_id"]).fetchone()
        return row is None or row[0]

    def check_rate_limit(self, notification: Notification) -> bool:
        """Whether a place is free under the user's limit; it is taken then, once for each notification."""
        keys, arguments = _limit_arguments(notification)
        return bool(self._reserve(keys=keys, args=arguments)[0])

    def log_attempt(self, notification: Notification) -> int | None:
        """The number of the attempt that may be made now; None if one was accepted before."""
        row = self._execute(INTEND, notification["id"]).fetchone()
        return None if row is None else row[0]

    def send(self, notification: Notification, no: int) -> str | None:
        """The vendor's id; None if it refused. Raises SendFailed."""
        try:
            answer = self._http.request(
                "POST", _url(self._places), body=_form(self._places, notification, no)
            )
            return _accepted(answer.status, answer.json() if answer.status == 201 else {})
        except urllib3.exceptions.HTTPError as error:
            raise SendFailed(type(error).__name__) from error

    def log_outcome(self, notification: Notification, no: int, message_id: str | None) -> None:
        """Close the attempt."""
        outcome = "accepted" if message_id else "rejected"
        self._execute(CLOSE, notification["id"], no, outcome, message_id)

    def _execute(self, statement: str, *arguments: Any) -> Any:
        if not hasattr(self._thread, "connection"):
            self._thread.connection = psycopg.RawCursor(
                psycopg.connect(self._places.database_url, autocommit=True, prepare_threshold=0)
            )
        return self._thread.connection.execute(statement, arguments)


class AsyncSteps:
    """The steps for an event loop: pools for everything. Made once a process, with `async with`."""

    async def __aenter__(self) -> Self:
        self._places = Places.given()
        self._postgres: Any = await asyncpg.create_pool(
            self._places.database_url, min_size=PER_PROCESS, max_size=PER_PROCESS
        )
        self._valkey = redis.asyncio.Redis.from_url(self._places.valkey_url)
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

    async def send(self, notification: Notification, no: int) -> str | None:
        """As in Steps."""
        try:
            async with self._http.post(
                _url(self._places), data=_form(self._places, notification, no)
            ) as answer:
                return _accepted(answer.status, await answer.json() if answer.status == 201 else {})
        except (aiohttp.ClientError, TimeoutError) as error:
            raise SendFailed(type(error).__name__) from error

    async def log_outcome(self, notification: Notification, no: int, message_id: str | None) -> None:
        """As in Steps."""
        outcome = "accepted" if message_id else "rejected"
        await self._postgres.execute(CLOSE, notification["id"], no, outcome, message_id)
