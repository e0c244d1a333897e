"""What is large costs in proportion to its size: of no shape that a client or a backend may choose, more.

Time is the processor's, and only ratios count: four times the bytes may take four times as long, and some; where cost
grows with the square it is sixteen times. What is translated may take some times as long as it takes to pass over it.
"""

import time
from collections.abc import Callable

import pytest

from router.errors import InvalidRequest
from router.relay.envelope import peek_json
from router.relay.forms import peek_multipart
from router.relay.history import keys_of
from router.translate.mistral.limits import MAX_CALLS, MAX_PARTS, MAX_SCHEMAS, MAX_TOOLS
from router.translate.mistral.request import translate
from router.translate.profile import PRESETS
from router.wire.answer import AnswerLimits
from router.wire.limits import ServerLimits
from router.wire.sse import EventSplitter, event_data, split_events
from tests.fuzz import answers, requests

TIMES = 4
MOST = 10.0  # times the cost, for TIMES times the bytes
NOISE = 0.003  # seconds: less is not told from nothing
TRIES = 4  # a machine at work is noisy: one good look is enough, for cost that is there is there each time
BIG, SMALL = 1 << 17, 1 << 12  # bytes; where they come at once, and where they come one by one

Shape = Callable[[int], bytes]

HEAD = b"POST /x HTTP/1.1\r\nHost: a\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
REQUESTS: dict[str, Shape] = {
    "one long header": lambda n: HEAD + b"A: " + b"b" * n,
    "one long name": lambda n: HEAD + b"b" * n,
    "many headers": lambda n: HEAD + b"A: b\r\n" * (n // 6),
    "headers that all differ": lambda n: HEAD + b"".join(b"a%x: b\r\n" % i for i in range(n // 9)),
    "a long target": lambda n: b"GET /" + b"a" * n,
    "empty lines": lambda n: b"\r\n" * (n // 2),
    "chunks of a byte": lambda n: CHUNKED + b"1\r\na\r\n" * (n // 6),
    "chunks with extensions": lambda n: CHUNKED + b"1;a\r\na\r\n" * (n // 8),
    "zeros of a chunk's size": lambda n: CHUNKED + b"0" * n,
    "a long extension": lambda n: CHUNKED + b"1;" + b"a" * n,
    "trailers": lambda n: CHUNKED + b"0\r\n" + b"a:b\r\n" * (n // 5),
    "requests sent ahead": lambda n: b"GET / HTTP/1.1\r\nHost: a\r\n\r\n" * (n // 27),
    "upgrades sent ahead": lambda n: (
        b"GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n" * (n // 64)
    ),
    "a body": lambda n: HEAD + b"Content-Length: %d\r\n\r\n" % n + b"a" * n,
}
OK = b"HTTP/1.1 200 OK\r\n"
ANSWERS: dict[str, Shape] = {
    "one long header": lambda n: OK + b"A: " + b"b" * n,
    "many headers": lambda n: OK + b"A: b\r\n" * (n // 6),
    "informational answers": lambda n: b"HTTP/1.1 102 X\r\n\r\n" * (n // 18),
    "chunks of a byte": lambda n: OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1\r\na\r\n" * (n // 6),
    "chunks with extensions": lambda n: OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"1;a\r\na\r\n" * (n // 8),
    "zeros of a chunk's size": lambda n: OK + b"Transfer-Encoding: chunked\r\n\r\n" + b"0" * n,
    "trailers": lambda n: OK + b"Transfer-Encoding: chunked\r\n\r\n0\r\n" + b"a:b\r\n" * (n // 5),
    "a body without a length": lambda n: OK + b"\r\n" + b"a" * n,
}
NUMBERED: Shape = lambda n: b"{" + b",".join(b'"%d":1' % i for i in range(n // 10)) + b"}"  # noqa: E731
JSON: dict[str, Shape] = {
    "lists in lists": lambda n: b'{"a":' + b"[" * n,
    "objects in objects": lambda n: b'{"a":' * (n // 5),
    "a long number": lambda n: b'{"a":' + b"9" * n + b"}",
    "a number as the model": lambda n: b'{"model":' + b"9" * n + b"}",
    "a fraction as the model": lambda n: b'{"model":0.' + b"9" * n + b"}",
    "a list as the model": lambda n: b'{"model":[' + b"1," * (n // 2) + b"1]}",
    "an object as the model": lambda n: b'{"model":' + NUMBERED(n) + b"}",
    "an object as stream": lambda n: b'{"stream":' + NUMBERED(n) + b"}",
    "many keys": NUMBERED,
    "the model again and again": lambda n: b"{" + b",".join([b'"model":"a"'] * (n // 12)) + b"}",
    "escapes": lambda n: b'{"model":"' + b"\\u0041" * (n // 6) + b'"}',
    "escapes without an end": lambda n: b'{"a":"' + b"\\ud800" * (n // 6) + b'"',
    "white space": lambda n: b" " * n + b"x",
    "text that ends badly": lambda n: "é".encode() * (n // 2) + b"\xff",
}
ROLES: dict[str, Shape] = {
    "an object as the last answer": lambda n: b'{"previous_response_id":' + NUMBERED(n) + b"}",
    "an object as a role": lambda n: b'{"messages":[{"role":' + NUMBERED(n) + b"}]}",
    "an object as the type of a part": lambda n: b'{"messages":[{"content":[{"type":' + NUMBERED(n) + b"}]}]}",
}
CONVERSATIONS: dict[str, Shape] = {
    **ROLES,
    "many messages": lambda n: b'{"messages":[' + b",".join([b'{"role":"user","content":"a"}'] * (n // 30)) + b"]}",
    "many parts": lambda n: b'{"messages":[{"content":[' + b",".join([b'{"type":"a"}'] * (n // 13)) + b"]}]}",
    "marks for caches": lambda n: b'{"messages":[{"content":[{' + b'"cache_control":{' * (n // 17),
    "a part of marks": lambda n: (
        b'{"messages":[{"content":[{' + b",".join([b'"cache_control" :  null'] * (n // 23)) + b"}]}]}"
    ),
    "white space before a mark": lambda n: (
        b'{"messages":[{"content":[{"a":1' + (b"," + b" " * 500) * (n // 501) + b'"cache_control":1}]}]}'
    ),
    "one text": lambda n: b'{"messages":"' + b"a" * n + b'"}',
}
USER = b'{"role":"user","content":"a"}'
TOOL = b'{"type":"function","function":{"name":"f","parameters":{}}}'


def row(entry: bytes, n: int) -> bytes:
    """Return the JSON of an array of so many bytes."""
    return b"[" + (entry + b",") * (n // (len(entry) + 1)) + entry + b"]"


def with_tools(tools: bytes) -> bytes:
    return b'{"messages":[%b],"tools":%b}' % (USER, tools)


def with_schema(schema: bytes) -> bytes:
    return with_tools(TOOL.replace(b"{}", schema).join((b"[", b"]")))


TRANSLATED: dict[str, Shape] = {
    "an object as content": lambda n: b'{"messages":[{"role":"user","content":{"x":%b}}]}' % row(b"[]", n),
    "empty messages": lambda n: b'{"messages":%b}' % row(b"{}", n),
    "short messages": lambda n: b'{"messages":%b}' % row(USER, n),
    "short parts": lambda n: b'{"messages":[{"role":"user","content":%b}]}' % row(b'{"type":"text","text":"a"}', n),
    "parts of a result": lambda n: b'{"messages":[{"role":"tool","content":%b}]}' % row(b'"a"', n),
    "lists as a result": lambda n: b'{"messages":[{"role":"tool","content":%b}]}' % row(b"[]", n),
    "empty calls": lambda n: b'{"messages":[{"role":"assistant","tool_calls":%b}]}' % row(b"{}", n),
    "details of reasoning": lambda n: (
        b'{"messages":[%b,{"role":"assistant","content":"a","reasoning_details":%b}]}' % (USER, row(b"[]", n))
    ),
    "keys of a message": lambda n: b'{"messages":[{"role":"user","content":"a","x":1,%b]}' % NUMBERED(n)[1:],
    "short tools": lambda n: with_tools(row(TOOL, n)),
    "short functions": lambda n: b'{"messages":[%b],"functions":%b}' % (USER, row(b"{}", n)),
    "numbers in a schema": lambda n: with_schema(b'{"type":["object"],"enum":%b}' % row(b"1", n)),
    "properties of a schema": lambda n: with_schema(b'{"properties":%b}' % NUMBERED(n)),
    "a schema in a text": lambda n: with_schema(b'"{\\"enum\\":%b}"' % row(b"[]", n)),
    "a schema of a response": lambda n: (
        b'{"messages":[%b],"response_format":{"type":"json_schema","json_schema":{"schema":{"enum":%b}}}}'
        % (USER, row(b"[]", n))
    ),
    "a list as a choice": lambda n: b'{"messages":[%b],"tools":[%b],"tool_choice":%b}' % (USER, TOOL, row(b"[]", n)),
}
PART = b'--x\r\nContent-Disposition: form-data; name="a"\r\n\r\n'
FORMS: dict[str, Shape] = {
    "many parts": lambda n: (PART + b"\r\n") * (n // len(PART)),
    "lines that begin like a boundary": lambda n: PART + b"\r\n--" * (n // 4),
    "another boundary": lambda n: b"--y" * (n // 3),
    "a head without an end": lambda n: b"--x\r\n" + b"a" * n,
    "parameters": lambda n: b"--x\r\nContent-Disposition: form-data" + b"; a=b" * (n // 5) + b"\r\n\r\n",
    "a part without an end": lambda n: PART + b"a" * n,
}
EVENTS: dict[str, Shape] = {
    "one that does not end": lambda n: b"data: " + b"a" * n,
    "one of many lines": lambda n: b"data: a\n" * (n // 8) + b"\n",
    "many": lambda n: b"data: a\n\n" * (n // 9),
    "line ends": lambda n: b"\n" * n,
    "returns": lambda n: b"\r" * n,
    "both by turns": lambda n: b"\r\n\n" * (n // 3),
    "comments": lambda n: b":" * n + b"\n\n",
}


def peek(data: bytes, size: int) -> None:
    try:
        peek_json(data)
    except InvalidRequest:
        return


def peek_form(data: bytes, size: int) -> None:
    try:
        peek_multipart(data, "multipart/form-data; boundary=x")
    except InvalidRequest:
        return


def recognise(data: bytes, size: int) -> None:
    keys_of("/v1/chat/completions", data, tenant=b"", model="m", ident=None)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[start : start + size] for start in range(0, len(data), size)]


def serve(data: bytes, size: int) -> None:
    requests.served(cut(data, size), ServerLimits())


def fetch(data: bytes, size: int) -> None:
    answers.fetched(cut(data, size), "GET", AnswerLimits(), end="closed", is_warm=False)


def split(data: bytes, size: int) -> None:
    splitter = EventSplitter()
    for piece in cut(data, size):
        for event in split_events(splitter.feed(piece)):
            event_data(event)
    splitter.finish()


CASES = [
    *((f"{name}, at once", serve, shape, BIG, 65536) for name, shape in REQUESTS.items()),
    *((f"{name}, byte by byte", serve, shape, SMALL, 1) for name, shape in REQUESTS.items()),
    *((f"answer: {name}, at once", fetch, shape, BIG, 65536) for name, shape in ANSWERS.items()),
    *((f"answer: {name}, byte by byte", fetch, shape, SMALL, 1) for name, shape in ANSWERS.items()),
    *((f"JSON: {name}", peek, shape, BIG, 0) for name, shape in JSON.items()),
    *((f"conversation: {name}", recognise, shape, BIG, 0) for name, shape in CONVERSATIONS.items()),
    *((f"form: {name}", peek_form, shape, BIG, 0) for name, shape in FORMS.items()),
    *((f"events: {name}, at once", split, shape, BIG, 65536) for name, shape in EVENTS.items()),
    *((f"events: {name}, byte by byte", split, shape, SMALL, 1) for name, shape in EVENTS.items()),
]


def cost(read: Callable[[bytes, int], None], data: bytes, size: int) -> float:
    began = time.process_time()
    read(data, size)
    return time.process_time() - began


@pytest.mark.row(46, 56, 57)
@pytest.mark.parametrize(
    ("read", "shape", "length", "size"), [case[1:] for case in CASES], ids=[case[0] for case in CASES]
)
def test_four_times_the_bytes_cost_four_times_as_much_and_not_the_square(
    read: Callable[[bytes, int], None], shape: Shape, length: int, size: int
) -> None:
    small, large = shape(length), shape(length * TIMES)
    seen = []
    for _ in range(TRIES):
        seen.append((cost(read, small, size), cost(read, large, size)))
        if min(after for _, after in seen) <= MOST * max(min(before for before, _ in seen), NOISE):
            break
    else:
        raise AssertionError(f"seconds of the processor, for 1 and {TIMES} times the bytes: {seen}")
    for module in (requests, answers):
        module.KEPT.close()


@pytest.mark.row(56)
@pytest.mark.parametrize("key", ["model", "stream"])
def test_a_value_of_another_type_costs_no_more_than_one_that_is_passed_over(key: str) -> None:
    """Nothing is built of it: an object of a million keys would hold up everybody else."""
    value = NUMBERED(2 << 20)
    passed_over = b'{"other":' + value + b"}"
    of_type = b'{"%b":' % key.encode() + value + b"}"
    with pytest.raises(InvalidRequest, match=key):
        peek_json(of_type)
    assert min(cost(peek, of_type, 0) for _ in range(3)) < min(cost(peek, passed_over, 0) for _ in range(3))


@pytest.mark.row(56)
@pytest.mark.parametrize("shape", ROLES.values(), ids=ROLES)
def test_a_conversation_is_not_looked_at_where_a_word_of_it_is_none(shape: Shape) -> None:
    """Whatever stands there is no word, and costs no more than it would elsewhere."""
    value = shape(2 << 20)
    assert keys_of("/v1/chat/completions", value, tenant=b"", model="m", ident=None) is None
    passed_over = value
    for name in (b"previous_response_id", b"role", b"type"):
        passed_over = passed_over.replace(b'"%b":' % name, b'"odd":')
    assert min(cost(recognise, value, 0) for _ in range(3)) < min(cost(recognise, passed_over, 0) for _ in range(3))


LARGE = 10 << 20  # bytes
MOST_TRANSLATED = 6.0  # times what it takes to pass over as many bytes of the shortest values


def rewrite(data: bytes, size: int) -> None:
    try:
        translate(data, PRESETS["v13"])
    except InvalidRequest:
        return


@pytest.mark.row(56)
@pytest.mark.parametrize("shape", TRANSLATED.values(), ids=TRANSLATED)
def test_translating_what_is_large_costs_a_few_times_what_passing_over_it_does(shape: Shape) -> None:
    """One body must not hold up everybody else while it is taken apart: what is too much is counted, and refused."""
    body, plain = shape(LARGE), b'{"x":%b}' % row(b"{}", LARGE)
    seen = []
    for _ in range(TRIES):
        seen.append((cost(peek, plain, 0), cost(rewrite, body, 0)))
        if min(after for _, after in seen) <= MOST_TRANSLATED * min(before for before, _ in seen):
            return
    raise AssertionError(f"seconds of the processor, to pass over a body and to translate one: {seen}")


@pytest.mark.row(56)
@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"messages":%b,"x":1}' % row(b'{"a":[]}', 1 << 22), "messages"),
        (b'{"messages":[%b],"stop":%b}' % (USER, row(b"1", 1 << 20)), None),
        (with_tools(row(TOOL, 60 * (MAX_TOOLS + 1))), "tools"),
        (with_schema(b'{"enum":%b}' % row(b"[]", 3 * MAX_SCHEMAS)), "tools"),
        (b'{"messages":[{"role":"tool","content":%b}]}' % row(b'"a"', 4 * (MAX_PARTS + 1)), "messages.0.content"),
        (b'{"messages":[{"role":"user","content":%b}]}' % row(b"[]", 3 * (MAX_PARTS + 1)), "messages.0.content"),
        (
            b'{"messages":[{"role":"assistant","tool_calls":%b}]}' % row(b"{}", 3 * (MAX_CALLS + 1)),
            "messages.0.tool_calls",
        ),
    ],
    ids=["values", "values elsewhere", "tools", "schemas", "parts of a result", "parts", "calls"],
)
def test_what_is_too_much_is_refused_with_its_place(body: bytes, param: str | None) -> None:
    with pytest.raises(InvalidRequest, match="more than") as caught:
        translate(body, PRESETS["v13"])
    assert (caught.value.param, caught.value.code) == (param, "unsupported_value")


@pytest.mark.row(56)
def test_what_only_looks_like_many_values_within_a_text_is_taken() -> None:
    """A table, or a program, as the result of a tool."""
    for text in (rb"1,2,[{3}]\n", rb"\",\"", rb"\\,[", b"a, "):
        body = b'{"messages":[%b,{"role":"developer","content":"%b"}]}' % (USER, text * 500_000)
        assert translate(body, PRESETS["v13"]).notes.repaired
