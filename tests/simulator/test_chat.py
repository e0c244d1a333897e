import json
from typing import Any

import pytest

from router.simulator.answers import Answer
from router.simulator.chat import answer_chat, told_texts
from router.simulator.refusals import Refusal
from router.simulator.settings import Settings
from tests.simulator.asking import HELLO, events_of

SETTINGS = Settings(models=("m",), tokens=9)


def answer(**fields: Any) -> Any:
    return json.loads(answer_chat({**HELLO, **fields}, SETTINGS).body or b"")


def stream(**fields: Any) -> list[Any]:
    return events_of(sent(answer_chat({**HELLO, "stream": True, **fields}, SETTINGS)))


def sent(streamed: Answer) -> bytes:
    return b"".join((*streamed.opening, *(event for step in streamed.steps for event in step), *streamed.closing))


def text_of(events: list[Any], index: int = 0) -> str:
    choices = [choice for event in events if event != "[DONE]" for choice in event["choices"]]
    return "".join(choice["delta"].get("content") or "" for choice in choices if choice["index"] == index)


def test_a_streamed_answer_says_what_the_plain_one_says() -> None:
    assert text_of(stream()) == answer()["choices"][0]["message"]["content"]


def test_the_same_prompt_and_seed_give_the_same_answer() -> None:
    assert answer(seed=7) == answer(seed=7)
    assert answer(seed=7) != answer(seed=8)


def test_usage_counts_the_tokens_of_the_answer() -> None:
    assert answer()["usage"]["completion_tokens"] == SETTINGS.tokens
    assert answer(max_tokens=3)["usage"]["completion_tokens"] == 3
    assert answer(max_completion_tokens=4, max_tokens=3)["usage"]["completion_tokens"] == 4


def test_usage_comes_last_and_only_when_asked_for() -> None:
    assert not any("usage" in event for event in stream()[:-1])
    last, done = stream(stream_options={"include_usage": True})[-2:]
    assert (last["choices"], last["usage"]["completion_tokens"], done) == ([], SETTINGS.tokens, "[DONE]")


def test_continuous_usage_grows_token_by_token() -> None:
    events = stream(stream_options={"include_usage": True, "continuous_usage_stats": True})[:-2]

    assert [event["usage"]["completion_tokens"] for event in events] == list(range(SETTINGS.tokens + 1))


def test_choices_differ_and_take_turns_in_a_stream() -> None:
    plain = [choice["message"]["content"] for choice in answer(n=2)["choices"]]
    events = stream(n=2)

    assert plain[0] != plain[1]
    assert [text_of(events, 0), text_of(events, 1)] == plain
    assert [event["choices"][0]["index"] for event in events[:4]] == [0, 1, 0, 1]


@pytest.mark.parametrize("cut", range(1, 8))
def test_a_cut_answer_is_continued_from_its_text(cut: int) -> None:
    whole = answer()["choices"][0]["message"]["content"]
    first = answer(max_tokens=cut)["choices"][0]["message"]["content"]
    messages = [*HELLO["messages"], {"role": "assistant", "content": first}]
    rest = answer(messages=messages, continue_final_message=True, add_generation_prompt=False)

    assert first + rest["choices"][0]["message"]["content"] == whole
    assert rest["choices"][0]["finish_reason"] == "stop"


def test_text_that_may_begin_a_mark_comes_with_the_next_token() -> None:
    assert told_texts(["a", " [", "b", "[", "[", "x["], held_back="[") == ["a", " ", "[b", "", "", "[[x["]
    assert told_texts(["a[", "["], held_back="") == ["a[", "["]


def test_token_ids_are_shown_when_asked_for() -> None:
    events = stream(return_token_ids=True)
    ids = [token for event in events[1:-1] for token in event["choices"][0]["token_ids"]]
    plain = answer(return_token_ids=True)

    assert (plain["choices"][0]["token_ids"], plain["prompt_token_ids"]) == (ids, events[0]["prompt_token_ids"])
    assert events[0]["prompt_token_ids"][0] == 1


@pytest.mark.parametrize(
    ("wanted", "value"),
    [
        ({"type": "json_object"}, {}),
        ({"type": "json_schema", "json_schema": {"schema": {"type": "array", "minItems": 1}}}, [None]),
    ],
)
def test_a_response_format_is_followed(wanted: Any, value: Any) -> None:
    assert json.loads(answer(response_format=wanted)["choices"][0]["message"]["content"]) == value
    assert json.loads(text_of(stream(response_format=wanted))) == value


def test_every_token_has_its_log_probabilities() -> None:
    shown = answer(logprobs=True, top_logprobs=2)["choices"][0]["logprobs"]["content"]

    assert len(shown) == SETTINGS.tokens
    assert all(len(entry["top_logprobs"]) == 2 for entry in shown)


def test_a_prompt_that_is_too_long_is_refused() -> None:
    with pytest.raises(Refusal, match="maximum context length"):
        answer(messages=[{"role": "user", "content": "word " * 100_000}])


def test_an_aborted_stream_says_so() -> None:
    aborted = events_of(b"".join(answer_chat({**HELLO, "stream": True, "n": 2}, SETTINGS).aborted))

    assert [event["choices"][0]["finish_reason"] for event in aborted[:-1]] == ["abort", "abort"]
    assert aborted[-1] == "[DONE]"
