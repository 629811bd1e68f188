"""HTTP/1.1 for the API: uvicorn's httptools protocol, with a bound on what comes before a body.

httptools costs half of what h11 does, and bounds nothing: a request line or a header without an end would be
gathered for as long as it comes.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WHOLE: Final = "herald.whole"
"""Set in the `state` of a request's scope when its body has come to its end."""
HEAD_BYTES_MAX: Final = 65_536
"""Above this a request line and its headers are refused with 400, and the connection is closed."""


class BoundedHeads(HttpToolsProtocol):
    """Counts what has come of a request until its headers are complete."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Take what came. A head that begins in the middle of a piece is counted from the next one on."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("The request line and headers are longer than 64 KiB.")

    def on_message_begin(self) -> None:
        """A request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Its headers are complete."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """All of it has come: nobody need watch how long its body takes (api.body_limit)."""
        self.scope.setdefault("state", {})[WHOLE] = True
        super().on_message_complete()
