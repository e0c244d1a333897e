"""Reads the recorded exchanges of tests/data/vllm (what they are: the README.md there)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path

FOLDER = Path(__file__).resolve().parent / "data" / "vllm"


@dataclass(frozen=True, slots=True)
class Capture:
    """One recorded exchange."""

    name: str  # folder/name
    request: bytes  # as sent; empty where only the answer was kept
    response: bytes  # as received, head and framing included

    @property
    def head(self) -> bytes:
        """The answer's status line and headers."""
        return self.response.partition(b"\r\n\r\n")[0]

    @property
    def status(self) -> int:
        """The answer's status."""
        return int(self.response[9:12])

    @property
    def headers(self) -> dict[str, str]:
        """The answer's headers, names in lower case."""
        lines = self.head.decode("latin-1").split("\r\n")[1:]
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}

    @property
    def is_stream(self) -> bool:
        """Whether the answer is server-sent events."""
        return self.headers.get("content-type", "").startswith("text/event-stream")

    @property
    def chunks(self) -> list[bytes]:
        """The chunks that are whole, of a chunked answer."""
        return list(_chunks(self.response.partition(b"\r\n\r\n")[2]))

    @property
    def is_whole(self) -> bool:
        """Whether the answer was received to its end."""
        body = self.response.partition(b"\r\n\r\n")[2]
        if self.headers.get("transfer-encoding") == "chunked":
            return body.endswith(b"0\r\n\r\n")
        return len(body) == int(self.headers.get("content-length", "-1"))

    @property
    def body(self) -> bytes:
        """The answer's body, without framing."""
        if self.headers.get("transfer-encoding") == "chunked":
            return b"".join(self.chunks)
        return self.response.partition(b"\r\n\r\n")[2]

    @property
    def method(self) -> str:
        """The request's method."""
        return self.request.split(b" ", 1)[0].decode()

    @property
    def target(self) -> str:
        """The request's path."""
        return self.request.split(b" ", 2)[1].decode()

    @property
    def request_body(self) -> bytes:
        """The request's body."""
        return self.request.partition(b"\r\n\r\n")[2]


def _chunks(framed: bytes) -> Iterator[bytes]:
    while framed:
        size, found, rest = framed.partition(b"\r\n")
        length = int(size, 16) if found else 0
        if length == 0 or len(rest) < length:
            return
        yield rest[:length]
        framed = rest[length + 2 :]


@cache
def load(folder: str | None = None) -> tuple[Capture, ...]:
    """Return all recorded exchanges, or those of one folder, in the order of their names."""
    files = sorted(FOLDER.glob(f"{folder or '*'}/*.response"))
    return tuple(_read(file) for file in files)


def capture(name: str) -> Capture:
    """Return one exchange by its name, as "tekken-v13/chat-plain"."""
    return _read(FOLDER / f"{name}.response")


def _read(file: Path) -> Capture:
    request = file.with_suffix(".request")
    name = f"{file.parent.name}/{file.stem}"
    return Capture(name, request.read_bytes() if request.exists() else b"", file.read_bytes())


def load_streams(*, whole: bool = False) -> Iterator[tuple[str, bytes, bytes]]:
    """Yield every recorded stream: name, the raw answer (head and chunk framing), and its body without framing.

    `whole`: only those that were received to their end.
    """
    for one in load():
        if one.is_stream and (one.is_whole or not whole):
            yield one.name, one.response, one.body
