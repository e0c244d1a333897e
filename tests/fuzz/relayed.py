"""The whole router in memory: what goes out to the backend, and what to the client.

A case that begins with `Q` is what a client sends; the backend answers every request.

- Each request that goes out is one that `reference` reads in the client's bytes, in their order: method, path, query
  and body. It is read as the same by `reference`, and by uvicorn (with h11 and with httptools), on which vLLM stands.
- What goes out besides is ours, or a header of the client's that may travel.
- The client gets one well-formed answer for each of its requests, and nothing else.

One that begins with `P` is what the backend answers to a request that the second byte chooses; the third one says how
the backend's connection ends.

- The client gets one well-formed answer, or a cut one; a broken answer never looks whole.
- An answer that is whole is passed on as it is.
"""

import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from router.wire.sse import event_data, split_events
from tests.fuzz.in_memory import InMemory, Outcome
from tests.fuzz.reference import Ending, Message, read_answers, read_requests
from tests.fuzz.requests import CONTINUE
from tests.fuzz.requests import WORDS as REQUEST_WORDS
from tests.fuzz.seeds import CHAT, POST, relayed_seeds
from tests.fuzz.target import Target, dice_of, no_errors, pieces
from tests.fuzz.uvicorn_reads import READERS, Uvicorn, parted
from tests.wire.memory import Line

SENT, ANSWERED = b"Q", b"P"
OK = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}'
PLAIN = CHAT.replace(b"true", b"false")
ASKED = (
    POST + b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT),
    POST + b"Content-Length: %d\r\n\r\n%b" % (len(PLAIN), PLAIN),
    b"GET /v1/responses/abc HTTP/1.1\r\nHost: a\r\n\r\n",
)
OURS = {b"host", b"content-length", b"accept-encoding", b"x-request-id"}
NEVER_SENT = {
    *(b"connection", b"keep-alive", b"proxy-connection", b"proxy-authorization", b"proxy-authenticate", b"te"),
    *(b"trailer", b"transfer-encoding", b"upgrade", b"http2-settings", b"expect", b"cookie", b"forwarded", b"via"),
}
NEVER_TOLD = {b"keep-alive", b"proxy-connection", b"proxy-authenticate", b"te", b"trailer", b"upgrade", b"set-cookie"}
JSON_TYPE = (b"Content-Type", b"application/json")
WORDS = (*REQUEST_WORDS, b"HTTP/1.1 200 OK\r\n", b"data: [DONE]\n\n", b"text/event-stream", b"Content-Encoding: gzip")


@dataclass(slots=True)
class _House:
    """What is kept from case to case: one router, and uvicorn's readers on the same loop."""

    router: InMemory
    readers: list[Uvicorn]


class _Kept:
    """Made when it is first asked for; anew in a process that was forked, and after a case that broke a rule."""

    def __init__(self) -> None:
        self._house: _House | None = None
        self._owner = (0, 0)

    def house(self) -> _House:
        owner = (os.getpid(), threading.get_ident())
        if self._house is None or self._owner != owner:
            router = InMemory()
            router.__enter__()
            self._house = _House(router, [Uvicorn(router.loop, name) for name in READERS])
            self._owner = owner
        return self._house

    def close(self) -> None:
        """Let go of it."""
        if self._house is not None:
            self._house.router.__exit__()
            self._house = None


KEPT = _Kept()


def run(data: bytes) -> None:
    """See the module's docstring."""
    house = KEPT.house()
    try:
        with no_errors("router", "asyncio"):
            if data[:1] == SENT:
                check_request(house, data[1:])
            else:
                check_answer(house, data[1:])
    except BaseException:
        KEPT.close()
        raise


def check_request(house: _House, data: bytes) -> None:
    """Send bytes as a client, and look what goes out."""
    loop = house.router.loop

    def answer(line: Line, number: int) -> bool:
        loop.call_soon(line.send, OK)
        return True

    outcome = house.router.exchange(pieces(data, dice_of(data)), answer)
    asked = read_requests(data)
    left = iter(asked.messages)
    for sent in outcome.to_backend:
        reading = read_requests(sent)
        assert reading.ending is Ending.WHOLE, reading.why
        for request in reading.messages:
            check_forwarded(request, left)
        for reader in house.readers:
            read = reader.read(sent)
            assert [(b"%b" % one.method, one.path, one.query, one.body) for one in read] == [
                (request.start[0], *parted(request.start[1]), request.body) for request in reading.messages
            ], (read, reading.messages)
            for one, request in zip(read, reading.messages, strict=True):
                fields = [(name, value.strip(b" \t")) for name, value in one.fields]
                assert fields == [(name.lower(), value) for name, value in request.fields]
    check_answers_to(asked.messages, _method(data[asked.rest :]), outcome)


def check_forwarded(request: Message, left: Iterator[Message]) -> None:
    """See that a request which goes out is the next of the client's that leads to a backend."""
    origin = next((one for one in left if _is_made_of(request, one)), None)
    assert origin is not None, f"nobody has sent {request}"
    assert request.values(b"host") == [b"127.0.0.1:8001"]
    assert request.values(b"content-length") in ([], [b"%d" % len(request.body)])
    named = {word.strip().lower() for value in origin.values(b"connection") for word in value.split(b",")}
    for name, value in request.fields:
        low = name.lower()
        assert low not in NEVER_SENT, name
        assert low in OURS or ((name, value) in origin.fields and low not in named) or (name, value) == JSON_TYPE
        assert low not in OURS or len(request.values(low)) == 1


def _is_made_of(request: Message, origin: Message) -> bool:
    (path, query), (whole, its_query) = parted(request.start[1]), parted(origin.start[1])
    is_same = request.start[0] == origin.start[0] and query == its_query and whole.endswith(path.removeprefix(b"/v1"))
    return is_same and request.body == origin.body


def _method(request: bytes) -> bytes:
    return request.lstrip(b"\r\n").partition(b" ")[0]


def check_answers_to(messages: list[Message], unread: bytes, outcome: Outcome) -> None:
    """See that the client gets one whole answer for each request, one more where it was refused, and nothing else.

    `unread`: the method of the request that is not whole, or not understood.
    """
    methods = [message.start[0] for message in messages]
    told = outcome.to_client.replace(CONTINUE, b"")
    answers = read_answers(told, [*methods, b""], is_ended=True)
    if answers.rest < len(told) and unread == b"HEAD":  # of which no more than the head is needed to refuse it
        answers = read_answers(told, [*methods, unread], is_ended=True)
    if answers.rest < len(told):  # of a request that is refused with its head the wire does not know that it is a HEAD
        answers = read_answers(told, [*methods[: len(answers.messages) - 1], b""], is_ended=True)
    assert answers.rest == len(told), (answers.why, told)
    assert len(answers.messages) in (len(messages), len(messages) + 1) or outcome.is_closed
    assert all(int(one.start[1]) < 500 or int(one.start[1]) in (501, 505) for one in answers.messages), told


def check_answer(house: _House, data: bytes) -> None:
    """Answer as a backend, and look what the client gets."""
    chosen, end, data = data[0] if data else 0, data[1] if len(data) > 1 else 0, data[2:]
    request = ASKED[chosen % len(ASKED)]
    loop = house.router.loop
    parts = pieces(data, dice_of(data))
    ends: tuple[Callable[[Line], Any], ...] = (lambda line: line.end(), lambda line: line.reset(), lambda line: None)

    def answer(line: Line, number: int) -> bool:
        for part in parts:
            loop.call_soon(line.send, part)
        loop.call_soon(ends[end % len(ends)], line)
        return True

    outcome = house.router.exchange([request], answer)
    method = request.partition(b" ")[0]
    said = read_answers(data, [method], is_ended=end % len(ends) == 0)
    final = next((one for one in said.messages if one.start[1][:1] != b"1"), None)
    told = read_answers(outcome.to_client, [method], is_ended=False)
    assert told.ending is not Ending.AMBIGUOUS, (told.why, outcome.to_client)
    assert len(told.messages) <= 1
    whole = told.messages[0] if told.messages else None
    if whole is not None:
        assert {name.lower() for name, _ in whole.fields}.isdisjoint(NEVER_TOLD)
    if final is None:
        ends = [event_data(event) for event in split_events(b"" if whole is None else whole.body)]
        is_ended = b"[DONE]" in ends or b"response." in data
        assert whole is None or _is_failure(whole) or is_ended, "it looks whole"
    elif final.start[1] == b"200" and b"text/event-stream" not in b"".join(final.values(b"content-type")).lower():
        assert whole is not None
        if whole.start[1] == b"200":
            assert whole.body == final.body
        else:
            assert _is_failure(whole)


def _is_failure(answer: Message) -> bool:
    """Whether an answer says of itself that something went wrong."""
    return answer.start[1] >= b"400" or b'"error"' in answer.body.rpartition(b"data:")[2]


TARGET = Target("relayed", run, relayed_seeds, WORDS, cases=20_000)
