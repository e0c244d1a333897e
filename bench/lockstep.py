"""A client and its backends in one, which go on only when the router has nothing left to do.

So what the router does for a request or an event is the same on every run: no two events share a read, whatever else
the machine is busy with. Blocking sockets, Linux only.
"""

import contextlib
import platform
import re
import select
import socket
import time
from collections.abc import Callable
from pathlib import Path

from bench.bodies import chat_body
from bench.streams import request_bytes

TIMEOUT = 20.0  # seconds for any one step: far more than a loaded machine needs
LOOK = 0.0003  # seconds between two looks at the router
QUIET = 0.3  # seconds without a probe, after which no more are expected
NOBODY = object()
PIECE = 32 * 1024  # bytes of a request that are sent at a time
# The number of the system call in which a loop sleeps, epoll_wait or epoll_pwait: /proc tells no names.
SLEEPING = {"x86_64": {232, 281}, "aarch64": {22}}.get(platform.machine(), set())
BLANK = b"\r\n\r\n"
NOT_FOUND = b"HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n"
LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
ANSWER = (
    b'{"id":"chatcmpl-1","object":"chat.completion","created":1795210401,"model":"m","choices":[{"index":0,"message":'
    b'{"role":"assistant","content":"The quick brown fox jumps over the lazy dog.","refusal":null,"annotations":null,'
    b'"audio":null,"function_call":null,"tool_calls":[],"reasoning":null},"logprobs":null,"finish_reason":"stop",'
    b'"stop_reason":null,"token_ids":null}],"usage":{"prompt_tokens":500,"total_tokens":512,"completion_tokens":12}}'
)
START = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1795210401,"model":"m","choices":[{"index":0,'
)
ROLE = START + b'"delta":{"role":"assistant","content":""},"logprobs":null,"finish_reason":null}]}\n\n'
EVENT = START + b'"delta":{"content":" token"},"logprobs":null,"finish_reason":null,"token_ids":null}]}\n\n'
LAST = START + b'"delta":{},"logprobs":null,"finish_reason":"stop","stop_reason":null,"token_ids":null}]}\n\n'


def head(kind: bytes, framing: bytes) -> bytes:
    """Return the head of a backend's answer."""
    return b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\n%b\r\ncontent-type: %b\r\n\r\n" % (framing, kind)


def chunk(data: bytes) -> bytes:
    """Return a chunk of a body."""
    return b"%x\r\n%b\r\n" % (len(data), data)


class Peer:
    """One end of a connection: what came and was not looked at yet."""

    def __init__(self, sock: socket.socket) -> None:
        """`sock` is closed with this."""
        sock.settimeout(TIMEOUT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.sock = sock
        self.data = b""

    def until(self, is_whole: Callable[[bytes], bool]) -> bytes:
        """Return what has come, once it is whole, and begin anew."""
        while not is_whole(self.data):
            got = self.sock.recv(1 << 20)
            if not got:
                raise ConnectionError(f"closed after {self.data[:300]!r}")
            self.data += got
        whole, self.data = self.data, b""
        return whole


def is_message(data: bytes) -> bool:
    """Return whether head and body of a message with a Content-Length are there."""
    end = data.find(BLANK)
    found = LENGTH.search(data, 0, end + 2) if end >= 0 else None
    return found is not None and len(data) >= end + 4 + int(found.group(1))


def is_answer(data: bytes) -> bool:
    """Return whether a whole answer is there; raises ValueError for one that is no success."""
    if data and not data.startswith(b"HTTP/1.1 200 "[: len(data)]):
        raise ValueError(f"the router refused: {data[:300]!r}")
    return is_message(data)


class Lockstep:
    """Drives one router, by its process id and port; `backend` is where it sends what it is asked."""

    def __init__(self, pid: int, port: int, *, backend: socket.socket, log: Path | None) -> None:
        """`log`: the router's, with a line for each exchange; None: it writes none."""
        self._pid = pid
        self._port = port
        self._listener = backend
        self._log = log
        self._client = Peer(socket.create_connection(("127.0.0.1", port), TIMEOUT))
        self._backends: dict[socket.socket, Peer] = {}

    def close(self) -> None:
        """Close all connections."""
        for peer in (self._client, *self._backends.values()):
            peer.sock.close()

    def exchange(self, body: bytes) -> None:
        """Ask, answer, and wait until the router has nothing more to do for it, its line in the log included."""
        lines = self._lines()
        backend = self._ask(body)
        backend.sock.sendall(head(b"application/json", b"content-length: %d" % len(ANSWER)) + ANSWER)
        self._client.until(is_answer)
        self._end(lines)

    def stream(self, body: bytes, events: int, *, between: Callable[[int], None]) -> None:
        """Ask for a stream, and send its events one by one; `between` is told how many have come."""
        lines = self._lines()
        backend = self._ask(body)
        backend.sock.sendall(head(b"text/event-stream; charset=utf-8", b"transfer-encoding: chunked") + chunk(ROLE))
        self.rest()
        for number in range(events):
            between(number)
            backend.sock.sendall(chunk(EVENT))
            self._client.until(lambda data: data.endswith(b"}\n\n\r\n"))
            self.rest()
        between(events)
        backend.sock.sendall(chunk(LAST) + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n")
        self._client.until(lambda data: data.endswith(b"0\r\n\r\n"))
        self._end(lines)

    def rest(self) -> None:
        """Wait until the router's loop sleeps."""
        self._wait(self._is_asleep)

    def _ask(self, body: bytes) -> Peer:
        """Send a request and return the backend's end of it, which has read it."""
        request = request_bytes(self._port, body)
        for start in range(0, len(request), PIECE):
            self._client.sock.sendall(request[start : start + PIECE])
            if start + PIECE < len(request):
                self.rest()
        backend = self._arrived()
        self.rest()
        return backend

    def settle(self) -> None:
        """Answer what backends are asked when the router starts, until it asks no more."""
        while self._next(QUIET) is not NOBODY:
            self.rest()

    def _arrived(self) -> Peer:
        """Return the connection on which the router has asked for an answer."""
        deadline = time.monotonic() + TIMEOUT
        while time.monotonic() < deadline:
            found = self._next(TIMEOUT)
            if isinstance(found, Peer):
                return found
        raise TimeoutError("the router sent nothing to its backend")

    def _next(self, within: float) -> Peer | object:
        """Take one step as a backend; return who has asked for an answer, or NOBODY where nothing came."""
        for sock in select.select([self._listener, *self._backends], [], [], within)[0]:
            if sock is self._listener:
                accepted = Peer(sock.accept()[0])
                self._backends[accepted.sock] = accepted
            elif self._has_asked(self._backends[sock]):
                return self._backends[sock]
            return None
        return NOBODY

    def _has_asked(self, backend: Peer) -> bool:
        """Read a request; a probe is answered here. A connection that the router has closed is forgotten."""
        try:
            found = backend.until(lambda data: (data.startswith(b"GET ") and data.endswith(BLANK)) or is_message(data))
        except ConnectionError:
            self._backends.pop(backend.sock).sock.close()
            return False
        is_probe = not found.startswith(b"POST /v1/")
        if is_probe:
            backend.sock.sendall(NOT_FOUND)
        return not is_probe

    def _end(self, lines: int) -> None:
        """Wait for the line of an exchange: until then a thread may have to be woken for it, or not."""
        if self._log is not None:
            self._wait(lambda: self._lines() > lines)
        self.rest()

    def _lines(self) -> int:
        with contextlib.suppress(FileNotFoundError):
            return 0 if self._log is None else self._log.read_bytes().count(b"/v1/chat/completions")
        return 0

    def _is_asleep(self) -> bool:
        process = Path("/proc") / str(self._pid)
        words = (process / "syscall").read_text().split()
        state = (process / "stat").read_text().rpartition(")")[2].split()[0]
        return state == "S" and words[0].isdigit() and (not SLEEPING or int(words[0]) in SLEEPING)

    def _wait(self, is_done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + TIMEOUT
        while not is_done():
            if time.monotonic() > deadline:
                raise TimeoutError("the router has not come to rest")
            time.sleep(LOOK)


def body(model: str, size: int, *, stream: bool, repairs: bool = False) -> bytes:
    """Return a request's body of exactly `size` bytes."""
    return chat_body(size, model=model, stream=stream, max_tokens=64, repairs=repairs)
