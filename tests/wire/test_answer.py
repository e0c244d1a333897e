"""Rules of answers: what is whole, what is refused, at every split."""

import pytest
from httptools import HttpParserError, HttpParserUpgrade
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import BadResponse
from router.wire.answer import MAX_HEADERS, Answer, AnswerLimits

CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"

WHOLE = {  # name: (bytes, status, body, whether the connection lives on)
    "length": (b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello", 200, b"hello", True),
    "no body": (b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 200, b"", True),
    "no reason": (b"HTTP/1.1 404\r\nContent-Length: 0\r\n\r\n", 404, b"", True),
    "chunks": (CHUNKED + b"2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n", 200, b"hello", True),
    "extensions and trailers": (CHUNKED + b'5;a=b;c="d"\r\nhello\r\n0\r\nT: x\r\nU: y\r\n\r\n', 200, b"hello", True),
    "204": (b"HTTP/1.1 204 No Content\r\n\r\n", 204, b"", True),
    "304 with a length": (b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", 304, b"", True),
    "1xx before": (b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n"
                   b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
    "close": (b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "1.0": (b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", False),
    "1.0 keep-alive": (b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
    "upgrade offered": (b"HTTP/1.1 200 OK\r\nUpgrade: h2c\r\nConnection: upgrade\r\nContent-Length: 2\r\n\r\nhi",
                        200, b"hi", True),
    "empty header": (b"HTTP/1.1 200 OK\r\nX:\r\nContent-Length: 2\r\n\r\nhi", 200, b"hi", True),
}  # fmt: skip

REFUSED = {
    "not HTTP": b"\x16\x03\x01garbage",
    "HTTP/2.0": b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/2.0 kept alive": b"HTTP/2.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\nhi",
    "HTTP/0.9": b"HTTP/0.9 200 OK\r\nContent-Length: 2\r\n\r\nhi",
    "status 99": b"HTTP/1.1 099 X\r\nContent-Length: 2\r\n\r\nhi",
    "status 20": b"HTTP/1.1 20 X\r\nContent-Length: 2\r\n\r\nhi",
    "101": b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    "101 with upgrade": b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nxyz",
    "1xx without end": b"HTTP/1.1 102 Processing\r\n\r\n" * 11,
    "bare LF": b"HTTP/1.1 200 OK\nContent-Length: 2\n\nhi",
    "folded header": b"HTTP/1.1 200 OK\r\nX: a\r\n b\r\nContent-Length: 2\r\n\r\nhi",
    "NUL in a header": b"HTTP/1.1 200 OK\r\nX: a\0b\r\nContent-Length: 2\r\n\r\nhi",
    "length and chunks": CHUNKED[:-2] + b"Content-Length: 2\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks and length": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n" + CHUNKED[17:] + b"2\r\nhi\r\n0\r\n\r\n",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nhi",
    "odd length": b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nhi",
    "another coding": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\nhi",
    "two codings": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks, and a tab": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\t\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks, twice": CHUNKED[:-2] + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n",
    "chunks in HTTP/1.0": b"HTTP/1.0" + CHUNKED[8:] + b"2\r\nhi\r\n0\r\n\r\n",
    "1xx with a length": b"HTTP/1.1 199 X\r\nContent-Length: 2\r\n\r\nhi",
    "1xx with chunks": b"HTTP/1.1 199" + CHUNKED[12:] + b"2\r\nhi\r\n0\r\n\r\n",
    "chunk size no number": CHUNKED + b"2\r\nhi\r\nzz\r\n",
    "chunk too long for its size": CHUNKED + b"2\r\nhixx\r\n0\r\n\r\n",
    "huge chunk size": CHUNKED + b"ffffffffffffffffff\r\nhi",
    "too many headers": b"HTTP/1.1 200 OK\r\n" + b"A: b\r\n" * (MAX_HEADERS + 1) + b"\r\n",
}


def fed(answer: Answer, *pieces: bytes) -> BadResponse | None:
    """Feed until something is refused; return that."""
    for piece in pieces:
        try:
            answer.feed(piece)
        except (HttpParserError, HttpParserUpgrade) as error:
            return answer.fault_of(error)
    return None


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_is_whole_at_its_end_and_not_before_at_every_split(name: str) -> None:
    raw, status, body, lives = WHOLE[name]
    answers = [Answer(AnswerLimits()) for _ in range(2)]
    for split in range(len(raw) + 1):
        answer = answers[0] if lives else Answer(AnswerLimits())  # one parser for all, as on a connection
        answer.restart(head_only=False)
        assert fed(answer, raw[:split]) is None
        assert answer.is_complete == (split == len(raw))
        assert fed(answer, raw[split:]) is None
        assert (answer.status, b"".join(answer.pieces), answer.is_complete) == (status, body, True)
        assert (answer.is_reusable, answer.has_extra, answer.ends_with_connection) == (lives, False, False)
        answer.pieces.clear()
    for index in range(len(raw)):
        assert fed(answers[1], raw[index : index + 1]) is None
    assert b"".join(answers[1].pieces) == body


@pytest.mark.parametrize("name", REFUSED)
def test_what_is_no_proper_answer_is_refused_at_every_split(name: str) -> None:
    raw = REFUSED[name]
    for split in range(0, len(raw), max(1, len(raw) // 200)):
        answer = Answer(AnswerLimits())
        assert isinstance(fed(answer, raw[:split], raw[split:]), BadResponse), split
        assert not answer.is_complete


def test_bytes_before_a_bad_chunk_are_there() -> None:
    answer = Answer(AnswerLimits())
    assert fed(answer, REFUSED["chunk size no number"]) is not None
    assert answer.pieces == [b"hi"]


def test_headers_come_in_order_and_as_received() -> None:
    answer = Answer(AnswerLimits())
    fed(answer, b"HTTP/1.1 200 Fine\r\nb: 1\r\nA: 2\r\nb:3\r\nE:\r\nContent-Length: 0\r\n\r\n")
    assert answer.headers == [(b"b", b"1"), (b"A", b"2"), (b"b", b"3"), (b"E", b""), (b"Content-Length", b"0")]
    assert answer.reason == "Fine"


def test_trailers_are_no_headers() -> None:
    """RFC 9110 section 6.5.1. Head and trailers come in one read where an answer is short."""
    answer = Answer(AnswerLimits())
    answer.restart(head_only=False)
    answer.feed(CHUNKED + b"5\r\nhello\r\n0\r\nSet-Cookie: a\r\nX-Trailer: b\r\n\r\n")
    assert answer.is_complete
    assert answer.headers == [(b"Transfer-Encoding", b"chunked")]


@pytest.mark.parametrize("coding", [b"gzip", b"gzip, chunked", b"identity, chunked"])
def test_every_answer_of_a_connection_has_to_be_chunked_in_no_other_way(coding: bytes) -> None:
    answer = Answer(AnswerLimits())
    answer.restart(head_only=False)
    answer.feed(CHUNKED + b"0\r\n\r\n")
    answer.restart(head_only=False)
    fault = fed(answer, CHUNKED.replace(b"chunked", coding) + b"0\r\n\r\n")
    assert fault is not None
    assert "coding" in str(fault)


def test_headers_of_informational_answers_are_dropped() -> None:
    answer = Answer(AnswerLimits())
    fed(answer, WHOLE["1xx before"][0])
    assert answer.headers == [(b"Content-Length", b"2")]
    assert answer.reason == "OK"


@pytest.mark.parametrize("name", ["HTTP/2.0 kept alive", "chunks in HTTP/1.0", "two codings", "chunks, twice"])
def test_a_later_answer_is_looked_at_like_the_first(name: str) -> None:
    answer = Answer(AnswerLimits())
    assert fed(answer, WHOLE["length"][0]) is None
    answer.restart(head_only=False)
    assert fed(answer, REFUSED[name]) is not None


@pytest.mark.parametrize("extra", [b"", b"HTTP/1.1 404 Gone\r\nX: evil\r\nContent-Length: 9\r\n\r\n"])
def test_what_comes_behind_a_head_is_not_among_its_headers(extra: bytes) -> None:
    """Neither trailers nor the head of an answer that nobody asked for, also where all of it comes at once."""
    answer = Answer(AnswerLimits())
    fed(answer, WHOLE["extensions and trailers"][0] + extra)
    assert answer.headers == [(b"Transfer-Encoding", b"chunked")]
    assert answer.reason == "OK"


@pytest.mark.parametrize("extra", [b"H", b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", b"zzz", b"\x00"])
@pytest.mark.parametrize("name", ["length", "chunks", "204", "304 with a length", "close"])
def test_bytes_after_an_answer_are_noticed(name: str, extra: bytes) -> None:
    raw, status, body, _ = WHOLE[name]
    answer = Answer(AnswerLimits())
    assert fed(answer, raw + extra) is None
    assert (answer.status, b"".join(answer.pieces), answer.is_complete) == (status, body, True)
    assert answer.has_extra


def test_without_length_and_chunks_only_the_connections_end_ends_it() -> None:
    answer = Answer(AnswerLimits())
    assert fed(answer, b"HTTP/1.1 200 OK\r\n\r\nhello") is None
    assert answer.ends_with_connection
    assert not answer.is_complete
    assert not answer.is_reusable


@pytest.mark.parametrize("framing", [b"Content-Length: 500\r\n", b"Transfer-Encoding: chunked\r\n"])
def test_an_answer_to_head_ends_with_its_head_and_the_next_one_is_read_as_usual(framing: bytes) -> None:
    answer = Answer(AnswerLimits())
    answer.restart(head_only=True)
    assert fed(answer, b"HTTP/1.1 200 OK\r\n" + framing + b"\r\n") is None
    assert (answer.is_complete, answer.is_reusable) == (True, True)
    answer.restart(head_only=False)
    assert fed(answer, WHOLE["length"][0]) is None
    assert answer.pieces == [b"hello"]


def test_a_released_parser_takes_nothing() -> None:
    answer = Answer(AnswerLimits())
    answer.release()
    with pytest.raises(RuntimeError):
        answer.feed(b"x")


@settings(max_examples=200, deadline=None)
@given(st.sampled_from(sorted(WHOLE)), st.data())
def test_mutated_answers_are_whole_or_refused_and_nothing_else_is_raised(name: str, data: st.DataObject) -> None:
    raw = bytearray(WHOLE[name][0])
    for _ in range(data.draw(st.integers(1, 3))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    split = data.draw(st.integers(0, len(raw)))
    answer = Answer(AnswerLimits())
    fault = fed(answer, bytes(raw[:split]), bytes(raw[split:]))
    assert fault is None or isinstance(fault, BadResponse)
