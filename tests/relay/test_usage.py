"""Which tokens an answer tells of, by what servers really write, and what is no usage though it looks like one."""

import asyncio
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.exchange import Exchange
from router.relay.usage import KEPT, TAIL, Tokens, note_tokens, read, tokens_of
from router.simulator.faults import Break
from router.simulator.settings import Settings
from tests.front import Front, broken, front, run, until
from tests.relay.scripted import DONE, END, HEAD, ROLE, TEXT, Asked, chunk, scripted

CHAT = {"id": "x", "choices": [{"message": {"content": "hello"}}]}
USAGE = {"prompt_tokens": 9, "total_tokens": 21, "completion_tokens": 12, "prompt_tokens_details": None}


def told(answer: bytes, before: Tokens | bytes | None = None) -> Tokens | None:
    """What an answer tells, read at once or later."""
    return read(tokens_of(answer, before))


def body(**fields: object) -> bytes:
    return json.dumps({**CHAT, **fields}, separators=(",", ":")).encode()


ANSWERS: list[tuple[bytes, Tokens | None]] = [
    (body(usage=USAGE), (9, 12)),
    (json.dumps({**CHAT, "usage": USAGE}, indent=2).encode(), (9, 12)),
    (body(usage=USAGE, prompt_logprobs=None, kv_transfer_params=None), (9, 12)),
    (body(usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 8}}), (9, 12)),
    (body(usage={"prompt_tokens": 5, "total_tokens": 5, "completion_tokens": 0}), (5, 0)),
    (body(usage={"prompt_tokens": 5, "total_tokens": 5}), (5, 0)),
    (body(usage={"input_tokens": 3, "input_tokens_details": {"cached_tokens": 1}, "output_tokens": 4}), (3, 4)),
    (json.dumps({"usage": {"prompt_tokens": 7}, "results": ["x" * TAIL * 2]}).encode(), (7, 0)),
    (body(usage=None), None),
    (body(usage={"type": "duration", "seconds": 3}), None),
    (body(usage={"prompt_tokens": "9", "completion_tokens": -1}), None),
    (body(usage={"prompt_tokens": 10**30}), None),
    (body(), None),
    (b"", None),
    (b'"usage":', None),
]


@pytest.mark.parametrize(("answer", "tokens"), ANSWERS)
def test_tokens_are_found_where_a_usage_stands(answer: bytes, tokens: tuple[int, int] | None) -> None:
    assert told(answer) == tokens
    assert told(answer + b" " * KEPT) == tokens, "a long one"


def test_a_long_answer_is_looked_at_where_it_begins_and_ends() -> None:
    long, usage = b"x" * TAIL, b'"usage":{"prompt_tokens":7}'

    assert told(long + usage) == told(usage + long) == (7, 0)
    assert told(long + usage + long) is None


@pytest.mark.parametrize(
    "text", ['{"usage":{"prompt_tokens":1,"completion_tokens":1}}', '"usage":{"prompt_tokens":1', 'usage":{"a":1}']
)
def test_what_an_answer_says_is_no_usage(text: str) -> None:
    assert told(body(choices=[{"message": {"content": text}}])) is None
    assert told(body(usage=USAGE, note=text)) == (9, 12)


def test_the_last_usage_of_several_events_counts() -> None:
    """With `continuous_usage_stats` each has one."""
    events = [body(usage={"prompt_tokens": 9, "completion_tokens": count}) for count in (1, 2, 3)]
    assert told(b"".join(b"data: %b\n\n" % event for event in events) + b"data: [DONE]\n\n") == (9, 3)


def test_events_without_usage_hide_none_that_stands_before_them() -> None:
    assert told(b"data: " + body(usage=USAGE) + b"\n\ndata: " + body(usage=None) + b"\n\n") == (9, 12)


def test_what_is_told_first_holds_until_it_is_told_again() -> None:
    begun = told(b'data: {"message":{"usage":{"input_tokens":25,"output_tokens":1}}}\n\n')

    assert begun == (25, 1)
    assert told(b'data: {"usage":{"output_tokens":15}}\n\n', begun) == (25, 15)
    assert told(b"data: {}\n\n", begun) == begun


def test_a_short_answer_is_read_when_it_is_told_of_and_a_long_one_at_once() -> None:
    """What stands before its usage would have to be copied."""
    short, long = body(usage=USAGE), b" " * KEPT + body(usage=USAGE)
    exchanges = [
        Exchange("x", "/v1/chat/completions", "POST", 1.0, tokens=tokens)
        for tokens in (tokens_of(short), tokens_of(long), tokens_of(b"{}"), None, (1, 2))
    ]

    assert isinstance(tokens_of(short), bytes)
    assert tokens_of(long) == (9, 12)
    note_tokens(exchanges)
    assert [one.tokens for one in exchanges] == [(9, 12), (9, 12), None, None, (1, 2)]


def noted(answers: list[bytes]) -> list[Tokens | bytes | None]:
    exchanges = [Exchange("x", "/v1/chat/completions", "POST", 1.0, tokens=tokens_of(answer)) for answer in answers]
    note_tokens(exchanges)
    return [one.tokens for one in exchanges]


@given(st.lists(st.sampled_from(ANSWERS), max_size=5))
def test_answers_are_read_together_as_they_are_one_by_one(answers: list[tuple[bytes, Tokens | None]]) -> None:
    assert noted([answer for answer, _ in answers]) == [tokens for _, tokens in answers]


def test_what_one_answer_leaves_open_is_not_filled_in_by_the_next() -> None:
    """All are read as one text."""
    usual = body(usage={"prompt_tokens": 5, "completion_tokens": 6})
    for rest in (b"", b'"prompt_tokens":1,"a":{"b":1', b'"a":"', b'"a":[', b"}"):
        odd = b'"usage":{' + rest
        tokens = told(odd)
        assert noted([odd, usual]) == [tokens, (5, 6)]
        assert noted([usual, odd]) == [(5, 6), tokens]
        assert noted([odd, odd]) == [tokens, tokens]


def test_two_answers_that_are_one_where_they_are_read_together_are_told_apart() -> None:
    """Only a backend that means harm sends such: the text of one ends in the other."""
    first, second = b'"usage":{"prompt_tokens":1,"a":"', b'"usage":{","completion_tokens":2'

    assert noted([first, second, body(usage=USAGE)]) == [told(first), told(second), (9, 12)]


def test_what_was_kept_to_be_read_later_holds_until_it_is_told_again() -> None:
    begun = tokens_of(b'data: {"message":{"usage":{"input_tokens":25,"output_tokens":1}}}\n\n')

    assert isinstance(begun, bytes)
    assert told(b'data: {"usage":{"output_tokens":15}}\n\n', begun) == (25, 15)


# Through a whole router: what it counts is what its client is told.

HELLO = {"model": "simulated-model", "max_tokens": 7}
MESSAGES = {**HELLO, "messages": [{"role": "user", "content": "Say hello."}]}
PROMPT = {**HELLO, "prompt": "Say hello."}
RESPONSE = {"model": "simulated-model", "input": "Say hello."}
ASKS = {"stream_options": {"include_usage": True}}
OFTEN = {"stream_options": {"include_usage": True, "continuous_usage_stats": True}}
TOOLS = {"tools": [{"type": "function", "function": {"name": "f", "parameters": {"type": "object", "properties": {}}}}]}


def usage_told(raw: bytes) -> tuple[int, int]:
    """Return the tokens that a client reads in an answer: the last of each kind."""
    events = [line.removeprefix("data: ") for line in raw.decode().splitlines() if line.startswith("data: {")]
    read = written = 0
    for answer in map(json.loads, events or [raw.decode()]):
        for holder in (answer, answer.get("response") or {}, answer.get("message") or {}):
            usage = holder.get("usage") or {}
            read = usage.get("prompt_tokens", usage.get("input_tokens", read))
            written = usage.get("completion_tokens", usage.get("output_tokens", written))
    return read, written


async def counted(cluster: Front) -> tuple[float, float, float]:
    await until(lambda: cluster.app.in_flight == 0)  # it is counted when it is over, and the client is told before
    read, written = [await cluster.metric("router_tokens_total", direction=way) for way in ("in", "out")]
    return read, written, await cluster.metric("router_answers_with_usage_total", model="simulated-model")


@pytest.mark.parametrize("dialect", ["openai", "mistral"])
@pytest.mark.parametrize(
    ("path", "asked"),
    [
        ("/v1/chat/completions", MESSAGES),
        ("/v1/chat/completions", {**MESSAGES, "stream": True, **ASKS}),
        ("/v1/chat/completions", {**MESSAGES, "stream": True, **OFTEN}),
        ("/v1/completions", PROMPT),
        ("/v1/completions", {**PROMPT, "stream": True, **ASKS}),
        ("/v1/embeddings", {"model": "simulated-model", "input": "Say hello."}),
        ("/v1/messages", MESSAGES),
        ("/v1/messages", {**MESSAGES, "stream": True}),
        ("/v1/responses", RESPONSE),
        ("/v1/responses", {**RESPONSE, "stream": True}),
    ],
)
def test_what_is_counted_is_what_the_client_is_told(path: str, asked: dict[str, object], dialect: str) -> None:
    async def test() -> None:
        async with front(config={"backend_options": [{"dialect": dialect}]}) as cluster:
            answer = await cluster.ask(path, asked)
            assert answer.code == 200
            told = usage_told(answer.body)
            assert told[0] > 0
            assert await counted(cluster) == (*told, 1)

    run(test)


def test_a_stream_that_tells_no_usage_is_not_counted() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert b"usage" not in (await cluster.chat(stream=True)).body
            assert await counted(cluster) == (0, 0, 0)

    run(test)


@pytest.mark.parametrize("mode", ["text", "exact"])
@pytest.mark.parametrize("after", [4, 33])
def test_a_stream_that_another_backend_finishes_is_counted_once_and_whole(mode: str, after: int) -> None:
    """Or that we finish ourselves: all has come but the usage."""

    async def test() -> None:
        config = {"resume": {"mode": mode}, "breaker": {"enabled": False}}
        async with front(Settings(), Settings(), config=config) as cluster:
            broken(cluster.backends[0], break_as=Break.CUT, break_after=after)
            while not cluster.backends[0].figures.struck:
                before = await counted(cluster)
                answer = await cluster.chat(stream=True, **ASKS)
            assert b": resumed on another backend" in answer.body or after == 33
            told = usage_told(answer.body)
            assert told[1] == 32
            assert await counted(cluster) == (before[0] + told[0], before[1] + told[1], before[2] + 1)

    run(test)


@pytest.mark.parametrize("cut", [0, 1, 30, -1])
@pytest.mark.parametrize("dialect", ["openai", "mistral"])
def test_a_usage_is_found_however_it_comes(cut: int, dialect: str) -> None:
    """In a read of its own, before that of the end mark, or in two."""
    usage = b'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":200}}\n\n'
    finish = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    pieces = [ROLE, *[TEXT] * 200, finish, usage[:cut], usage[cut:], DONE]

    async def script(asked: Asked) -> None:
        asked.writer.write(HEAD)
        for piece in filter(None, pieces):
            asked.writer.write(chunk(piece))
            await asked.writer.drain()
            await asyncio.sleep(0.002 if piece is not TEXT else 0)
        asked.writer.write(END)

    async def test() -> None:
        options = {"dialect": dialect, "models": ["simulated-model"]}
        async with scripted(script, config={"backend_options": [options]}) as (cluster, _):
            answer = await cluster.chat(stream=True, **ASKS)
            assert answer.body.count(b'"x"') == 200
            assert await counted(cluster) == (3, 200, 1)

    run(test)


def test_a_stream_that_is_made_of_a_whole_answer_is_counted_though_its_client_is_told_nothing() -> None:
    async def test() -> None:
        config = {"backend_options": [{"dialect": "mistral", "stream_tools": "emulate"}]}
        async with front(config=config) as cluster:
            answer = await cluster.chat(stream=True, **TOOLS)
            assert (answer.code, b'"usage"' in answer.body) == (200, False)
            read, written, answers = await counted(cluster)
            assert answers == 1
            assert min(read, written) > 0

    run(test)
