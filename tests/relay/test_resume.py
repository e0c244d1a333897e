"""Rules of router/relay/resume.py: which requests may be continued, and with what."""

import json
from typing import Any

import pytest

from router.relay.resume import MARKS, asks_ids, plan_of, takes_ids, wants_ids, with_ids, with_text

USER = {"role": "user", "content": "Hi"}
CHAT: dict[str, object] = {"model": "m", "messages": [USER], "stream": True}
TEXT: dict[str, object] = {"model": "m", "prompt": "Once", "stream": True}
TOOLS = [{"type": "function", "function": {"name": "f"}}]


def raw(base: dict[str, object], **more: object) -> bytes:
    return json.dumps({**base, **more}).encode()


def continued(base: dict[str, object], text: str = "abc", *, generated: int = 0, **more: object) -> dict[str, Any]:
    plan = plan_of(raw(base, **more), is_chat="messages" in base)
    assert plan is not None
    return dict(json.loads(with_text(plan, text, generated=generated)))


@pytest.mark.parametrize(
    "more",
    [
        {},
        {"n": 1, "logprobs": False, "echo": False, "response_format": {"type": "text"}},
        {"tools": TOOLS, "tool_choice": "auto"},
        {"tools": TOOLS, "tool_choice": "none"},
        {"stop": ["\n"], "temperature": 0.7, "seed": 3, "top_logprobs": 0, "prompt_logprobs": None},
        {"continue_final_message": False, "add_generation_prompt": True},
        {"messages": [{"role": "system", "content": "x"}, USER, {"role": "assistant", "content": "y"}, USER]},
        {"messages": [USER, {"role": "assistant", "content": "y", "prefix": True}]},
    ],
)
def test_a_chat_of_plain_text_may_be_continued(more: dict[str, object]) -> None:
    assert plan_of(raw(CHAT, **more), is_chat=True) is not None


@pytest.mark.parametrize(
    "more",
    [
        {"n": 2},
        {"best_of": 2},
        {"logprobs": True},
        {"top_logprobs": 2},
        {"prompt_logprobs": 0},
        {"echo": True},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema", "json_schema": {}}},
        {"structured_outputs": {"regex": "a"}},
        {"guided_json": {}, "guided_regex": "a+"},
        {"guided_choice": ["a"]},
        {"tools": TOOLS, "tool_choice": "required"},
        {"tools": TOOLS, "tool_choice": {"type": "function", "function": {"name": "f"}}},
        {"function_call": "auto"},
        {"use_beam_search": True},
        {"truncate_prompt_tokens": 5},
        {"add_generation_prompt": False},
        {"messages": [USER, {"role": "assistant", "content": "y"}]},  # a new turn is to begin behind it
        {"messages": []},
        {"messages": "x"},
        {"messages": [7]},
    ],
)
def test_a_chat_that_is_more_than_that_may_not(more: dict[str, object]) -> None:
    assert plan_of(raw(CHAT, **more), is_chat=True) is None


@pytest.mark.parametrize("prompt", ["Once", [1, 2, 3]])
def test_a_completion_of_one_prompt_may_be_continued(prompt: object) -> None:
    plan = plan_of(raw(TEXT, prompt=prompt), is_chat=False)
    assert plan is not None
    assert takes_ids(plan) is isinstance(prompt, list)


@pytest.mark.parametrize(
    "more", [{"prompt": ["a"]}, {"prompt": ["a", "b"]}, {"prompt": [[1, 2]]}, {"prompt": None}, {"prompt": {}}]
)
def test_a_completion_of_several_prompts_may_not(more: dict[str, object]) -> None:
    assert plan_of(raw(TEXT, **more), is_chat=False) is None


@pytest.mark.parametrize("more", [{"suffix": "z"}, {"logprobs": 0}, {"logprobs": 3}, {"echo": True}])
def test_a_completion_that_is_more_than_text_may_not(more: dict[str, object]) -> None:
    assert plan_of(raw(TEXT, **more), is_chat=False) is None


@pytest.mark.parametrize("body", [b"", b"[]", b"{", b'{"messages":[{}]', b"\xff"])
def test_what_cannot_be_read_may_not(body: bytes) -> None:
    assert plan_of(body, is_chat=True) is None
    assert wants_ids(body) is False


def test_a_chat_goes_on_with_the_assistants_words() -> None:
    asked = continued(CHAT, "Hello \U0001f642", temperature=0.5)
    assert asked["messages"] == [USER, {"role": "assistant", "content": "Hello \U0001f642"}]
    assert (asked["continue_final_message"], asked["add_generation_prompt"]) == (True, False)
    assert asked["temperature"] == 0.5


def test_numbers_stay_as_they_were_written() -> None:
    plan = plan_of(b'{"messages":[{"role":"user","content":"x"}],"seed":123456789012345678901234567890}', is_chat=True)
    assert plan is None or b"123456789012345678901234567890" in with_text(plan, "x", generated=0)


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        ("y", "yabc"),
        (None, "abc"),
        ([{"type": "text", "text": "y"}], [{"type": "text", "text": "y"}, {"type": "text", "text": "abc"}]),
    ],
)
def test_words_that_were_to_be_continued_grow(content: object, expected: object) -> None:
    messages = [USER, {"role": "assistant", "content": content}]
    asked = continued(CHAT, messages=messages, continue_final_message=True, add_generation_prompt=False)
    assert asked["messages"] == [USER, {"role": "assistant", "content": expected}]


def test_without_any_text_the_request_is_as_it_was() -> None:
    assert continued(CHAT, "") == CHAT


def test_a_completion_goes_on_behind_its_prompt() -> None:
    assert continued(TEXT)["prompt"] == "Onceabc"
    plan = plan_of(raw(TEXT, prompt=[1, 2]), is_chat=False)
    assert plan is not None
    assert json.loads(with_text(plan, "abc", generated=2, ids=[8, 9]))["prompt"] == [1, 2, 8, 9]


def test_limits_are_less_what_was_generated() -> None:
    asked = continued(CHAT, generated=7, max_tokens=10, max_completion_tokens=20, min_tokens=9)
    assert (asked["max_tokens"], asked["max_completion_tokens"], asked["min_tokens"]) == (3, 13, 2)
    assert continued(CHAT, generated=7, min_tokens=3)["min_tokens"] == 0
    assert "max_tokens" not in continued(CHAT, generated=7)


def test_a_completion_without_a_limit_has_the_default_one() -> None:
    assert continued(TEXT, generated=7)["max_tokens"] == 9


def test_the_limit_that_counts_is_the_newer_one() -> None:
    plan = plan_of(raw(CHAT, max_tokens=10, max_completion_tokens=20), is_chat=True)
    assert plan is not None
    assert plan.limit == 20


@pytest.mark.parametrize(
    ("more", "counts"),
    [
        ({}, False),
        ({"max_tokens": 5}, True),
        ({"min_tokens": 5}, True),
        ({"stream_options": {"include_usage": True}}, True),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": None}, False),
    ],
)
def test_tokens_are_counted_only_where_it_matters(more: dict[str, object], counts: bool) -> None:
    plan = plan_of(raw(CHAT, **more), is_chat=True)
    assert plan is not None
    assert plan.counts is counts


def test_the_ids_are_continued_with_the_same_sampling_and_nothing_of_the_chat() -> None:
    sampled = raw(CHAT, temperature=0.5, seed=3, tools=TOOLS, max_tokens=50, min_tokens=9, stop=["x"], echo=False)
    asked = json.loads(with_ids(sampled, b"1,2,3", left=40, least=4))
    assert asked == {
        **{"model": "m", "stream": True, "temperature": 0.5, "seed": 3, "prompt": [1, 2, 3]},
        **{"max_tokens": 40, "min_tokens": 4, "return_token_ids": True},
    }


@pytest.mark.parametrize(
    ("more", "may"),
    [({}, True), ({"tools": TOOLS}, False), ({"tools": TOOLS, "tool_choice": "none"}, True), ({"stop": "x"}, False)],
)
def test_only_plain_text_is_continued_by_ids(more: dict[str, object], may: bool) -> None:
    """A text completion parses no calls; and vLLM holds back text that may be the beginning of a stop string."""
    plan = plan_of(raw(CHAT, **more), is_chat=True)
    assert plan is not None
    assert plan.may_be_exact is may
    assert wants_ids(raw(CHAT, **more)) is may


def test_ids_are_not_asked_for_twice_nor_where_they_are_of_no_use() -> None:
    assert wants_ids(raw(CHAT, return_token_ids=True)) is None
    assert wants_ids(raw(CHAT, n=2)) is False
    assert wants_ids(raw(CHAT, logprobs=True)) is False
    assert wants_ids(raw(CHAT, response_format={"type": "json_object"})) is False


@pytest.mark.parametrize("body", [b"{}", b'{"a":1}', b'{"a": 1} \n', b' {"a":{"b":[]}\n}\n'])
def test_asking_for_ids_leaves_all_else_as_it_is(body: bytes) -> None:
    asked = asks_ids(body)
    assert json.loads(asked) == {**json.loads(body), "return_token_ids": True}
    assert asked.startswith(body.rstrip()[:-1].rstrip())


def test_marks_of_calls_and_thoughts_are_known() -> None:
    assert "[TOOL_CALLS]" in MARKS
