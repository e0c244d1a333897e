import json
from typing import Any

import pytest

from router.simulator.completions import answer_completion, prompts_of
from router.simulator.refusals import Refusal
from router.simulator.settings import Settings
from tests.simulator.asking import events_of
from tests.simulator.test_chat import sent

SETTINGS = Settings(models=("m",), tokens=12)


def answer(prompt: Any, **fields: Any) -> Any:
    return json.loads(answer_completion({"prompt": prompt, "max_tokens": 100, **fields}, SETTINGS).body or b"")


def stream(prompt: Any, **fields: Any) -> list[Any]:
    body = {"prompt": prompt, "max_tokens": 100, "stream": True, **fields}
    return events_of(sent(answer_completion(body, SETTINGS)))


def test_a_streamed_answer_says_what_the_plain_one_says() -> None:
    events = stream("Once upon a time", stream_options={"include_usage": True})
    plain = answer("Once upon a time")

    assert "".join(event["choices"][0]["text"] for event in events[:-2]) == plain["choices"][0]["text"]
    assert events[-2]["usage"]["completion_tokens"] == plain["usage"]["completion_tokens"] == SETTINGS.tokens


def test_sixteen_tokens_are_the_default() -> None:
    assert answer("x", max_tokens=None, ignore_eos=True)["usage"]["completion_tokens"] == 16


@pytest.mark.parametrize("cut", range(1, 11))
def test_a_cut_answer_is_continued_from_token_ids(cut: int) -> None:
    whole = answer("Once", return_token_ids=True, seed=3)["choices"][0]
    first = answer("Once", return_token_ids=True, seed=3, max_tokens=cut)["choices"][0]
    rest = answer(first["prompt_token_ids"] + first["token_ids"], return_token_ids=True, seed=3)["choices"][0]

    assert first["token_ids"] + rest["token_ids"] == whole["token_ids"]
    assert first["text"] + rest["text"] == whole["text"]


def test_a_streams_first_event_has_the_prompts_ids_and_every_event_its_own() -> None:
    events = stream("Once", return_token_ids=True)[:-1]

    assert events[0]["choices"][0]["prompt_token_ids"][0] == 1
    assert all(event["choices"][0]["prompt_token_ids"] is None for event in events[1:])
    assert all(len(event["choices"][0]["token_ids"]) == 1 for event in events)


def test_several_prompts_are_several_choices() -> None:
    told = answer(["a", "b"], n=2)

    assert [choice["index"] for choice in told["choices"]] == [0, 1, 2, 3]


def test_echo_puts_the_prompt_first() -> None:
    assert answer("Once", echo=True)["choices"][0]["text"].startswith("Once ")
    assert stream("Once", echo=True)[0]["choices"][0]["text"].startswith("Once ")


def test_log_probabilities_are_in_the_form_of_this_route() -> None:
    shown = answer("Once", logprobs=1)["choices"][0]["logprobs"]

    assert {len(values) for values in shown.values()} == {SETTINGS.tokens}


@pytest.mark.parametrize("prompt", ["text", ["a", "b"], [1, 2], [[1], [2, 3]]])
def test_a_prompt_is_text_or_ids(prompt: Any) -> None:
    assert prompts_of({"prompt": prompt})


@pytest.mark.parametrize("prompt", [None, [], 3, [None], [[]], [-1], [True]])
def test_anything_else_is_refused(prompt: Any) -> None:
    with pytest.raises(Refusal):
        prompts_of({"prompt": prompt})
