"""What is asked of whom: origin, request, head of an answer, and the bytes of a request's head.

Value objects only. `Request` is a Tornado `HTTPRequest` that is cheap to build: the relay makes one per attempt, so
it skips Tornado's constructor and takes the attributes that it does not name from the class.
"""

import ssl
import urllib.parse
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from tornado.httpclient import HTTPRequest
from tornado.httputil import HTTPHeaders

from router.wire.shortcut import Shortcut

DEFAULT_PORTS = {"http": 80, "https": 443}
METHODS_WITH_BODY = frozenset({"POST", "PUT", "PATCH"})  # they send Content-Length also when it is 0: RFC 9110, 8.6

Headers = list[tuple[bytes, bytes]]


@dataclass(frozen=True, slots=True)
class TLSOptions:
    """How a backend's certificate is checked, and what we show of ourselves. Files are PEM."""

    ca_file: str | None = None  # None: the system's authorities
    verify: bool = True  # False accepts any certificate
    server_name: str | None = None  # asked for and verified; None: the origin's host
    cert_file: str | None = None
    key_file: str | None = None


@dataclass(frozen=True)
class Origin:
    """Whom a connection leads to. Hashable: the key of its pool."""

    scheme: str  # "http" or "https"
    host: str  # without brackets
    port: int
    unix_path: str | None = None  # connect here instead; the host still stands in the Host line
    tls: TLSOptions | ssl.SSLContext | None = field(default=None, repr=False)  # of https; None: TLSOptions()
    _hash: int = field(default=0, init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        """Keep the hash: it is asked for on every fetch."""
        object.__setattr__(self, "_hash", hash((self.scheme, self.host, self.port, self.unix_path, self.tls)))

    def __hash__(self) -> int:
        """Return the kept hash."""
        return self._hash

    def __str__(self) -> str:
        """Return it as a URL without a path."""
        return f"unix:{self.unix_path}" if self.unix_path else f"{self.scheme}://{self.authority}"

    @property
    def server(self) -> tuple[str, int | None]:
        """Host and port; of a Unix socket its path, and None."""
        return (self.host, self.port) if self.unix_path is None else (self.unix_path, None)

    @property
    def authority(self) -> str:
        """What stands in the Host line (RFC 9110, section 7.2): the port only where it is not the scheme's own."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if DEFAULT_PORTS.get(self.scheme) == self.port else f"{host}:{self.port}"


def parse_url(url: str, *, tls: TLSOptions | ssl.SSLContext | None = None) -> tuple[Origin, str]:
    """Return the origin and the target (path and query) of `http(s)://host[:port]/path` or `unix:/path`.

    User information and fragment are not looked at. Raises ValueError for anything else.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme == "unix" and parts.path.startswith("/"):
        return Origin("http", "localhost", 80, unix_path=parts.path), "/"
    if parts.scheme not in DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"not an http, https or unix URL: {url!r}")
    port = parts.port if parts.port is not None else DEFAULT_PORTS[parts.scheme]
    target = parts.path or "/"
    if parts.query:
        target += "?" + parts.query
    return Origin(parts.scheme, parts.hostname, port, tls=tls if parts.scheme == "https" else None), target


class Head(NamedTuple):
    """The head of a final (not 1xx) answer."""

    status: int
    reason: str
    headers: Headers  # in order, as received

    def get(self, name: bytes) -> bytes | None:
        """Return the first value of a header; `name` in lower case."""
        for key, value in self.headers:
            if key.lower() == name:
                return value
        return None


@dataclass(eq=False, repr=False)
class Request(HTTPRequest):
    """A request as the relay makes it. Timeouts are seconds, None is off.

    With `origin`, `target` and `header_lines` it goes out as it is, and `url` and `headers` are not looked at.
    Without `origin` all three are made from `url` and `headers`.

    `streaming_callback` gets the body of each read as one call; it may return an awaitable, until which nothing more
    is read from the backend. An exception from a callback fails the fetch and closes the connection.

    `shortcut` tells which reads that are one chunk of the body pass to its client as they came; `streaming_callback`
    gets what is in all others. Not with an `idle_timeout`.
    """

    url: str = ""
    method: str = "GET"
    headers: HTTPHeaders | dict[str, str] | None = None  # type: ignore[assignment]  # a plain attribute, not a property
    body: bytes | None = None  # type: ignore[assignment]  # the same
    origin: Origin | None = None
    target: str = "/"
    header_lines: bytes = b""  # serialised and clean, CRLF after each; without Host, Content-Length, Connection
    on_head: Callable[[Head], None] | None = None
    streaming_callback: Callable[[bytes], Awaitable[None] | None] | None = None
    shortcut: Shortcut | None = None
    header_callback: Callable[[str], None] | None = None
    connect_timeout: float | None = None  # until a connection stands: DNS, TCP, TLS; and again the wait for a free one
    first_byte_timeout: float | None = None  # from sending until the head of the answer is there
    idle_timeout: float | None = None  # from one read of the answer to the next; stands still while a callback blocks
    request_timeout: float | None = None  # everything, from the call of fetch()
    fresh: bool = False  # never on a connection that has served before
    body_producer: Any = None  # Tornado's: chunked, unless the header lines name a Content-Length

    proxy_host = proxy_port = proxy_username = proxy_password = proxy_auth_mode = None
    auth_username = auth_password = auth_mode = None
    follow_redirects = False
    max_redirects = 0
    user_agent = network_interface = prepare_curl_callback = None
    decompress_response = False
    allow_nonstandard_methods = True
    validate_cert = ca_certs = allow_ipv6 = client_key = client_cert = ssl_options = None
    expect_100_continue = False
    start_time = 0.0


def encode_head(request: Request, host_line: bytes) -> bytes:
    """Return the head of `request` as it goes out. Raises ValueError for a method or target that would break the
    line."""
    start = f"{request.method} {request.target} HTTP/1.1"
    if start.count(" ") != 2 or not start.isprintable() or not request.method or not request.target:
        raise ValueError("method and target must be printable and without spaces")
    line = start.encode("ascii")
    body = request.body
    if body is not None:
        return b"%b\r\n%bContent-Length: %d\r\n%b\r\n" % (line, host_line, len(body), request.header_lines)
    framing = b""
    if request.body_producer is not None:
        framing = b"Transfer-Encoding: chunked\r\n" if declared_length(request.header_lines) is None else b""
    elif request.method in METHODS_WITH_BODY:
        framing = b"Content-Length: 0\r\n"
    return b"%b\r\n%b%b%b\r\n" % (line, host_line, framing, request.header_lines)


def declared_length(header_lines: bytes) -> int | None:
    """Return the Content-Length that serialised header lines name, None without one (only with a body_producer)."""
    for line in header_lines.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.lower() == b"content-length":
            return int(value)
    return None
