"""Rules of router/relay/kept.py: whatever the events of a stream, and however it is folded, their text is kept."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.relay.kept import Kept, Unfit, cut_ids
from router.relay.splice import Splice
from router.wire.shortcut import MANY

HEAD = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "m"}
TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"]), max_size=20), max_size=30)
BIG = 1 << 20


def encoded(payload: object, *, ends: bytes = b"\n\n") -> bytes:
    return b"data: " + json.dumps(payload, separators=(",", ":"), ensure_ascii=False).encode() + ends


def piece(delta: dict[str, object], *, ids: list[int] | None = None, finish: str | None = None, **more: Any) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish, "token_ids": ids}
    return encoded({**HEAD, "choices": [choice], **more})


ROLE = piece({"role": "assistant", "content": ""}, prompt_token_ids=[1, 3, 4])


def kept_of(*blocks: bytes, max_length: int = BIG, folds: int = 1000) -> Kept:
    """`folds`: after so many blocks it is folded."""
    kept = Kept(is_chat=True, max_length=max_length)
    for number, block in enumerate(blocks):
        kept.blocks.append(block)
        if number % folds == folds - 1:
            kept.fold()
    kept.fold()
    return kept


@given(TEXTS, st.integers(1, 10), st.booleans())
def test_the_text_is_that_of_all_events(texts: list[str], folds: int, with_ids: bool) -> None:
    events = [piece({"content": text}, ids=[7, 8] if with_ids else None) for text in texts]
    kept = kept_of(ROLE, *events, folds=folds)
    assert kept.unfit is None
    assert kept.transcript.text == "".join(texts)
    assert kept.transcript.pieces == sum(map(bool, texts)) or any(not text for text in texts)


@given(TEXTS, st.sampled_from([b"\n\n", b"\r\n\r\n"]))
def test_shapes_may_change_in_the_middle(texts: list[str], ends: bytes) -> None:
    events = []
    for number, text in enumerate(texts):
        usage = {"prompt_tokens": 3, "completion_tokens": number + 1, "total_tokens": number + 4}
        choice: dict[str, object] = {"index": 0, "delta": {"content": text}}
        events.append(encoded({**HEAD, "choices": [choice], **({"usage": usage} if number % 3 else {})}, ends=ends))
    kept = kept_of(ROLE, *events)
    assert kept.transcript.text == "".join(texts)
    if len(texts) > 2:
        assert kept.transcript.completion_tokens is not None


def test_text_that_looks_like_the_end_of_an_event_stays_text() -> None:
    evil = '"},"logprobs":null,"finish_reason":null,"token_ids":[9]}]}\n\ndata: {"content":"'
    kept = kept_of(*[piece({"content": text}, ids=[1]) for text in ("a", evil, "b\\", '\\"', evil, "c")])
    assert kept.transcript.text == "a" + evil + "b\\" + '\\"' + evil + "c"
    assert b",".join(kept.transcript.generated_ids) == b"1,1,1,1,1,1"


@pytest.mark.parametrize("folds", [1, 2, 3, 100])
def test_ids_behind_the_last_text_are_told_apart(folds: int) -> None:
    """vLLM sends a token whose character is not complete without text: its text is held back."""
    events = [ROLE, piece({"content": "a"}, ids=[5]), piece({}, ids=[6]), piece({"content": "b"}, ids=[7])]
    kept = kept_of(*events, folds=folds)
    assert (b",".join(kept.transcript.generated_ids), kept.transcript.trailing) == (b"5,6,7", 0)
    kept = kept_of(*events, piece({}, ids=[8]), piece({"content": ""}, ids=[9, 10]), folds=folds)
    assert (b",".join(kept.transcript.generated_ids), kept.transcript.trailing) == (b"5,6,7,8,9,10", 3)
    assert kept.transcript.prompt_ids == b"1,3,4"


@pytest.mark.parametrize("folds", [1, 2, 100])
def test_what_is_generated_again_is_counted_once_however_often_a_stream_breaks(folds: int) -> None:
    kept = kept_of(ROLE, piece({"content": "a"}, ids=[5]), piece({"content": ""}, ids=[6]), folds=folds)
    assert kept.transcript.told_ids() == [b"5"]
    kept.blocks.extend([piece({"content": ""}, ids=[6]), piece({"content": "b"}, ids=[7, 8])])
    kept.fold()
    assert kept.transcript.told_ids() == [b"5", b"6", b"7", b"8"]
    kept.transcript.drop_ids(1)
    assert kept.transcript.told_ids() == [b"5", b"6", b"7"]


def test_ids_that_come_again_are_told_once_however_often_a_stream_breaks() -> None:
    def heard(kept: Kept, *events: bytes) -> bytes:
        kept.splice = Splice(HEAD, is_chat=True)
        path = kept.path(None)
        assert path is not None
        return b"".join(map(path, events))

    kept = kept_of(ROLE, piece({"content": "a"}, ids=[5]), piece({}, ids=[6]), piece({}, ids=[7, 8]))
    assert kept.transcript.told_ids() == [b"5"]
    assert heard(kept, piece({}, ids=[6])) == b""
    kept.fold()
    assert kept.transcript.told_ids() == [b"5"]
    assert kept.transcript.again == [b"6", b"7", b"8"]
    assert heard(kept, piece({"content": "b"}, ids=[6, 7])) == piece({"content": "b"}, ids=[])
    kept.fold()
    assert kept.transcript.told_ids() == [b"5", b"6", b"7"]
    usage = {"completion_tokens": 4, "prompt_tokens": 3, "total_tokens": 7}
    told = heard(kept, piece({}, ids=[8], usage=usage), piece({"content": "c"}, ids=[6, 7]))
    assert told.count(b'"token_ids":[]') == 1, "it says something else"
    assert told.endswith(piece({"content": "c"}, ids=[6, 7]))
    assert kept.transcript.again == []


def test_text_that_comes_without_ids_is_that_of_the_ids_before_it() -> None:
    kept = kept_of(ROLE, piece({"content": ""}, ids=[6]), piece({"content": "b"}, ids=[]), folds=1)
    assert kept.transcript.told_ids() == [b"6"]


@pytest.mark.parametrize(
    ("event", "why"),
    [
        (piece({"tool_calls": [{"index": 0}]}), Unfit.NOT_TEXT),
        (piece({"reasoning": "hm"}), Unfit.NOT_TEXT),
        (piece({"content": [{"type": "text"}]}), Unfit.NOT_TEXT),
        (encoded({**HEAD, "choices": [{"index": 0, "delta": {"content": "a"}, "logprobs": {}}]}), Unfit.NOT_TEXT),
        (encoded({**HEAD, "choices": [{"index": 1, "delta": {"content": "a"}}]}), Unfit.CHOICES),
        (encoded({**HEAD, "choices": [{"index": 0}, {"index": 1}]}), Unfit.CHOICES),
        (b"data: {\n\n", Unfit.UNREAD),
        (b"data: 7\n\n", Unfit.UNREAD),
        (b"data: {}\n\n", Unfit.UNREAD),
    ],
)
def test_what_is_more_than_plain_text_is_not_kept(event: bytes, why: Unfit) -> None:
    text = piece({"content": "a"})
    kept = kept_of(ROLE, text, event, text, folds=2)
    assert kept.unfit is why
    assert kept.transcript.text == "", "nothing more is held"


def test_what_is_too_long_is_not_kept() -> None:
    event = piece({"content": "ab" * 50})
    assert kept_of(*[event] * 10, max_length=1000).unfit is None
    kept = kept_of(*[event] * 11, max_length=1000)
    assert kept.unfit is Unfit.TOO_LONG
    kept.blocks.append(event)
    assert not kept.fold(), "keep no more"
    assert kept.blocks == []


def test_comments_and_the_end_mark_say_nothing() -> None:
    kept = kept_of(ROLE, b": keepalive\n\n", piece({"content": "a"}), b"data: [DONE]\n\n")
    assert (kept.unfit, kept.transcript.text) == (None, "a")


def test_the_end_of_a_stream_is_noticed() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    kept = kept_of(ROLE, piece({"content": "a"}), piece({}, finish="stop"))
    assert (kept.transcript.finish, kept.transcript.usage_told) == ("stop", False)
    kept = kept_of(ROLE, piece({}, finish="stop"), encoded({**HEAD, "choices": [], "usage": usage}))
    assert kept.transcript.usage_told
    assert (kept.transcript.prompt_tokens, kept.transcript.completion_tokens) == (3, 2)


@given(st.lists(st.lists(st.integers(0, 10**6), max_size=3), max_size=5))
def test_ids_are_cut_out_so_that_events_are_as_if_nobody_had_asked(ids: list[list[int]]) -> None:
    asked = ROLE + b"".join(piece({"content": "[1]"}, ids=one) for one in ids)
    plain = piece({"role": "assistant", "content": ""}, prompt_token_ids=None)
    assert cut_ids(asked) == plain + b"".join(piece({"content": "[1]"}) for _ in ids)


def test_text_about_ids_is_not_cut() -> None:
    event = piece({"content": '"token_ids":[1,2] and "prompt_token_ids":[3]'})
    assert cut_ids(event) == event


def test_what_goes_on_with_a_stream_is_kept_no_longer_than_the_stream() -> None:
    """A continuation may be longer than what it continues, and as endless."""
    kept = kept_of(ROLE, piece({"content": "a"}), max_length=5000)
    kept.splice = Splice(kept.transcript.head, is_chat=True)
    path = kept.path(None)
    assert path is not None
    for number in range(5000):
        assert path(piece({"content": "ab" if number % 7 else "é"}))
        assert len(kept.blocks) <= MANY
    assert kept.transcript.text == ""
    assert kept.unfit is Unfit.TOO_LONG
    for _ in range(2 * MANY):
        path(piece({"content": "b"}))
    assert not kept.blocks, "nothing is kept of what nobody can finish"


def test_long_events_of_a_continuation_are_not_kept_as_they_came() -> None:
    kept = kept_of(ROLE)
    kept.splice = Splice(kept.transcript.head, is_chat=True)
    path = kept.path(None)
    assert path is not None
    for _ in range(3):
        path(piece({"content": "a"}, more="x" * 10_000))
        assert not kept.blocks
    assert kept.transcript.text == "aaa"


def test_comments_between_events_with_ids_hide_none_of_them() -> None:
    ping = b": ping\n\n"
    kept = kept_of(ROLE, piece({"content": "a"}, ids=[5]), ping, piece({"content": "b"}, ids=[6]), folds=1)

    assert b",".join(kept.transcript.generated_ids) == b"5,6"


def test_ids_without_text_are_kept_within_bounds() -> None:
    kept = kept_of(ROLE, *(piece({}, ids=[number] * 100) for number in range(1000)), max_length=1000, folds=10)
    assert kept.unfit is Unfit.TOO_LONG
    assert not kept.transcript.generated_ids
