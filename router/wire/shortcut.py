"""A stream's usual chunks, which pass from a backend to a client without being parsed. No I/O.

    size line | before | text | behind        one chunk, which came in one read

Who reads the answer tells what such a chunk begins and ends with, and which texts between are usual. `Connection` lets
them pass itself, in the frame in which the loop hands it a read: of all that the router does for an event the calls are
the dearest. Every other read is parsed, and may change what is told here.
"""

from collections.abc import Awaitable, Callable
from typing import Protocol

MANY = 128  # chunks that have passed before `look_back` is called
NEVER = b"\xff"  # no chunk begins so


class Client(Protocol):
    """Who gets the chunks."""

    pipe: Callable[[bytes], None] | None  # takes chunks with their framing; None: now it does not


class Shortcut:
    """What passes, and what has passed. Closed, which is how it begins, nothing does."""

    __slots__ = ("before", "begin", "behind", "client", "clock", "end", "gaps", "last", "pieces", "texts", "usual")

    def __init__(self, client: Client, usual: set[bytes], clock: Callable[[], float]) -> None:
        """`usual`: texts that are known to be fine, of all streams. `clock`: in seconds."""
        self.client = client
        self.usual = usual
        self.clock = clock
        self.before = NEVER  # the text, within the chunk's content
        self.behind = NEVER  # the text, with the chunk's line end
        self.begin, self.end = 0, 0  # of the text: from the content's begin, and from the chunk's end
        self.pieces: tuple[bytes, ...] | None = None  # what the client gets around the text; None: as it came
        self.texts: list[bytes] = []  # that have passed, as JSON has them between the quotation marks
        self.gaps: list[float] = []  # seconds between reads
        self.last = clock()  # when the last read came

    def is_fine(self, text: bytes) -> bool:
        """Return whether a chunk with this text, which is not a usual one, may pass too."""
        raise NotImplementedError

    def look_back(self) -> Awaitable[None] | None:
        """Do what need not be done for each chunk: many have passed, or the client has become slow.

        An awaitable means: read on when it is done.
        """
        raise NotImplementedError
