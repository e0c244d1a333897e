"""The judge agrees with the corpus, which was written by others; and what it reads is what was written."""

import pytest

from tests import corpus
from tests.corpus import RequestCase
from tests.fuzz.reference import Ending, read_answers, read_requests

THEMES = ("framing", "chunks", "lines", "targets")
REFUSALS = (400, 501, 505)
# Clear to read, and refused for something else: limits, what is no JSON, methods and protocols.
REFUSED_FOR_MORE = {
    "a chunk size with a million zeros before it",
    "a chunk extension of 200 KB",
    "a request in the body of another is a body",
    "a method in small letters",
    "a method that nobody knows",
    "another protocol in the start line",
}
CASES = [case for case in corpus.requests() if case.theme in THEMES and case.answers]
POST = b"POST /x?y HTTP/1.1\r\nHost: a\r\n"


@pytest.mark.parametrize("case", CASES, ids=[f"{case.theme}: {case.name}" for case in CASES])
def test_what_the_corpus_has_refused_is_not_clear_and_what_it_has_taken_is(case: RequestCase) -> None:
    reading = read_requests(case.raw)
    if case.answers[-1] not in REFUSALS:
        assert reading.ending is not Ending.AMBIGUOUS, reading.why
        return
    is_clear = reading.ending is Ending.WHOLE and not any(message.is_odd for message in reading.messages)
    assert not is_clear or case.name in REFUSED_FOR_MORE or len(reading.messages) < len(case.answers)


def test_requests_are_read_as_they_were_written() -> None:
    raw = POST + b"Content-Length: 2\r\nX:\t a b \r\n\r\nhi\r\n" + POST + b"Transfer-Encoding: Chunked\r\n\r\n"
    raw += b'2;a="b;c"\r\nhi\r\n0\r\nT: x\r\n\r\nGET / HTTP/1.0\r\n\r\nGET / HTTP/1.1\r\n'
    reading = read_requests(raw)
    first, second, last = reading.messages

    assert (reading.ending, reading.rest) == (Ending.WHOLE, len(raw) - len(b"GET / HTTP/1.1\r\n"))
    assert first.start == (b"POST", b"/x?y", b"1.1")
    assert first.fields == ((b"Host", b"a"), (b"Content-Length", b"2"), (b"X", b"a b"))
    assert [message.body for message in reading.messages] == [b"hi", b"hi", b""]
    assert [message.is_last for message in (first, second, last)] == [False, False, True]


@pytest.mark.parametrize("cut", range(1, len(POST) + 30))
def test_a_request_that_is_cut_is_partial(cut: int) -> None:
    raw = POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n"
    reading = read_requests(raw[:cut])
    assert (reading.ending, reading.messages) == (Ending.PARTIAL, [])


@pytest.mark.parametrize("line", [b"PRI * HTTP/2.0", b"PRI *// HTTP/2.0", b"PRI / HTTP/1.1"])
def test_the_preface_of_http_2_is_no_request_and_whole_with_its_second_half(line: bytes) -> None:
    """llhttp takes its first half with any target and version, and waits for the second one."""
    assert read_requests(line + b"\r\n\r\nSM\r\n\r").ending is Ending.PARTIAL
    for raw in (b"\r\n\r\nSM\r\n\r\n", b"\r\n\r\nGET", b"\r\nHost: a\r\n\r\n"):
        assert read_requests(line + raw).ending is Ending.AMBIGUOUS


@pytest.mark.parametrize(
    ("raw", "is_ended", "ending", "bodies"),
    [
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", False, Ending.WHOLE, [b"hi"]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi!", False, Ending.AMBIGUOUS, [b"hi"]),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nhi", True, Ending.PARTIAL, []),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", True, Ending.WHOLE, [b"hi"]),
        (b"HTTP/1.1 200 OK\r\n\r\nhi", False, Ending.PARTIAL, []),
        (b"HTTP/1.1 103 X\r\n\r\nHTTP/1.1 204 X\r\n\r\n", False, Ending.WHOLE, [b"", b""]),
        (b"HTTP/1.1 103 X\r\nContent-Length: 2\r\n\r\nhi", False, Ending.AMBIGUOUS, []),
        (b"HTTP/1.1 101 X\r\n\r\n", False, Ending.AMBIGUOUS, [b""]),
    ],
)
def test_answers_are_whole_only_where_their_framing_says_so(
    raw: bytes, is_ended: bool, ending: Ending, bodies: list[bytes]
) -> None:
    reading = read_answers(raw, [b"GET"], is_ended=is_ended)
    assert (reading.ending, [message.body for message in reading.messages]) == (ending, bodies)
