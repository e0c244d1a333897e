"""The parser of requests: any split of bytes in, events out."""

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.wire.limits import ROOM_FROM, ROOM_SHARE, ROOM_UP_TO, ServerLimits
from router.wire.request_parser import END, SLICE, Refusal, RequestHead, RequestParser

LIMITS = ServerLimits(start_line=200, header_bytes=500, header_count=10, body=1000)
HEAD = b"POST /v1/x?y=1 HTTP/1.1\r\nHost: a\r\n"
CHUNKED = b"Transfer-Encoding: Chunked\r\n\r\n"


def simplified(events):
    """Events with body pieces joined, so that splits can be compared."""
    out = []
    for event in events:
        if isinstance(event, RequestHead):
            out.append((*event.start_line, dict(event.headers.fields), event.keep_alive))
        elif isinstance(event, bytes):
            if out and isinstance(out[-1], bytes):
                out[-1] += event
            else:
                out.append(event)
        elif isinstance(event, Refusal):
            out.append((event.status, event.message))
        else:
            out.append(event)
    return out


def parse(*pieces: bytes, limits: ServerLimits = LIMITS):
    parser = RequestParser(limits)
    for piece in pieces:
        parser.feed(piece)
    return simplified(parser.events)


def status_of(raw: bytes, limits: ServerLimits = LIMITS) -> int:
    """The status that the parser refuses these bytes with; fails if it does not."""
    last = parse(raw, limits=limits)[-1]
    assert isinstance(last, tuple), last
    assert len(last) == 2, last
    return last[0]


GOOD = {
    "length": HEAD + b"Content-Length: 5\r\n\r\nhello",
    "none": b"GET / HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Pad: a \t\r\n\r\n",
    "chunked": HEAD + CHUNKED + b'3;ext=1;q="a"\r\nabc\r\n2\r\nde\r\n0\r\nX-Trailer: t\r\nHost: evil\r\n\r\n',
    "expect": HEAD + b"Expect: 100-Continue\r\nContent-Length: 1\r\n\r\n.",
    "1.0": b"GET / HTTP/1.0\r\n\r\n",
    "upgrade": HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 3\r\n\r\nabc",
    "upgrade chunked": HEAD + b"Connection: Upgrade\r\nUpgrade: h2c\r\n" + CHUNKED + b"3\r\nabc\r\n0\r\n\r\n",
    "options": b"OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n",
}
BAD = {
    "bare LF": (b"GET / HTTP/1.1\nHost: a\n\n", 400),
    "folded line": (HEAD + b"X: a\r\n b\r\n\r\n", 400),
    "NUL": (HEAD + b"X: a\0b\r\n\r\n", 400),
    "space before the colon": (HEAD + b"X : a\r\n\r\n", 400),
    "bad name": (HEAD + b"X(: a\r\n\r\n", 400),
    "TLS": (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", 400),
    "no method": (b"\xff\xfe\r\n\r\n", 400),
    "unknown method": (b"FOO / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "longer method": (b"GETS / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "small method": (b"get / HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "CONNECT": (b"CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n", 501),
    "HTTP/2.0": (b"GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505),
    "HTTP/0.9": (b"GET / HTTP/0.9\r\nHost: a\r\n\r\n", 505),
    "HTTP/1.2": (b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
    "HTTP/2 preface": (b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
    "other protocol": (b"GET / FOO/1.1\r\nHost: a\r\n\r\n", 400),
    "absolute target": (b"GET http://evil/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "authority target": (b"GET @evil/x HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment": (b"GET /x#y HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "fragment in a query": (b"GET /x?y#z HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "* with GET": (b"GET * HTTP/1.1\r\nHost: a\r\n\r\n", 400),
    "no Host": (b"GET / HTTP/1.1\r\n\r\n", 400),
    "two Hosts": (b"GET / HTTP/1.1\r\nHost: a\r\nhost: a\r\n\r\n", 400),
    "two Hosts in 1.0": (b"GET / HTTP/1.0\r\nHost: a\r\nhost: b\r\n\r\n", 400),
    "empty Host": (b"GET / HTTP/1.1\r\nHost: \r\n\r\n", 400),
    "two equal lengths": (HEAD + b"Content-Length: 1\r\nContent-Length: 1\r\n\r\na", 400),
    "list of lengths": (HEAD + b"Content-Length: 1, 1\r\n\r\na", 400),
    "signed length": (HEAD + b"Content-Length: +1\r\n\r\na", 400),
    "length and chunked": (HEAD + b"Content-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunked and length": (HEAD + b"Transfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n", 400),
    "chunked in 1.0": (b"POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    "chunked twice": (HEAD + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
    "chunked not last": (HEAD + b"Transfer-Encoding: chunked, gzip\r\n\r\n", 400),
    "gzip": (HEAD + b"Transfer-Encoding: gzip\r\n\r\n", 501),
    "gzip, chunked": (HEAD + b"Transfer-Encoding: gzip, chunked\r\n\r\n", 501),
    "xchunked": (HEAD + b"Transfer-Encoding: xchunked\r\n\r\n", 501),
    "other expectation": (HEAD + b"Expect: 200-ok\r\n\r\n", 417),
    "long body": (HEAD + b"Content-Length: 1001\r\n\r\n", 413),
    "long chunked body": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e9\r\n" + b"a" * 1001, 413),
    "bad chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nxyz\r\n", 400),
    "chunk longer than its size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n1\r\nab\r\n", 400),
    "huge chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n", 400),
    "long target": (b"GET /" + b"a" * 200 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "start line one over": (b"GET /" + b"a" * 187 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
    "long header": (HEAD + b"X: " + b"a" * 500 + b"\r\n\r\n", 431),
    "many headers": (HEAD + b"X: a\r\n" * 10 + b"\r\n", 431),
}


@pytest.mark.parametrize("name", GOOD)
def test_every_split_gives_the_same_events(name: str) -> None:
    raw = GOOD[name]
    whole = parse(raw)

    assert whole[-1] is END
    for i in range(len(raw) + 1):
        assert parse(raw[:i], raw[i:]) == whole
    assert parse(*(raw[i : i + 1] for i in range(len(raw)))) == whole


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_is_refused_at_every_split_with_its_status(name: str) -> None:
    raw, status = BAD[name]

    assert status_of(raw) == status
    for i in range(len(raw) + 1):
        *_, last = parse(raw[:i], raw[i:])
        assert last[0] == status
    *_, last = parse(*(raw[i : i + 1] for i in range(len(raw))))
    assert last[0] == status


def test_limits_are_inclusive() -> None:
    assert parse(b"GET /" + b"a" * 186 + b" HTTP/1.1\r\nHost: a\r\n\r\n")[-1] is END
    assert parse(HEAD + b"X: a\r\n" * 9 + b"\r\n")[-1] is END
    assert parse(HEAD + b"Content-Length: 1000\r\n\r\n" + b"a" * 1000)[-1] is END
    assert parse(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + b"a" * 1000 + b"\r\n0\r\n\r\n")[-1] is END


def test_the_body_before_a_fault_is_delivered_before_it() -> None:
    events = parse(HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nxyz\r\n")

    assert events[1] == b"abc"
    assert events[2][0] == 400


def test_pipelined_requests_come_in_order_and_a_fault_after_them_last() -> None:
    events = parse(GOOD["length"] + GOOD["chunked"] + GOOD["none"] + b"\0")

    kinds = "".join({tuple: "h", bytes: "b"}.get(type(event), "e") for event in events)
    assert kinds == "hbe" + "hbe" + "he" + "h"
    assert events[-1][0] == 400


def test_trailers_never_become_headers() -> None:
    first, _, _, second, _ = parse(GOOD["chunked"] + GOOD["none"])

    assert first[3]["Host"] == ["a"]
    assert "X-Trailer" not in first[3]
    assert "X-Trailer" not in second[3]


def test_after_an_upgrade_that_is_ignored_the_next_request_is_read() -> None:
    events = parse(GOOD["upgrade"] + GOOD["none"])

    assert events[1:3] == [b"abc", END]
    assert events[3][0] == "GET"
    assert events[4] is END


@pytest.mark.parametrize("name", BAD)
def test_what_is_refused_is_refused_behind_other_requests_too(name: str) -> None:
    raw, status = BAD[name]
    for before in ("none", "chunked", "upgrade"):
        *_, last = parse(GOOD[before] + raw)
        assert last[0] == (400 if status == 501 and raw[:4] != HEAD[:4] and raw[:7] != b"CONNECT" else status)


@pytest.mark.parametrize(
    ("head", "keep_alive"),
    [
        (b"GET / HTTP/1.1\r\nHost: a\r\n", True),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n", False),
        (b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Keep-Alive, Close\r\n", False),
        (b"GET / HTTP/1.0\r\n", False),
        (b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n", True),
    ],
)
def test_keep_alive_is_what_the_client_asked_for(head: bytes, keep_alive: bool) -> None:
    assert parse(head + b"\r\n")[0][4] is keep_alive


def test_bytes_after_a_clients_last_request_are_ignored() -> None:
    last = b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

    assert len(parse(last + b"GET / HTTP/1.1\r\n")) == 2
    assert len(parse(last, b"\0\0")) == 2
    assert len(parse(last.replace(b"close", b"close, Upgrade\r\nUpgrade: x") + GOOD["none"])) == 2


def test_empty_lines_between_requests_are_no_request() -> None:
    parser = RequestParser(LIMITS)
    parser.feed(GOOD["none"])
    parser.feed(b"\r\n\r\n")
    assert not parser.in_head
    parser.feed(b"G")
    assert parser.in_head
    parser.feed(GOOD["none"][1:])
    assert not parser.in_head
    assert len(parser.events) == 4


@pytest.mark.parametrize("piece", [b"a" * 50, b"a"])
def test_a_head_that_never_ends_is_refused_before_much_is_collected(piece: bytes) -> None:
    for start, status in ((b"GET /", 414), (HEAD + b"X: ", 431)):
        parser = RequestParser(LIMITS)
        parser.feed(start)
        fed = 0
        while not (parser.events and isinstance(parser.events[-1], Refusal)):
            parser.feed(piece)
            fed += len(piece)
            assert fed < 2 * SLICE
        assert parser.events[-1].status == status


@pytest.mark.parametrize("endless", [b";" + b"x" * 100, b"0\r\nX: " + b"a" * 100])
def test_framing_without_end_is_refused(endless: bytes) -> None:
    """Chunk extensions and trailers cost as much as a body, and no body limit stops them."""
    parser = RequestParser(LIMITS)
    parser.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n" + (b"1" if endless[:1] == b";" else b""))
    parser.feed(endless)
    for _ in range(1000):
        parser.feed(b"x" * 100)
    assert isinstance(parser.events[-1], Refusal)


def test_small_chunks_are_no_attack() -> None:
    limits = ServerLimits()
    body = b"1\r\na\r\n" * 20000
    parser = RequestParser(limits)
    parser.feed(HEAD + b"Transfer-Encoding: chunked\r\n\r\n")
    for i in range(0, len(body), SLICE):
        parser.feed(body[i : i + SLICE])
    parser.feed(b"0\r\n\r\n")
    assert parser.events[-1] is END
    assert sum(len(event) for event in parser.events if isinstance(event, bytes)) == 20000


def test_appetite_covers_a_body_of_known_length_and_no_pipelined_request_behind_it() -> None:
    parser = RequestParser(ServerLimits())
    assert parser.appetite == SLICE
    parser.feed(HEAD + b"Content-Length: 100000\r\n\r\n")
    assert parser.appetite == 100000
    parser.feed(b"a" * 90000)
    assert parser.appetite == SLICE


@settings(max_examples=150, deadline=None)
@given(
    names=st.lists(st.sampled_from(sorted(GOOD)), min_size=1, max_size=5),
    cuts=st.lists(st.integers(0, 800), max_size=12),
)
def test_any_split_of_any_pipeline_gives_the_same_events(names: list[str], cuts: list[int]) -> None:
    raw = b"".join(GOOD[name] for name in names)
    edges = sorted({0, len(raw), *(cut for cut in cuts if cut < len(raw))})
    pieces = [raw[a:b] for a, b in itertools.pairwise(edges)]

    assert parse(*pieces) == parse(raw)


@settings(max_examples=200, deadline=None)
@given(
    name=st.sampled_from(sorted(GOOD)),
    changes=st.lists(st.tuples(st.integers(0, 300), st.binary(max_size=3)), min_size=1, max_size=4),
    cut=st.integers(0, 300),
)
def test_no_bytes_make_the_parser_raise(name: str, changes: list[tuple[int, bytes]], cut: int) -> None:
    raw = GOOD[name] * 2
    for at, new in changes:
        at %= len(raw)
        raw = raw[:at] + new + raw[at + 1 :]
    events = parse(raw[:cut], raw[cut:])

    assert sum(isinstance(event, tuple) and len(event) == 2 for event in events) <= 1


@pytest.mark.parametrize(
    ("line", "is_kept"),
    [
        (b"Connection: keep-alive", True),
        (b"Connection: x, Keep-Alive", True),
        (b"Connection: keep-alive, close", False),
        (b"Connection: close\r\nConnection: keep-alive", False),
        (b"Proxy-Connection: keep-alive", False),
        (b"Connection: x\r\nProxy-Connection: keep-alive", False),
    ],
)
def test_a_client_of_http_1_0_keeps_its_connection_by_the_connection_header_only(line: bytes, is_kept: bool) -> None:
    parser = RequestParser(LIMITS)
    parser.feed(b"GET / HTTP/1.0\r\n" + line + b"\r\n\r\n")
    head = parser.events[0]
    assert isinstance(head, RequestHead)
    assert head.keep_alive is is_kept


@pytest.mark.parametrize("lines", [b"", b"Connection: Upgrade\r\nUpgrade: h2c\r\n"], ids=["plain", "upgrade"])
def test_a_long_body_of_known_length_is_written_to_where_it_stays(lines: bytes) -> None:
    parser = RequestParser(ServerLimits())
    body = bytes(range(256)) * 512
    parser.feed(HEAD + lines + b"Content-Length: %d\r\n\r\n" % len(body))
    parser.make_room(len(body) // ROOM_SHARE)
    for start in range(0, len(body), 50_000):
        piece = body[start : start + 50_000]
        assert parser.room is not None
        parser.room[: len(piece)] = piece
        parser.fill(len(piece))
    assert parser.room is None
    assert parser.events[1:] == [body, END]
    assert type(parser.events[1]) is bytes
    parser.feed(GOOD["chunked"] + GOOD["none"])
    assert simplified(parser.events[3:]) == parse(GOOD["chunked"] + GOOD["none"])


@pytest.mark.parametrize(
    ("lines", "come", "fed"),
    [
        (b"Content-Length: %d\r\n" % (ROOM_FROM - 1), ROOM_FROM, b""),
        (b"Content-Length: %d\r\n" % (ROOM_UP_TO + 1), ROOM_UP_TO, b""),
        (b"Content-Length: %d\r\n" % ROOM_UP_TO, ROOM_UP_TO // ROOM_SHARE - 1, b""),
        (b"Content-Length: %d\r\n" % ROOM_FROM, ROOM_FROM, b"a"),
        (CHUNKED[:-2], ROOM_FROM, b""),
    ],
    ids=["short", "very long", "little has come", "begun", "chunked"],
)
def test_room_is_made_for_no_other_body(lines: bytes, come: int, fed: bytes) -> None:
    parser = RequestParser(ServerLimits())
    parser.feed(HEAD + lines + b"\r\n" + fed)
    parser.make_room(come)
    assert parser.room is None


def test_of_a_requests_beginning_no_more_than_its_head_is_fed_at_once() -> None:
    parser = RequestParser(ServerLimits())
    head = HEAD + b"Content-Length: 100000\r\n\r\n"
    data = memoryview(head + b"a" * 100_000 + GOOD["none"])
    assert parser.first_slice(data) == len(head)
    parser.feed(head)
    assert parser.first_slice(data[len(head) :]) == 100_000
    assert RequestParser(ServerLimits()).first_slice(memoryview(b"a" * 100_000)) == SLICE
