"""Rules of router/relay/plain.py: what is taken for a plain event differs from one that was read in its text only."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.relay.plain import NONE, Plain, learned, of_pattern, shape_of, together
from router.translate.asked import Asked
from router.translate.mistral.stream import StreamTranslator

HEAD = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def encoded(payload: object) -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def event(text: str, **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "logprobs": None, "finish_reason": None, **more}
    return encoded({**HEAD, "choices": [choice]})


@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), st.text(st.characters(exclude_categories=["Cs"])))
def test_what_is_learned_from_one_event_fits_every_other_of_its_kind(first: str, other: str) -> None:
    plain = learned(event(first), is_chat=True)
    assert plain is not None
    assert event(other) == plain.before + event(other)[plain.place] + plain.behind
    assert json.loads(b'"%b"' % event(other)[plain.place]) == other


@pytest.mark.parametrize(
    "block",
    [
        event(""),
        event("a") + event("b"),
        event("a", finish_reason="stop"),
        event("a", logprobs={"content": []}),
        event("a", index=1),
        event("a", token_ids=[7]),  # the next one has another
        event("a")[:-2],
        event("a").replace(b"\n\n", b"\r\n\r\n"),
        b": comment\n\n" + event("a"),
        encoded({**HEAD, "choices": [{"index": 0, "delta": {"content": "a", "tool_calls": [{}]}}]}),
        encoded({**HEAD, "choices": [{"index": 0, "delta": {"content": "a"}}, {"index": 1, "delta": {}}]}),
        encoded({"error": {"message": '"content":"a"'}}),
        b'data: "content":"a"\n\n',
        b"",
    ],
)
def test_nothing_is_learned_from_what_says_more_than_a_text(block: bytes) -> None:
    assert learned(block, is_chat=True) is None


def test_completions_have_their_text_elsewhere() -> None:
    text = encoded({"id": "a", "choices": [{"index": 0, "text": "word", "logprobs": None, "finish_reason": None}]})
    assert learned(text, is_chat=True) is None
    plain = learned(text, is_chat=False)
    assert plain is not None
    assert text[plain.place] == b"word"


@pytest.mark.parametrize("pieces", [None, (b"<", b">"), (b"<", b"|", b">")])
def test_the_size_is_that_of_what_the_client_gets(pieces: tuple[bytes, ...] | None) -> None:
    plain = Plain(b"before", b"behind", pieces)
    texts = [b"a", b"bc", "ü".encode()]
    sent = [plain.before + one + plain.behind if pieces is None else one.join(pieces) for one in texts]
    assert plain.size(texts) == len(b"".join(sent))
    assert plain.size([]) == 0


def test_no_event_is_plain_before_anything_was_learned() -> None:
    assert not any(event(text).startswith(NONE.before) for text in ("", "a"))


@pytest.mark.parametrize("extra", [{}, {"token_ids": None}])
def test_what_a_translator_makes_of_a_text_is_known_without_it(extra: dict[str, object]) -> None:
    translator = StreamTranslator(Asked(), new_id=lambda: "abcDEF123")
    translator.feed(encoded({**HEAD, "choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}))
    translator.feed(event("first", **extra))
    pattern = translator.passing
    assert pattern is not None
    plain = of_pattern(pattern)
    for text in ("other", "Grüße \\ \n", "[DONE]"):
        literal = event(text, **extra)[plain.place]
        told = event(text, **extra) if plain.pieces is None else literal.join(plain.pieces)
        assert told == translator.feed(event(text, **extra))


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=9), min_size=1, max_size=9))
def test_a_run_of_plain_events_is_one_with_all_their_text(texts: list[str]) -> None:
    block = b"".join(map(event, ["word", *texts]))
    shape = shape_of(block, is_chat=True)
    assert shape is not None
    assert together(block, *shape) == event("word" + "".join(texts))
