"""Records the statements that code sends to Postgres with their answers, and replays them elsewhere.

Values that the database generates (ids, tokens, times) differ there: from the answers a replay learns which
value corresponds to which, and substitutes it in later arguments. All other values must equal the recorded
ones.
"""

import asyncio
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from datetime import datetime
from typing import Any
from uuid import UUID

import asyncpg

_UUID = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}")

RecordedQuery = dict[str, Any]
"""A query, its arguments and its result rows, as JSON values."""


class Recorder:
    """A pool of one connection that records its queries."""

    def __init__(self, connection: "asyncpg.Connection[asyncpg.Record]") -> None:
        self._connection = connection
        self.queries: list[RecordedQuery] = []

    def acquire(self, timeout: float | None = None) -> "Recorder":
        return self

    def __await__(self) -> Iterator[Any]:
        yield from asyncio.sleep(0).__await__()
        return self

    async def __aenter__(self) -> "Recorder":
        return self

    async def __aexit__(self, *_: object) -> None:
        pass

    async def release(self, connection: Any) -> None:
        pass

    def transaction(self, **_: Any) -> AbstractAsyncContextManager[None]:
        return _Transaction(self)

    async def fetch(self, query: str, *arguments: Any) -> Any:
        rows = await self._connection.fetch(query, *arguments)
        self.queries.append(
            {"query": query, "arguments": to_json(arguments), "rows": [to_json(dict(row)) for row in rows]}
        )
        return rows

    async def fetchrow(self, query: str, *arguments: Any) -> Any:
        return next(iter(await self.fetch(query, *arguments)), None)

    async def fetchval(self, query: str, *arguments: Any) -> Any:
        row = await self.fetchrow(query, *arguments)
        return None if row is None else row[0]

    async def execute(self, query: str, *arguments: Any) -> None:
        await self.fetch(query, *arguments)


class _Transaction(AbstractAsyncContextManager[None]):
    def __init__(self, recorder: Recorder) -> None:
        self._recorder = recorder

    async def __aenter__(self) -> None:
        await self._recorder.execute("BEGIN")

    async def __aexit__(self, error: object, *_: object) -> None:
        await self._recorder.execute("ROLLBACK" if error else "COMMIT")


class Replay:
    """Replays recorded queries over another connection. `known`: texts to substitute from the start."""

    def __init__(self, connection: Any, known: Mapping[str, str] | None = None) -> None:
        self._connection = connection
        self._texts: dict[str, str] = dict(known or {})
        self._times: dict[datetime, datetime] = {}

    async def run(self, recorded: Sequence[RecordedQuery]) -> None:
        """Replay all queries in order. Raises AssertionError when an answer differs."""
        for one in recorded:
            arguments = self._translated(from_json(one["arguments"]))
            rows = await self._connection.fetch(one["query"], *arguments)
            self._learn(from_json(one["rows"]), [dict(row) for row in rows], one["query"])

    def _translated(self, value: Any) -> Any:
        match value:
            case UUID():
                return UUID(self._translated(str(value)))
            case datetime():
                return self._times.get(value, value)
            case str():
                for recorded, actual in self._texts.items():
                    value = value.replace(recorded, actual)
                return value
            case list():
                return [self._translated(item) for item in value]
            case dict():
                return {key: self._translated(item) for key, item in value.items()}
            case _:
                return value

    def _learn(self, recorded: Any, actual: Any, query: str) -> None:
        match recorded, actual:
            case list(), list():
                assert len(recorded) == len(actual), f"{len(actual)} rows and not {len(recorded)}: {query}"
                for one, other in zip(recorded, self._in_order(recorded, actual), strict=True):
                    self._learn(one, other, query)
            case dict(), dict():
                assert recorded.keys() == actual.keys(), query
                for key in recorded:
                    self._learn(recorded[key], actual[key], query)
            case UUID(), UUID():
                self._texts[str(recorded)] = str(actual)
            case datetime(), datetime():
                self._times[recorded] = actual
            case str(), str() if (time := _time(recorded)) and (other := _time(actual)):
                self._times[time] = other
            case str(), str() if _UUID.fullmatch(recorded):
                self._texts[recorded] = actual
            case float(), float():
                pass
            case _:
                assert self._translated(recorded) == actual, query

    def _in_order(self, recorded: list[Any], actual: list[Any]) -> list[Any]:
        """The actual rows in the recorded order, if they have ids: a statement may promise no order."""
        if not all(isinstance(row, dict) and isinstance(row.get("id"), UUID) for row in (*recorded, *actual)):
            return actual
        indexes = {self._translated(row["id"]): index for index, row in enumerate(recorded)}
        return sorted(actual, key=lambda row: indexes.get(row["id"], 0))


def to_json(value: Any) -> Any:
    """A value from Postgres as a JSON value."""
    match value:
        case UUID():
            return {"$uuid": str(value)}
        case datetime():
            return {"$time": value.isoformat()}
        case bytes():
            return {"$bytes": value.hex()}
        case str():
            return str(value)
        case Mapping():
            return {key: to_json(item) for key, item in value.items()}
        case Sequence():
            return [to_json(item) for item in value]
        case _:
            return value


def from_json(value: Any) -> Any:
    """The value that `to_json` converted."""
    match value:
        case {"$uuid": text}:
            return UUID(text)
        case {"$time": text}:
            return datetime.fromisoformat(text)
        case {"$bytes": text}:
            return bytes.fromhex(text)
        case dict():
            return {key: from_json(item) for key, item in value.items()}
        case list():
            return [from_json(item) for item in value]
        case _:
            return value


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text) if "T" in text else None
    except ValueError:
        return None
