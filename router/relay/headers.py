"""Which header lines travel, in both directions. Pure.

Hop-by-hop lines (RFC 9110 section 7.6.1, and what `Connection` names) end here; so do the client's credentials and
cookies unless configured otherwise, what a client may say only through a trusted peer (`X-Forwarded-*`,
`Forwarded`), names with an underscore (CGI-style twins of the real ones), and whatever this router says itself.
Answers are never compressed on the way (`Accept-Encoding: identity`), so that streams can be watched.
"""

import datetime
import email.utils
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from router.access.tenant import CREDENTIALS

# A request id that is harmless in a log line, a header and vLLM's own ids.
HARMLESS_ID = re.compile(r"[A-Za-z0-9._:\-]{1,128}")
# Names repeat from request to request; what a client makes up must not grow the table.
MAX_CACHED_NAMES = 1000
LONGEST_CACHED = 64  # bytes

CONNECTION = len("connection")

_HOP_BY_HOP = frozenset(
    [
        "connection",
        "keep-alive",
        "proxy-connection",
        "proxy-authenticate",
        "proxy-authorization",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "http2-settings",
    ]
)
_OURS_TO_BACKEND = frozenset(
    [
        "host",
        "content-length",
        "expect",
        "accept-encoding",
        "x-request-id",
        "forwarded",
        "x-real-ip",
        "via",
        "origin",
        "referer",
        "access-control-request-method",
        "access-control-request-headers",
        "x-data-parallel-rank",  # vLLM's own: which of its engines is to have the request
    ]
)
_OURS_TO_CLIENT = frozenset(
    [
        *("content-length", "server", "x-request-id", "x-accel-buffering", "alt-svc", "x-should-retry"),
        # What browsers would take for the whole origin, which is ours, or follow.
        *("clear-site-data", "strict-transport-security", "service-worker-allowed", "refresh", "location"),
        *("report-to", "reporting-endpoints", "nel"),
    ]
)


@dataclass(frozen=True, slots=True)
class Forwarding:
    """What the configuration lets through."""

    authorization: bool = False
    cookies: bool = False
    deadline_header: str = "x-request-timeout"


class Prefixes(dict[bytes, bytes | None]):
    """What each line begins with, by its name; None: it stays here. Remembered, as the same names come again."""

    def __init__(self, stays: Callable[[str], bool]) -> None:
        """`stays`: told a name in lower case, whether its lines do not travel."""
        super().__init__()
        self._stays = stays

    def __missing__(self, name: bytes) -> bytes | None:
        """Find out about a name."""
        prefix = None if self._stays(name.decode("latin-1").lower()) else name + b": "
        if len(self) < MAX_CACHED_NAMES and len(name) <= LONGEST_CACHED:
            self[name] = prefix
        return prefix


class ToBackend:
    """Selects and serialises the request headers that a backend may see."""

    def __init__(self, rules: Forwarding) -> None:
        """`rules`: what a backend may see besides."""
        self._rules = rules
        self._prefixes = Prefixes(self._stays)

    def _stays(self, low: str) -> bool:
        rules = self._rules
        return (
            low in _HOP_BY_HOP
            or low in _OURS_TO_BACKEND
            or low.startswith(("x-forwarded-", "x-router-"))
            or "_" in low
            or low == rules.deadline_header.lower()
            or (low in CREDENTIALS and not rules.authorization)
            or (low == "cookie" and not rules.cookies)
        )

    def lines(self, headers: Iterable[tuple[bytes, bytes]], connection: str, request_id: str) -> bytes:
        """Return serialised lines without Host, Content-Length and the backend's key.

        `connection`: the request's Connection field; the names in it stay here as well.
        """
        prefixes = self._prefixes
        named = {token.strip().lower() for token in connection.split(",")} - _HOP_BY_HOP if connection else None
        if named:
            headers = [(name, value) for name, value in headers if name.decode("latin-1").lower() not in named]
        parts = [prefix + value for name, value in headers if (prefix := prefixes[name]) is not None]
        parts.append(b"Accept-Encoding: identity\r\nX-Request-Id: " + request_id.encode("ascii") + b"\r\n")
        return b"\r\n".join(parts)


class ToClient:
    """Selects and serialises the header lines of backends' answers that a client may see.

    Content-Length is not among them: it depends on how the answer is framed here. Cross-origin lines are ours to say.
    """

    def __init__(self, *, cookies: bool) -> None:
        """`cookies`: a backend's Set-Cookie is passed on."""
        self._cookies = cookies
        self._prefixes = Prefixes(self._stays)

    def _stays(self, low: str) -> bool:
        return (
            low in _HOP_BY_HOP
            or low in _OURS_TO_CLIENT
            or low.startswith(("access-control-", "x-router-"))
            or (low == "set-cookie" and not self._cookies)
        )

    def lines(self, headers: Sequence[tuple[bytes, bytes]], *, is_stream: bool) -> bytes:
        """Return the serialised lines."""
        parts = []
        prefixes = self._prefixes
        named: set[str] = set()
        for name, value in headers:
            if len(name) == CONNECTION and name.lower() == b"connection":
                named.update(token.strip().lower() for token in value.decode("latin-1").split(","))
        for name, value in headers:
            prefix = prefixes[name]
            if named and name.decode("latin-1").lower() in named:
                continue
            if prefix is not None and not (is_stream and name.lower() == b"cache-control"):
                parts.append(b"%b%b\r\n" % (prefix, value))
        if is_stream:
            parts.append(b"Cache-Control: no-cache\r\nX-Accel-Buffering: no\r\n")
        return b"".join(parts)


def find(headers: Iterable[tuple[bytes, bytes]], wanted: bytes) -> str | None:
    """Return the first value of the header called `wanted` (lower case), None where there is none."""
    for name, value in headers:
        if len(name) == len(wanted) and name.lower() == wanted:
            return value.decode("latin-1")
    return None


def is_encoded(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether a body is compressed, by any of its Content-Encoding fields."""
    found = [value for name, value in headers if name.lower() == b"content-encoding"]
    return any(each.strip().lower() not in (b"identity", b"") for value in found for each in value.split(b","))


def content_length(headers: Iterable[tuple[bytes, bytes]]) -> int | None:
    """Return how many bytes a body has, None where its head does not tell."""
    text = find(headers, b"content-length")
    return int(text) if text is not None and text.isdigit() else None


def retry_after(headers: Iterable[tuple[bytes, bytes]], wall_clock: float) -> float | None:
    """Return the seconds that a backend asks to wait, None where it does not or cannot be understood.

    `Retry-After` in seconds or as a date (RFC 9110 section 10.2.3), or `retry-after-ms` as OpenAI sends it.
    `wall_clock`: now, in seconds since the epoch.
    """
    pairs = list(headers)
    for name, unit in ((b"retry-after-ms", 0.001), (b"retry-after", 1.0)):
        value = find(pairs, name)
        if value is None:
            continue
        seconds = _seconds(value.strip(), unit, wall_clock)
        if seconds is not None:
            return seconds
    return None


def _seconds(text: str, unit: float, wall_clock: float) -> float | None:
    if re.fullmatch(r"\d{1,9}(\.\d{1,9})?", text):
        return float(text) * unit
    try:
        when = email.utils.parsedate_to_datetime(text)
    except (ValueError, TypeError, OverflowError):
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=datetime.UTC)
    return max(0.0, when.timestamp() - wall_clock)
