"""How the cases write bytes down so that a person can read them. Pure.

A text is what goes over the wire, line by line. A line ends with CR LF, unless it ends with a backslash: then nothing
is put there. Within a line `\\r`, `\\n`, `\\t`, `\\0` and `\\xNN` are those bytes, `\\\\` is a backslash, and any other
backslash stands for itself, so that JSON looks like JSON. Marks stand in double angle brackets:

    <<name>>          a piece from PIECES, itself written in this notation
    <<length>>        how many bytes come after the first empty line
    <<N * text>>      the text N times
    <<chunk text>>    the text as one chunk of a chunked body
    <<pause>>         here one write ends; the next one comes after 50 ms, or as many seconds as <<pause 0.5>> says
    <<forever text>>  the text again and again, as long as the connection takes it; nothing comes after it
    <<half-close>>    our side says that nothing more comes (FIN), and goes on reading
    <<close>>         the connection is closed
    <<reset>>         the connection is reset (RST)
"""

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

PAUSE = 0.05  # seconds: enough for a packet of its own
ENDS = ("half-close", "close", "reset")
PIECES: Mapping[str, str] = {
    # What clients send.
    "chat": '{"model":"m","messages":[{"role":"user","content":"hi"}]}',
    "post": "POST /v1/chat/completions HTTP/1.1\nHost: router\nContent-Type: application/json",
    "request": "<<post>>\nContent-Length: 57\n\n<<chat>>",
    "smuggled": "POST /v1/completions HTTP/1.1\nHost: smuggled\nContent-Type: application/json\nContent-Length: 31\n\n"
    '{"model":"m","prompt":"stolen"}',
    # What a backend may see of it; its own name and the id of the request are put so by whoever compares.
    "sent": "POST /v1/chat/completions HTTP/1.1\nHost: BACKEND\nContent-Length: <<length>>",
    "json": "Content-Type: application/json",
    "ours": "Accept-Encoding: identity\nX-Request-Id: ID",
    "seen": "<<sent>>\n<<json>>\n<<ours>>\n\n<<chat>>",
    # What backends send.
    "ok": "HTTP/1.1 200 OK\nContent-Type: application/json",
    "answer": '{"object":"chat.completion","choices":[]}',
    "whole": "<<ok>>\nContent-Length: 41\n\n<<answer>>",
    "sse": "HTTP/1.1 200 OK\nContent-Type: text/event-stream\nTransfer-Encoding: chunked",
    "one": r'data: {"choices":[{"index":0,"delta":{"content":"one"}}]}\n\n',
    "two": r'data: {"choices":[{"index":0,"delta":{"content":"two"}}]}\n\n',
    "done": r"data: [DONE]\n\n",
    "last": r"0\r\n\r\n",
}
_ESCAPE = re.compile(rb"\\([rnt0\\]|x[0-9a-fA-F]{2})")
_PLAIN = {b"r": b"\r", b"n": b"\n", b"t": b"\t", b"0": b"\0", b"\\": b"\\"}
_BRACKETS = re.compile(r"(<<|>>)")
_TIMES = re.compile(rb"(\d+) \* (.*)", re.DOTALL)
_LENGTH = b"\0<length>\0"  # stands for the number until the whole text is known


@dataclass(frozen=True, slots=True)
class Write:
    """Bytes in one write."""

    data: bytes


@dataclass(frozen=True, slots=True)
class Pause:
    """Nothing, for so many seconds."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Forever:
    """Bytes again and again."""

    data: bytes


@dataclass(frozen=True, slots=True)
class End:
    """The end of our side: `half-close`, `close` or `reset`."""

    how: str


Step = Write | Pause | Forever | End


def steps(text: str) -> tuple[Step, ...]:
    """Return what a text says is done. Raises ValueError for a mark that means nothing."""
    found = joined(_read(text))
    whole = written(found)
    if _LENGTH not in whole:
        return tuple(found)
    length = b"%d" % len(whole.partition(b"\r\n\r\n")[2])
    return tuple(Write(each.data.replace(_LENGTH, length)) if isinstance(each, Write) else each for each in found)


def written(done: Iterable[Step]) -> bytes:
    """Return all that is written; what is written for ever stands there once."""
    return b"".join(each.data for each in done if isinstance(each, Write | Forever))


def joined(done: Iterable[Step]) -> list[Step]:
    """Return the same with one write where there were several in a row."""
    found: list[Step] = []
    for each in done:
        if isinstance(each, Write) and found and isinstance(found[-1], Write):
            found[-1] = Write(found[-1].data + each.data)
        elif not isinstance(each, Write) or each.data:
            found.append(each)
    return found


def _read(text: str) -> list[Step]:
    """Return a text's steps; marks may stand within marks."""
    levels: list[list[Step]] = [[]]
    for part in _BRACKETS.split(text.replace("\\\n", "").replace("\n", "\r\n")):
        if part == "<<":
            levels.append([])
        elif part == ">>":
            inner = levels.pop()
            if not levels or any(not isinstance(each, Write) for each in inner):
                raise ValueError(f"{text[:200]!r}: no mark begins here, or one in it writes nothing")
            levels[-1] += _marked(written(inner))
        else:
            levels[-1].append(Write(_plain(part)))
    if len(levels) > 1:
        raise ValueError(f"{text[:200]!r}: a mark without its end")
    return levels[0]


def _plain(text: str) -> bytes:
    return _ESCAPE.sub(lambda found: _PLAIN.get(found[1]) or bytes([int(found[1][1:], 16)]), text.encode())


def _marked(mark: bytes) -> list[Step]:
    """Return the steps of what stands between the brackets."""
    if times := _TIMES.fullmatch(mark):
        return [Write(int(times[1]) * times[2])]
    word, _, rest = mark.partition(b" ")
    if word == b"chunk":
        return [Write(b"%x\r\n%b\r\n" % (len(rest), rest))]
    if word == b"forever":
        return [Forever(rest)]
    if word == b"pause":
        return [Pause(float(rest or PAUSE))]
    name = mark.decode("latin-1")
    if name in ENDS:
        return [End(name)]
    if name == "length":
        return [Write(_LENGTH)]
    if name in PIECES:
        return _read(PIECES[name])
    raise ValueError(f"<<{name[:80]}>> means nothing")
