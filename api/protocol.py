"""HTTP/1.1 for the API: uvicorn's httptools protocol, with limits, and strict where it is not.

httptools costs half of what h11 does and has no limits: it would buffer an endless head, wait for its end for
ever, and keep a connection open whose client never reads.
"""

import json
from asyncio import Transport
from http import HTTPStatus
from typing import Any, Final, cast

from httptools import HttpParserError, HttpParserUpgrade
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from api.connections import Connections, Stage
from api.problems import MEDIA_TYPE, PRIVATE, Problem
from api.request_ids import REQUEST_ID, new_request_id

WHOLE: Final = "herald.whole"
"""Set in the `state` of a request's scope once its whole body has arrived."""
QUIET_BYTES_MAX: Final = 65_536
"""The most bytes between two parts of a body, or before it: heads, extensions of chunks, trailers."""
HEADERS_MAX: Final = 100
PIPELINED_MAX: Final = 20
"""The most requests that may wait on a connection for the one before them."""

_HEAD_TOO_LARGE: Final = Problem(
    431,
    "head_too_large",
    f"The request line and headers are longer than {QUIET_BYTES_MAX // 1024} KiB, or "
    f"there are more than {HEADERS_MAX} headers.",
)
_HEAD_TOO_SLOW: Final = Problem(408, "head_too_slow", "The request line and headers took too long to arrive.")
_MALFORMED: Final = Problem(400, "malformed_request", "This is not a valid HTTP/1.1 request.")
_TOO_MANY: Final = Problem(
    503,
    "connections_exhausted",
    "There are too many connections. Retry shortly.",
    headers={"Retry-After": "1"},
)


class _Refused(Exception):
    """Ends the parsing of a request."""


class BoundedHttp(HttpToolsProtocol):
    """One connection, with its place among all connections of the process."""

    since = 0.0
    unread_since: float | None = None
    _in_message = False
    _in_head = False
    _quiet_bytes = 0
    _problem: Problem | None = None

    def __init__(self, *args: Any, connections: Connections, **others: Any) -> None:
        super().__init__(*args, **others)
        self._all = connections

    @property
    def stage(self) -> Stage:
        """What the connection does at the moment."""
        # uvicorn declares what is None before the first request as always present.
        cycle = cast(RequestResponseCycle | None, self.cycle)
        if cycle is not None and not cycle.response_complete:
            return Stage.BUSY
        if self._in_head:
            return Stage.HEAD
        return Stage.ANSWERED if self._in_message else Stage.IDLE

    @property
    def unread_bytes(self) -> int:
        """How much of the responses the client has not taken yet."""
        return self.transport.get_write_buffer_size()

    def overdue(self, stage: Stage) -> None:
        """End the connection, with an answer if the client waits for one."""
        if stage is Stage.HEAD and not self.transport.is_closing():
            self._refuse(_HEAD_TOO_SLOW)
            return
        if stage is Stage.ANSWERED:
            self._all.refused("body_too_slow")
        self.transport.close()

    def abort(self) -> None:
        """Close the connection without waiting for the client to read."""
        self._all.refused("response_unread")
        self.transport.abort()

    def connection_made(self, transport: Transport) -> None:
        """Take part in the process's connections, or be refused."""
        super().connection_made(transport)
        if not self._all.admit(self, self.client[0] if self.client else ""):
            self._refuse(_TOO_MANY)

    def connection_lost(self, exc: Exception | None) -> None:
        """Leave the process's connections."""
        self._all.forget(self)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Process received bytes."""
        if self.transport.is_closing():
            return
        self._quiet_bytes += len(data)
        assert self.parser is not None
        try:
            self.parser.feed_data(data)
        except HttpParserUpgrade:
            self._end_after_response()
        except HttpParserError:
            self._refuse(self._problem or _MALFORMED)
        else:
            if self._quiet_bytes > QUIET_BYTES_MAX and self._in_message and not self.transport.is_closing():
                self._refuse(_HEAD_TOO_LARGE)

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._in_message = self._in_head = True
        self.since = self._all.now
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Check what the parser leaves open, and note that the headers are complete."""
        self._check_head()
        self._in_head, self._quiet_bytes = False, 0
        super().on_headers_complete()
        # Trailers come later, and would become headers that no check has seen.
        self.headers = []

    def on_body(self, body: bytes) -> None:
        """Note that the body grows."""
        self._quiet_bytes = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Note that the body is complete, so that api.body_limit does not time it."""
        self._in_message, self._quiet_bytes = False, 0
        self.scope.setdefault("state", {})[WHOLE] = True
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Go on with the next request. Unlike uvicorn, without a timer: the sweep ends idle connections."""
        self.server_state.total_requests += 1
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:
            self._start_asgi_task(*self.pipeline.pop())

    def _end_after_response(self) -> None:
        """Close once the present request is answered. The parser stops after a request to upgrade, which is
        answered without upgrading: what follows it could not be read.
        """
        if self.stage is Stage.BUSY:
            self.cycle.keep_alive = False
        else:
            self.transport.close()

    def _check_head(self) -> None:
        """Refuse what a proxy might understand differently (RFC 9112, sections 3.2 and 6.1)."""
        if len(self.headers) > HEADERS_MAX:
            self._problem = _HEAD_TOO_LARGE
            raise _Refused
        assert self.parser is not None
        version = self.parser.get_http_version()
        hosts = 0
        for name, value in self.headers:
            if name == b"host":
                hosts += 1
            elif name == b"transfer-encoding" and (version != "1.1" or value.lower() != b"chunked"):
                raise _Refused
        if hosts != 1 and (hosts or version == "1.1"):
            raise _Refused
        if version not in ("1.1", "1.0") or len(self.pipeline) >= PIPELINED_MAX:
            raise _Refused

    def _refuse(self, problem: Problem) -> None:
        """Answer with a problem and close, unless an answer to another request would come first."""
        self._all.refused(problem.code)
        if self.stage is Stage.BUSY and (self._in_head or self.cycle.response_started):
            self.transport.close()
            return
        body = json.dumps(problem.document()).encode()
        headers = {
            **problem.headers,
            "Content-Type": MEDIA_TYPE,
            **{name.decode(): value.decode() for name, value in PRIVATE},
            REQUEST_ID: new_request_id(),
            "Content-Length": len(body),
            "Connection": "close",
        }
        lines = [f"HTTP/1.1 {problem.status} {HTTPStatus(problem.status).phrase}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        self.transport.write("\r\n".join([*lines, "", ""]).encode() + body)
        self.transport.close()
