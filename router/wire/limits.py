"""How much a client may send, and how long it may take. Every number has its reason beside it.

Sizes are bytes, times are seconds; None switches a timeout off.
"""

from dataclasses import dataclass

START_LINE = 8 * 1024  # RFC 9112 section 3 asks for at least 8,000 bytes
HEADER_BYTES = 32 * 1024  # the longest tokens and cookies seen are far below; nginx takes 4 x 8 KiB
HEADER_COUNT = 100  # as Apache and h11; an SDK sends about 20
BODY = 64 * 1024 * 1024  # a long context with some images
HEADERS_TIMEOUT = 10.0  # a head is one packet or two: whoever needs longer holds a connection, not a conversation
BODY_TIMEOUT = 60.0  # plus what MIN_BODY_RATE earns; the time that our own side takes is not counted
IDLE_TIMEOUT = 75.0  # as nginx; longer than the keep-alive of usual client pools, so that they close first
WRITE_STALL_TIMEOUT = 60.0  # a client that takes no byte for so long has gone without saying so
MIN_BODY_RATE = 8 * 1024  # bytes per second; a slow but honest upload earns time, a drip does not
LINGER_TIME = 10.0  # how long a refused client may go on sending until it has read our answer
MOST_UNSENT = 32 * 1024  # bytes, beyond what the kernel takes, before we wait for a client; one read comes on top
READ_SIZE = 64 * 1024  # read at once; pieces of this size are cheap to allocate, larger ones go back to the kernel
ROOM_FROM, ROOM_UP_TO = 32 * 1024, 1024 * 1024  # a body of so many bytes, announced, is read to where it stays
ROOM_SHARE = 4  # times what has come of it: so much room is made for a body, and not more
HELD_BYTES = 64 * 1024  # of a body that the application is not ready for; beyond it we stop reading
PIPELINED_BYTES = 1024 * 1024  # of requests behind an open answer; beyond it they are dropped, see server_connection
LEFT_CHECK_INTERVAL = 0.25  # seconds; while we do not read, a leaving client is only seen by asking the kernel
BACKLOG = 2048  # connections that the kernel keeps for us; capped by net.core.somaxconn


@dataclass(frozen=True, slots=True)
class ServerLimits:
    """What one client connection may do; the comment names the answer when it does more."""

    start_line: int = START_LINE  # 414
    header_bytes: int = HEADER_BYTES  # 431; all header lines together, trailers likewise
    header_count: int = HEADER_COUNT  # 431
    body: int = BODY  # 413, by Content-Length before a byte of it, or when a chunked one grows over it
    headers_timeout: float | None = HEADERS_TIMEOUT  # 408, from the first byte of a request to its empty line
    body_timeout: float | None = BODY_TIMEOUT  # 408
    idle_timeout: float | None = IDLE_TIMEOUT  # silent close between requests, and before the first
    write_stall_timeout: float | None = WRITE_STALL_TIMEOUT  # the connection is aborted
    connections: int | None = None  # open at once; one more is reset
    descriptors: int | None = None  # files open in the whole process; a connection that makes it more is reset
