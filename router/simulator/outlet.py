"""One answer's way out: heads as vLLM's server (uvicorn) writes them, and the ways to end that HTTP forbids."""

import socket
import struct
from collections.abc import Awaitable
from http.client import responses

from router.simulator.faults import Break
from router.wire.server_connection import ServerConnection

_STREAM = b"content-type: text/event-stream; charset=utf-8\r\nvary: Origin\r\n"
_JSON = b"content-type: application/json\r\nvary: Origin\r\n"
_LINGER = struct.Struct("ii")  # on or off, seconds
GARBAGE = b"\x16\x03\x01\x00\xff<<this is not HTTP>>\r\n\r\n\x00"


class ConnectionOutlet:
    """An answer's place on its connection."""

    __slots__ = ("_common", "_connection", "_error_events")

    def __init__(self, connection: ServerConnection, common: bytes, *, error_events: tuple[bytes, ...]) -> None:
        """`common`: header lines of every answer; `error_events`: what tells an error within a stream."""
        self._connection = connection
        self._common = common
        self._error_events = error_events

    def head(self, length: int | None, data: bytes) -> None:
        """Send a 200's head, for a JSON body of `length` bytes or (None) for a stream, and the first bytes."""
        if length is None:
            self._connection.write_raw_head(200, "OK", self._common + _STREAM, data)
        else:
            lines = b"%bcontent-length: %d\r\n%b" % (self._common, length, _JSON)
            self._connection.write_raw_head(200, "OK", lines, data[:length], content_length=length)
            if len(data) > length:
                _write_raw(self._connection, data[length:])

    def send(self, data: bytes) -> Awaitable[None] | None:
        """Send one chunk."""
        return self._connection.write_chunk(data)

    def finish(self) -> None:
        """Say that the answer is whole."""
        self._connection.finish()

    def refuse(self, status: int, body: bytes) -> None:
        """Send an error instead of an answer."""
        self.tell(status, body)

    def tell(self, status: int, body: bytes, *, content_type: bytes = b"application/json", extra: bytes = b"") -> None:
        """Send a whole answer; `extra`: more header lines, each with its CRLF. No body: no content type."""
        kind = b"content-type: %b\r\n" % content_type if body else b""
        lines = b"%bcontent-length: %d\r\n%b%bvary: Origin\r\n" % (self._common, len(body), kind, extra)
        reason = responses.get(status, "Unknown")
        self._connection.write_raw_head(status, reason, lines, body, content_length=len(body))
        self._connection.finish()

    def end_badly(self, how: Break) -> None:
        """End a begun answer in a way that is no end."""
        connection = self._connection
        if how is Break.ERROR:
            for event in self._error_events:
                connection.write_chunk(event)
            connection.finish()
        elif how is Break.GARBAGE:
            _write_raw(connection, GARBAGE)
            close(connection)
        elif how is Break.RESET:
            reset(connection)
        else:
            close(connection)


def close(connection: ServerConnection) -> None:
    """Close after what was written: the client sees an early end."""
    connection.set_close_callback(None)
    connection.close()


def reset(connection: ServerConnection) -> None:
    """Reset: the client sees an error, even where the answer seemed whole."""
    connection.set_close_callback(None)
    transport = connection._transport
    if transport is not None:
        sock = transport.get_extra_info("socket")
        if sock is not None and sock.family != socket.AF_UNIX:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER.pack(1, 0))  # closing sends RST
    connection.abort()


def spoil(connection: ServerConnection) -> None:
    """Send bytes that are not HTTP instead of an answer, and close."""
    _write_raw(connection, GARBAGE)
    close(connection)


def _write_raw(connection: ServerConnection, data: bytes) -> None:
    """Write past the wire's framing, which never lets through what it is asked for here."""
    if connection._transport is not None:
        connection._transport.write(data)
