"""Reads uploaded audiences as a stream: CSV and NDJSON, one recipient a line, one recipient in memory.

A line that cannot be used is refused with its number and a reason; the lines around it are accepted.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from api.broadcast_models import RecipientIn
from api.problems import FieldError, Problem, invalid_body
from domain.broadcasts import LINE_BYTES_MAX, BroadcastRecipient, Refusal
from domain.notification import Channel
from telemetry.scrub import scrub

CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
_ADDRESSES: Final = {f"to_{channel}": channel.value for channel in Channel}
_BOM: Final = b"\xef\xbb\xbf"

ParsedLine = BroadcastRecipient | Refusal


class _Lines:
    """Splits the stream into numbered lines. A line that is too long is dropped and yielded as None."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._number = 0
        self._skipping = False

    def feed(self, chunk: bytes) -> Iterator[tuple[int, bytes | None]]:
        start = 0
        while (end := chunk.find(b"\n", start)) >= 0:
            self._rest += chunk[start:end]
            start = end + 1
            yield self._line()
        self._rest += chunk[start:]
        if len(self._rest) > LINE_BYTES_MAX:
            self._skipping = True
            self._rest.clear()

    def finish(self) -> Iterator[tuple[int, bytes | None]]:
        if self._rest or self._skipping:
            yield self._line()

    def _line(self) -> tuple[int, bytes | None]:
        self._number += 1
        line = bytes(self._rest)
        too_long = self._skipping or len(line) > LINE_BYTES_MAX
        self._rest.clear()
        self._skipping = False
        if self._number == 1:
            line = line.removeprefix(_BOM)
        return self._number, None if too_long else line.removesuffix(b"\r")


class NdjsonReader:
    """Reads one object of `user_id`, `to` and `data` from each line; empty lines are skipped."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, chunk: bytes) -> Iterator[ParsedLine]:
        """Yield what these bytes complete."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[ParsedLine]:
        """Yield the rest at the end of the upload."""
        return self._read(self._lines.finish())

    def _read(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[ParsedLine]:
        for number, line in lines:
            if line is None:
                yield _too_long(number)
            elif line.strip():
                yield _from_json(number, line)


class CsvReader:
    """Reads comma-separated values (RFC 4180). The first line names the columns: `user_id`, `to_` with a
    channel (`to_sms`) for an address; every other column is a template value. A quoted value may span lines.

    A quote that is never closed costs its own line only: the lines after it are read again, one by one.
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._names: list[str] | None = None
        self._open: list[tuple[int, bytes]] = []
        self._open_bytes = 0
        self._open_quotes = 0

    def feed(self, chunk: bytes) -> Iterator[ParsedLine]:
        """Yield what these bytes complete. Raises Problem (422) if the first line is not a header."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[ParsedLine]:
        """Yield the rest at the end of the upload. Raises Problem (422) if the upload is empty."""
        yield from self._read(self._lines.finish())
        while self._open:
            yield from self._give_up()
        if self._names is None:
            raise _no_header("the upload is empty")

    def _read(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[ParsedLine]:
        for number, line in lines:
            if self._names is None:
                self._names = _header(line)
            elif line is None:
                while self._open:
                    yield from self._give_up()
                yield _too_long(number)
            elif self._open or line.strip():
                yield from self._take(number, line)

    def _take(self, number: int, line: bytes) -> Iterator[ParsedLine]:
        self._open.append((number, line))
        self._open_bytes += len(line) + 1
        self._open_quotes += line.count(b'"')
        if self._open_quotes % 2 == 0:
            yield self._from_csv(self._close())
        elif self._open_bytes > LINE_BYTES_MAX:
            yield from self._give_up()

    def _close(self) -> list[tuple[int, bytes]]:
        record, self._open = self._open, []
        self._open_bytes = self._open_quotes = 0
        return record

    def _give_up(self) -> Iterator[ParsedLine]:
        """Refuse the first open line, whose quote is never closed, and read the lines after it again."""
        (number, _), *others = self._close()
        yield Refusal(number, "csv_quote_open", "a quoted value is never closed")
        for other in others:
            yield from self._take(*other)

    def _from_csv(self, record: Sequence[tuple[int, bytes]]) -> ParsedLine:
        assert self._names is not None
        number = record[0][0]
        try:
            text = b"\n".join(part for _, part in record).decode()
            (cells,) = csv.reader([text], strict=True)
        except UnicodeDecodeError:
            return _not_utf_8(number)
        except (csv.Error, ValueError):
            return Refusal(
                number, "csv_invalid", "the line is not valid CSV: double every quote inside a quoted value"
            )
        if len(cells) != len(self._names):
            return Refusal(
                number,
                "csv_columns",
                f"the line has {len(cells)} values, but the header has {len(self._names)} columns",
            )
        item: dict[str, Any] = {"to": {}, "data": {}}
        for name, cell in zip(self._names, cells, strict=True):
            if name == "user_id":
                item[name] = cell
            elif name not in _ADDRESSES:
                item["data"][name] = cell
            elif cell:
                item["to"][_ADDRESSES[name]] = cell
        return _recipient(number, item)


def reader(media_type: str) -> CsvReader | NdjsonReader:
    """Return a reader for this media type. Raises Problem (400) for any other type."""
    if media_type == CSV:
        return CsvReader()
    if media_type == NDJSON:
        return NdjsonReader()
    raise Problem(400, "content_type", f"Send the audience as `Content-Type: {CSV}` or `{NDJSON}`.")


def _header(line: bytes | None) -> list[str]:
    if line is None:
        raise _no_header(f"the first line is longer than {LINE_BYTES_MAX} bytes")
    try:
        (names,) = csv.reader([line.decode()], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise _no_header("the first line has no column names") from None
    names = [name.strip() for name in names]
    if "user_id" not in names:
        raise _no_header("the first line has no column `user_id`")
    if "" in names or len(set(names)) < len(names):
        raise _no_header("every column needs a unique name")
    return names


def _no_header(message: str) -> Problem:
    error = FieldError("/header", "csv_header", message)
    return Problem(422, "audience_invalid", f"The CSV cannot be read: {message}.", errors=[error])


def _from_json(number: int, line: bytes) -> ParsedLine:
    try:
        item = json.loads(line.decode())
    except UnicodeDecodeError:
        return _not_utf_8(number)
    except (ValueError, RecursionError):
        return Refusal(number, "malformed_json", "the line is not JSON")
    return _recipient(number, item)


def _recipient(number: int, item: Any) -> ParsedLine:
    try:
        given = RecipientIn.model_validate(item)
    except ValidationError as error:
        first, *_ = invalid_body(error).errors
        return Refusal(number, first.code, first.message, scrub(first.pointer))
    return recipient_of(number, given)


def recipient_of(number: int, given: RecipientIn) -> BroadcastRecipient:
    """Build a recipient from a validated line."""
    addresses = given.to.model_dump(mode="json", exclude_none=True) if given.to else None
    return BroadcastRecipient(number, given.user_id, addresses or None, given.data or None)


def _too_long(number: int) -> Refusal:
    return Refusal(number, "line_too_long", f"the line is longer than {LINE_BYTES_MAX} bytes")


def _not_utf_8(number: int) -> Refusal:
    return Refusal(number, "charset", "the line is not UTF-8")
