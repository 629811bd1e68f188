"""HTTP/1.1 for the API: uvicorn's httptools protocol, with a limit on the size of a request's head.

httptools costs half of what h11 does and has no limits: it would buffer an endless request line or header.
"""

from typing import Final

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

WHOLE: Final = "herald.whole"
"""Set in the `state` of a request's scope once its whole body has arrived."""
HEAD_BYTES_MAX: Final = 65_536
"""A longer request line with headers is answered 400, and the connection closed."""


class BoundedHeads(HttpToolsProtocol):
    """Counts the bytes of a request until its headers are complete."""

    _in_head = True
    _head_bytes = 0

    def data_received(self, data: bytes) -> None:
        """Process received bytes. A head that begins within `data` is counted from the next call on."""
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > HEAD_BYTES_MAX and not self.transport.is_closing():
            self.send_400_response("The request line and headers are longer than 64 KiB.")

    def on_message_begin(self) -> None:
        """Note that a request begins."""
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Note that the headers are complete."""
        self._in_head, self._head_bytes = False, 0
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Note that the body is complete, so that api.body_limit does not time it."""
        self.scope.setdefault("state", {})[WHOLE] = True
        super().on_message_complete()
