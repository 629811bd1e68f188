"""One request over HTTP/2: the answer as it arrives, or how certainly it was not processed."""

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

import h2.errors
import h2.events

from providers.http import Answer

ANSWER_BYTES_MAX = 65_536


class NotWritten(Exception):
    """The request was certainly not processed: never written, or refused unread. `code` says which."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


class Unanswered(Exception):
    """The request was written, and there is no complete answer: it may have been processed."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


@dataclass(slots=True)
class Stream:
    """A request that was written. `done` ends with its answer, or with NotWritten or Unanswered."""

    done: "asyncio.Future[Answer]"
    opened_at: float
    status: int = 0
    headers: dict[str, str] = field(default_factory=dict[str, str])
    body: bytearray = field(default_factory=bytearray)

    def take(self, event: h2.events.Event) -> None:
        """Read one event of this stream."""
        match event:
            case h2.events.ResponseReceived():
                pairs = [(_text(name), _text(value)) for name, value in event.headers or ()]
                self.headers = dict(pairs)
                self.status = int(self.headers.pop(":status", "0"))
            case h2.events.DataReceived():
                if len(self.body) < ANSWER_BYTES_MAX:
                    self.body += event.data or b""
            case h2.events.StreamEnded():
                if not self.done.done():
                    self.done.set_result(
                        Answer(self.status, self.headers, bytes(self.body), datetime.now(UTC))
                    )
            case h2.events.StreamReset():
                refused = event.error_code == h2.errors.ErrorCodes.REFUSED_STREAM
                self.fail(NotWritten("refused_stream") if refused else Unanswered("stream_reset"))
            case _:
                pass

    def fail(self, error: NotWritten | Unanswered) -> None:
        """End the request without an answer, unless it has one."""
        if not self.done.done():
            self.done.set_exception(error)


def _text(value: str | bytes) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else value
