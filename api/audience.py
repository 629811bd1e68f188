"""Uploaded audiences, read as they come: CSV and NDJSON, a recipient a line, never more than one in memory.

A line that cannot be used is refused with its number and a reason, and the ones around it are not harmed.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from typing import Any, Final

from pydantic import ValidationError

from api.broadcast_models import RecipientIn
from api.problems import FieldError, Problem, field_errors
from domain.broadcasts import LINE_BYTES_MAX, Recipient, Refusal
from domain.notification import Channel

CSV: Final = "text/csv"
NDJSON: Final = "application/x-ndjson"
_ADDRESSES: Final = {f"to_{channel}": channel.value for channel in Channel}
_BOM: Final = b"\xef\xbb\xbf"

Read = Recipient | Refusal


class _Lines:
    """Splits what comes into numbered lines. One that is too long is dropped to its end, and told as None."""

    def __init__(self) -> None:
        self._rest = bytearray()
        self._no = 0
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
        self._no += 1
        line = bytes(self._rest)
        too_long = self._skipping or len(line) > LINE_BYTES_MAX
        self._rest.clear()
        self._skipping = False
        if self._no == 1:
            line = line.removeprefix(_BOM)
        return self._no, None if too_long else line.removesuffix(b"\r")


class NdjsonReader:
    """Reads an object of `user_id`, `to` and `data` from each line; empty lines are nothing."""

    def __init__(self) -> None:
        self._lines = _Lines()

    def feed(self, chunk: bytes) -> Iterator[Read]:
        """What is whole after these bytes."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[Read]:
        """What is left at the end."""
        return self._read(self._lines.finish())

    def _read(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Read]:
        for no, line in lines:
            if line is None:
                yield _too_long(no)
            elif line.strip():
                yield _from_json(no, line)


class CsvReader:
    """Reads comma-separated values (RFC 4180) below a line of names: `user_id`, and `to_` with a channel for
    an address; every other column is a value of the template. A quoted value may go over several lines.

    A quote that is never closed costs its own line only: the lines behind it are read again by themselves.
    """

    def __init__(self) -> None:
        self._lines = _Lines()
        self._names: list[str] | None = None
        self._open: list[tuple[int, bytes]] = []
        self._open_bytes = 0
        self._open_quotes = 0

    def feed(self, chunk: bytes) -> Iterator[Read]:
        """What is whole after these bytes. Raises Problem (422) for a first line that names no columns."""
        return self._read(self._lines.feed(chunk))

    def finish(self) -> Iterator[Read]:
        """What is left at the end. Raises Problem (422) when nothing came."""
        yield from self._read(self._lines.finish())
        while self._open:
            yield from self._give_up()
        if self._names is None:
            raise _no_header("the upload is empty")

    def _read(self, lines: Iterator[tuple[int, bytes | None]]) -> Iterator[Read]:
        for no, line in lines:
            if self._names is None:
                self._names = _header(line)
            elif line is None:
                while self._open:
                    yield from self._give_up()
                yield _too_long(no)
            elif self._open or line.strip():
                yield from self._take(no, line)

    def _take(self, no: int, line: bytes) -> Iterator[Read]:
        self._open.append((no, line))
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

    def _give_up(self) -> Iterator[Read]:
        """The first line's quote is not closed: refuse that line, and read the others anew."""
        (no, _), *others = self._close()
        yield Refusal(no, "csv_quote_open", "a quote is opened and not closed")
        for other in others:
            yield from self._take(*other)

    def _from_csv(self, record: Sequence[tuple[int, bytes]]) -> Read:
        assert self._names is not None
        no = record[0][0]
        try:
            text = b"\n".join(part for _, part in record).decode()
            (cells,) = csv.reader([text], strict=True)
        except UnicodeDecodeError:
            return _not_utf_8(no)
        except (csv.Error, ValueError):
            return Refusal(no, "csv_invalid", "the line is not CSV: a quote within a value is doubled")
        if len(cells) != len(self._names):
            return Refusal(
                no,
                "csv_columns",
                f"the line has {len(cells)} values, and there are {len(self._names)} columns",
            )
        item: dict[str, Any] = {"to": {}, "data": {}}
        for name, cell in zip(self._names, cells, strict=True):
            if name == "user_id":
                item[name] = cell
            elif name not in _ADDRESSES:
                item["data"][name] = cell
            elif cell:
                item["to"][_ADDRESSES[name]] = cell
        return _recipient(no, item)


def reader(media_type: str) -> CsvReader | NdjsonReader:
    """What reads this kind of upload. Raises Problem (400) for another kind."""
    if media_type == CSV:
        return CsvReader()
    if media_type == NDJSON:
        return NdjsonReader()
    raise Problem(400, "content_type", f"Send the audience as `Content-Type: {CSV}` or `{NDJSON}`.")


def _header(line: bytes | None) -> list[str]:
    try:
        (names,) = csv.reader([(line or b"").decode()], strict=True)
    except (UnicodeDecodeError, csv.Error, ValueError):
        raise _no_header("the first line holds no column names") from None
    names = [name.strip() for name in names]
    if "user_id" not in names:
        raise _no_header("the first line names no column `user_id`")
    if "" in names or len(set(names)) < len(names):
        raise _no_header("every column needs a name of its own")
    return names


def _no_header(message: str) -> Problem:
    error = FieldError("/header", "csv_header", message)
    return Problem(422, "audience_invalid", f"The CSV cannot be read: {message}.", errors=[error])


def _from_json(no: int, line: bytes) -> Read:
    try:
        item = json.loads(line.decode())
    except UnicodeDecodeError:
        return _not_utf_8(no)
    except (ValueError, RecursionError):
        return Refusal(no, "malformed_json", "the line is not JSON")
    return _recipient(no, item)


def _recipient(no: int, item: Any) -> Read:
    try:
        given = RecipientIn.model_validate(item)
    except ValidationError as error:
        first, *_ = field_errors(error.errors(include_url=False), in_body=True)
        return Refusal(no, first.code, first.message, first.pointer)
    return recipient_of(no, given)


def recipient_of(no: int, given: RecipientIn) -> Recipient:
    """A recipient as it was validated."""
    addresses = given.to.model_dump(mode="json", exclude_none=True) if given.to else None
    return Recipient(no, given.user_id, addresses or None, given.data or None)


def _too_long(no: int) -> Refusal:
    return Refusal(no, "line_too_long", f"the line has more than {LINE_BYTES_MAX} bytes")


def _not_utf_8(no: int) -> Refusal:
    return Refusal(no, "charset", "the line is not UTF-8")
