"""The comparison of answers judges alike, and sees what it is there to see."""

import asyncio
from collections.abc import Callable

import pytest
import uvloop

from tests.corpus import ResponseCase, responses
from tests.corpus.compare_answers import (
    HAPROXY,
    NGINX,
    OURS,
    PEERS,
    Came,
    Ending,
    Fault,
    faults,
    judge,
    play_all,
    shown,
    summary,
)

CASES = {case.name: case for case in responses()}
WHOLE, CUT = CASES["a whole answer"], CASES["an answer that is shorter than its length"]
STREAM, ENDS, OWN = CASES["a whole stream"], CASES["a stream that is cut"], CASES["a bare CR in a value"]
OK = b"HTTP/1.1 200 OK\r\nX-A: b\r\nContent-Length: 2\r\n\r\nhi"
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2;x\r\nhi\r\n"
SSE = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\ndata: one\n\n"
END, RESET, SILENT, FLOWING = Ending.END, Ending.RESET, Ending.SILENT, Ending.FLOWING


@pytest.mark.parametrize(
    ("case", "raw", "ending", "expected"),
    [
        (WHOLE, OK, END, ()),
        (WHOLE, OK, RESET, ()),  # what is whole is whole
        (WHOLE, OK[:-1], END, (Fault.LOST,)),
        (WHOLE, b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", END, (Fault.LOST,)),
        (CUT, OK, END, (Fault.UNTOLD,)),
        (CUT, OK[:-1], END, ()),
        (CUT, OK[:-1], SILENT, (Fault.HELD,)),
        (CUT, OK[:-1], FLOWING, ()),
        (CUT, b"HTTP/1.1 502 X\r\nContent-Length: 0\r\n\r\n", END, ()),
        (CUT, b"HTTP/1.1 102 X\r\n\r\n" + OK, END, (Fault.UNTOLD,)),
        (CUT, b"", END, ()),
        (CUT, b"\x15\x03\x01", END, (Fault.RAW,)),
        (CUT, b"HTTP/1.1 2000 OK\r\n\r\n", END, (Fault.RAW,)),
        (CUT, CHUNKED, END, ()),
        (CUT, CHUNKED + b"0\r\n\r\n", END, (Fault.UNTOLD,)),
        (WHOLE, CHUNKED + b"0\r\nX: y\r\n\r\n", END, ()),
        (WHOLE, CHUNKED + b"0\r\nX: y\r\n\r\nHTTP/1.1 200 OK\r\n", END, (Fault.BEHIND,)),
        (WHOLE, OK + b"evil", END, (Fault.BEHIND,)),
        (WHOLE, b"HTTP/1.1 200 OK\r\n\r\nhi", END, ()),
        (CUT, b"HTTP/1.1 200 OK\r\n\r\nhi", RESET, ()),
        (STREAM, SSE + b"data: [DONE]\n\n", END, ()),
        (STREAM, SSE, END, (Fault.LOST,)),
        (ENDS, SSE, END, ()),
        (ENDS, SSE + b'data: {"error":1}\n\ndata: [DONE]\n\n', END, ()),
        (ENDS, SSE + b"data: [DONE]\n\n", END, (Fault.UNTOLD,)),
        (OWN, OK, END, ()),
        (OWN, OK.replace(b"b\r", b"b\rX-Evil: evil\r"), END, (Fault.INJECTED,)),
        (OWN, OK.replace(b"b\r", b"b\r\nX-Evil: evil\r"), END, (Fault.INJECTED,)),
        (CASES["trailers"], OK.replace(b"X-A", b"Set-Cookie"), END, (Fault.INJECTED,)),
        (CASES["103 before the answer"], OK.replace(b"X-A", b"Link"), END, (Fault.INJECTED,)),
    ],
)
def test_what_a_client_got_is_judged_by_one_rule(
    case: ResponseCase, raw: bytes, ending: Ending, expected: tuple[Fault, ...]
) -> None:
    assert judge(case, raw, ending, is_clean=True).faults == expected
    assert judge(case, raw, ending, is_clean=False).faults == (*expected, Fault.MIXED)


def test_the_tables_count_by_theme_and_show_who_breaks_the_rule() -> None:
    good, bad = Came(200, True, END, ()), Came(200, False, SILENT, (Fault.HELD, Fault.MIXED))
    none, raw = Came(0, False, RESET, ()), Came(0, False, END, (Fault.RAW,))
    found = {"a": {WHOLE.name: good, CUT.name: none}, "b": {WHOLE.name: good, CUT.name: bad}}

    assert summary(found, [WHOLE, CUT])[2:] == ["| framing | 2 | 2 | 1 (1 held, 1 next one's answer) |"]
    assert faults(found, [WHOLE, CUT])[2:] == [
        f"| framing | {CUT.name} | closed | 200 no end, **held**, **next one's answer** |"
    ]
    assert [shown(good), shown(raw)] == ["200 whole", "**no HTTP**"]


@pytest.mark.parametrize("name", PEERS)
def test_proxies_are_played_the_same_answers(name: str, tool: Callable[[str], str]) -> None:
    """One that is whole, one that is not, and one that each of them is known to let through."""
    tool(name.lower())
    known = {NGINX: CASES["no HTTP"], HAPROXY: CASES["a NUL in a value"]}[name]
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        found = runner.run(play_all((OURS, name), [WHOLE, CUT, STREAM, known]))
    for came in found.values():
        assert (came[WHOLE.name], came[STREAM.name]) == (Came(200, True, END, ()),) * 2
        assert not came[CUT.name].is_whole or came[CUT.name].status == 502
        assert not came[CUT.name].faults
    assert not found[OURS][known.name].faults
    assert found[name][known.name].faults == ({NGINX: Fault.RAW, HAPROXY: Fault.INJECTED}[name],)
