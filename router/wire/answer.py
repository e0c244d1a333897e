"""The parsing of answers, one after another on one connection: llhttp's callbacks and what llhttp does not check. No
I/O.

llhttp refuses bare LF, folded lines, Content-Length beside Transfer-Encoding, repeated or odd lengths, and bad
chunks. Ours are: the version, limits on 1xx and on headers, 101, transfer codings other than chunked, and bytes after
the answer.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from router.errors import BadResponse
from router.wire.client_request import Headers

MAX_HEADER_BYTES = 64 * 1024  # twice what we take from clients; nginx' proxies stop at 32-64 KiB
MAX_HEADERS = 200  # twice what we take from clients: gateways in front of backends add theirs
MAX_INFORMATIONAL = 10  # 1xx before an answer; nobody sends more than two
FRAMING = (b"transfer-encoding", b"content-length")
CODING = len("transfer-encoding")


@dataclass(frozen=True, slots=True)
class AnswerLimits:
    """What an answer may cost before it is refused."""

    header_bytes: int = MAX_HEADER_BYTES  # of a head; also of what comes between two pieces of a body
    header_count: int = MAX_HEADERS
    informational: int = MAX_INFORMATIONAL


class Answer:
    """The answer that a connection receives now. `feed` is llhttp's own; what it found lies in the attributes.

    `restart` begins the next one. After `feed` raised, `fault_of` says what that means.
    """

    __slots__ = (
        *("_fields", "_informational", "_is_spoilt", "_limits", "_parser", "_reason"),
        *("ends_with_connection", "feed", "has_extra", "head_only", "headers", "is_complete"),
        *("is_reusable", "on_body", "on_chunk_complete", "on_chunk_header", "on_status", "pieces"),
        *("status", "between_chunks", "reason"),
    )

    def __init__(self, limits: AnswerLimits) -> None:
        """One per connection; call `restart` before the first answer too."""
        self.pieces: list[bytes] = []  # of the body, since they were last taken
        self._reason: list[bytes] = []
        self._limits = limits
        self.on_body = self.pieces.append  # llhttp calls these from C: no frame of Python between
        self.on_status = self._reason.append
        self.between_chunks: list[bool] = []  # not empty: the parser stands behind a whole chunk of the body
        self.on_chunk_header = self.between_chunks.clear
        self.on_chunk_complete = partial(self.between_chunks.append, True)
        self._open()
        self.restart(head_only=False)

    def _open(self) -> None:
        parser = HttpResponseParser(self)
        self._parser: HttpResponseParser | None = parser
        self.feed: Callable[[bytes], None] = parser.feed_data
        self._is_spoilt = False

    def restart(self, *, head_only: bool) -> None:
        """Expect the next answer; `head_only`: to a HEAD request."""
        if self._is_spoilt:
            self._open()  # llhttp still waits for the body that an answer to HEAD announced
        self.head_only = head_only
        self.between_chunks.clear()
        self.status = 0  # of the final head, 0 before it is there
        self.reason = ""  # and its reason phrase, often empty
        self.headers: Headers = []  # and its headers; what comes behind it is not among them
        self._fields: Headers = []  # of the head or the trailers that are being read
        self.is_complete = False
        self.is_reusable = False  # its framing lets the connection live on
        self.ends_with_connection = False  # no length, no chunks: only the end of the connection ends it
        self.has_extra = False  # bytes came after its end
        self._informational = 0
        self._reason.clear()

    def release(self) -> None:
        """Let the parser go, and with it the circle of references."""
        self.feed = _closed
        self._parser = None

    def fault_of(self, error: HttpParserError | HttpParserUpgrade) -> BadResponse | None:
        """Say what it means that `feed` raised; None when the answer was whole before that."""
        if self.is_complete:
            self.has_extra = True
            return None
        if isinstance(error.__context__, BadResponse):
            return error.__context__  # raised by a callback below
        return BadResponse(f"not an HTTP answer: {error}")

    # ---- llhttp's callbacks; what they raise comes out of feed

    def on_message_begin(self) -> None:
        """A first byte that is not a line end."""
        if self.is_complete:
            self.has_extra = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """Also of trailers, which nobody reads: to take them for headers is unsafe (RFC 9110 section 6.5.1)."""
        self._fields.append((name, value))

    def on_headers_complete(self) -> None:
        """Decide whether this is the head that was waited for."""
        if self.is_complete:
            raise BadResponse("a second answer")
        parser = self._parser
        assert parser is not None  # it calls us
        status = parser.get_status_code()
        headers, self._fields = self._fields, []
        if len(headers) > self._limits.header_count:
            raise BadResponse(f"more than {self._limits.header_count} headers")
        if status < 200:
            self._pass_informational(status, headers)
            return
        self.headers = headers
        self.reason = b"".join(self._reason).decode("latin-1")
        version = parser.get_http_version()
        if version not in ("1.1", "1.0"):
            raise BadResponse("not HTTP/1.1 or 1.0")
        self._check_codings(headers, version)
        self.is_reusable = parser.should_keep_alive()
        if not self.is_reusable:
            self._see_how_it_ends(status)
        self.status = status
        if self.head_only:
            self.is_complete = self._is_spoilt = True

    def on_message_complete(self) -> None:
        """The framing says that the answer is whole (also of 1xx, which are messages to llhttp)."""
        if self.status:
            self.is_complete = True

    def _check_codings(self, headers: Headers, version: str) -> None:
        is_coded = False
        for name, value in headers:
            if len(name) == CODING and name.lower() == b"transfer-encoding":
                if is_coded or value.rstrip(b" ").lower() != b"chunked":  # behind a tab llhttp does not know it
                    raise BadResponse("a transfer coding other than chunked")
                is_coded = True
        if is_coded and version == "1.0":
            raise BadResponse("a transfer coding in HTTP/1.0")

    def _pass_informational(self, status: int, headers: Headers) -> None:
        self._informational += 1
        if status == 101 or status < 100:
            raise BadResponse(f"unexpected status {status}")
        if any(name.lower() in FRAMING for name, _ in headers):  # llhttp would read a body, which there cannot be
            raise BadResponse("an informational answer with a body")
        if self._informational > self._limits.informational:
            raise BadResponse(f"more than {self._limits.informational} informational answers")
        self._reason.clear()

    def _see_how_it_ends(self, status: int) -> None:
        """See whether an answer that ends its connection says by itself where it ends."""
        is_framed = self.head_only or status in (204, 304)
        for name, _ in self.headers:
            is_framed = is_framed or name.lower() in FRAMING
        self.ends_with_connection = not is_framed


def _closed(data: bytes) -> None:
    raise RuntimeError("the parser was released")
