"""A small HTTP/2 server that misbehaves on purpose: RST_STREAM, GOAWAY, resets, silence.

Existing web servers have no HTTP/2, or break when a handler breaks the connection.
"""

import asyncio
import contextlib
import socket
import ssl
import struct
from collections.abc import Callable, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import h2.config
import h2.connection
import h2.errors
import h2.events
import h2.exceptions
import h2.settings
from hyperframe.frame import GoAwayFrame

BODY_BYTES_MAX = 65_536


@dataclass(slots=True)
class Exchange:
    """One request, and how to end it."""

    connection: "H2Server"
    stream_id: int
    headers: dict[str, str]
    body: bytearray = field(default_factory=bytearray)

    def respond(self, status: int, headers: Mapping[str, str], body: bytes = b"") -> None:
        """Answer, unless the client is gone or has reset the stream."""
        self.connection.respond(self.stream_id, status, headers, body)

    def reset(self, code: h2.errors.ErrorCodes) -> None:
        """Reset this stream only."""
        self.connection.reset_stream(self.stream_id, code)


Handler = Callable[[Exchange], Coroutine[Any, Any, None]]


class H2Server(asyncio.Protocol):
    """One client's connection."""

    def __init__(self, handler: Handler, connections: "set[H2Server]", streams_max: int) -> None:
        self._handler = handler
        self._connections = connections
        self._h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=False, header_encoding="utf-8")
        )
        self._streams_max = streams_max
        self._transport: asyncio.Transport | None = None
        self._exchanges: dict[int, Exchange] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._draining = False
        self.closed = asyncio.Event()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # A loop's transport need not inherit from asyncio.Transport.
        transport = cast("asyncio.Transport", transport)
        self._transport = transport
        self._connections.add(self)
        self._h2.initiate_connection()
        self._h2.update_settings({h2.settings.SettingCodes.MAX_CONCURRENT_STREAMS: self._streams_max})
        self._flush()

    def data_received(self, data: bytes) -> None:
        try:
            events = self._h2.receive_data(data)
        except h2.exceptions.ProtocolError:
            self._flush()
            self.abort(reset=False)
            return
        for event in events:
            self._take(event)
        self._flush()

    def connection_lost(self, exc: Exception | None) -> None:
        self._connections.discard(self)
        for task in tuple(self._tasks):
            task.cancel()
        self.closed.set()

    def respond(self, stream_id: int, status: int, headers: Mapping[str, str], body: bytes) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError, KeyError):
            fields = [(":status", str(status)), *headers.items()]
            self._h2.send_headers(stream_id, fields, end_stream=not body)
            if body:
                self._h2.send_data(stream_id, body, end_stream=True)
        self._flush()

    def reset_stream(self, stream_id: int, code: h2.errors.ErrorCodes) -> None:
        with contextlib.suppress(h2.exceptions.ProtocolError):
            self._h2.reset_stream(stream_id, code)
        self._flush()

    def go_away(self, last_stream_id: int) -> None:
        """Send GOAWAY. Streams up to the last one are still answered, then the connection closes.

        The frame bypasses h2, which would not send anything after it.
        """
        self._flush()
        if self._transport is not None:
            self._transport.write(GoAwayFrame(0, last_stream_id=last_stream_id, error_code=0).serialize())
        self._draining = True
        self._close_when_drained()

    def freeze(self) -> None:
        """Stop reading: the connection looks alive, but is not."""
        if self._transport is not None:
            self._transport.pause_reading()

    def abort(self, *, reset: bool) -> None:
        """Drop the connection and all its streams; `reset`: with a TCP RST."""
        if self._transport is None:
            return
        connection = self._transport.get_extra_info("socket")
        if reset and connection is not None:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._transport.abort()

    def _take(self, event: h2.events.Event) -> None:
        match event:
            case h2.events.RequestReceived(stream_id=int(stream_id)):
                headers = {str(name): str(value) for name, value in event.headers or ()}
                self._exchanges[stream_id] = Exchange(self, stream_id, headers)
            case h2.events.DataReceived(stream_id=int() as stream_id):
                self._h2.acknowledge_received_data(event.flow_controlled_length or 0, stream_id)
                exchange = self._exchanges.get(stream_id)
                if exchange is not None and len(exchange.body) < BODY_BYTES_MAX:
                    exchange.body += event.data or b""
            case h2.events.StreamEnded(stream_id=int() as stream_id):
                exchange = self._exchanges.pop(stream_id, None)
                if exchange is not None:
                    self._start(exchange)
            case h2.events.StreamReset(stream_id=int() as stream_id):
                self._exchanges.pop(stream_id, None)
            case h2.events.ConnectionTerminated():
                self.abort(reset=False)
            case _:
                pass

    def _start(self, exchange: Exchange) -> None:
        task = asyncio.create_task(self._handler(exchange))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        self._tasks.discard(task)
        self._close_when_drained()

    def _close_when_drained(self) -> None:
        if self._draining and not self._tasks and self._transport is not None:
            self._transport.close()

    def _flush(self) -> None:
        data = self._h2.data_to_send()
        if data and self._transport is not None and not self._transport.is_closing():
            self._transport.write(data)


class H2Listener:
    """The listening socket. `port` is set once it has started."""

    def __init__(self, handler: Handler, certificate_file: str, streams_max: int = 1000) -> None:
        self._handler = handler
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(certificate_file)
        self._context.set_alpn_protocols(["h2"])
        self._streams_max = streams_max
        self._server: asyncio.Server | None = None
        self.connections: set[H2Server] = set()
        self.accepted = 0
        """The number of connections opened so far."""

    async def start(self, host: str, port: int) -> int:
        """Listen, and return the port."""
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(self._connection, host, port, ssl=self._context)
        return self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close the socket and every connection."""
        if self._server is None:
            return
        self._server.close()
        connections = tuple(self.connections)
        for connection in connections:
            connection.abort(reset=False)
        for connection in connections:
            await connection.closed.wait()
        await self._server.wait_closed()

    def _connection(self) -> H2Server:
        self.accepted += 1
        return H2Server(self._handler, self.connections, self._streams_max)
