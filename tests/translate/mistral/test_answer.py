"""Answers in one piece, as bytes."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import BackendUnavailable
from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.mistral.answer import translate_answer
from router.translate.mistral.limits import MAX_ANSWER_VALUES, MAX_CALLS, MAX_CHOICES, MAX_TEXT
from router.translate.notes import Notes, Rule
from tests.captures import Capture, load
from tests.translate.strict import check_answer

FORM = AnswerForm()
TOOLS = frozenset(("get_weather",))
ASKED = Asked(tools=TOOLS)
FUNCTION = {"name": "get_weather", "arguments": '{"city": "Paris"}'}
CALL = {"id": "abcDEF123", "type": "function", "function": FUNCTION}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def translated(payload: object, asked: Asked = ASKED, *, form: AnswerForm = FORM) -> tuple[Any, Notes]:
    body, notes = translate_answer(json.dumps(payload).encode(), asked, form=form, new_id=lambda: "newID0001")
    return json.loads(body), notes


def answer(message: dict[str, Any], finish_reason: str | None = "stop", **more: object) -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "logprobs": None, "finish_reason": finish_reason}
    return {
        **{"id": "chatcmpl-1", "object": "chat.completion", "created": 1, "model": "m"},
        **{"choices": [choice], "usage": USAGE, **more},
    }


def test_an_answer_in_openais_form_is_the_bytes_it_was() -> None:
    body = json.dumps(answer({"content": "Hello"}, system_fingerprint="vllm", service_tier=None), indent=1).encode()

    out, notes = translate_answer(body, ASKED, new_id=lambda: "newID0001")

    assert out is body
    assert not notes.repaired


CALLED = answer({"content": None, "tool_calls": [CALL]}, "tool_calls")
CASES = {
    "j_index": (answer({"content": None, "tool_calls": [{"index": 0, **CALL}]}, "tool_calls"), CALLED, Rule.S2),
    "j_args_object": (
        answer({"content": None, "tool_calls": [{**CALL, "function": {**FUNCTION, "arguments": {"city": "Paris"}}}]}),
        answer({"content": None, "tool_calls": [{**CALL, "function": {**FUNCTION, "arguments": '{"city":"Paris"}'}}]}),
        Rule.S7,
    ),
    "j_id_missing": (
        answer({"content": None, "tool_calls": [{"type": "function", "function": FUNCTION}]}, "tool_calls"),
        answer({"content": None, "tool_calls": [{**CALL, "id": "newID0001"}]}, "tool_calls"),
        Rule.S3,
    ),
    "j_type_missing": (
        answer({"content": None, "tool_calls": [{"id": "abcDEF123", "function": FUNCTION}]}, "tool_calls"),
        CALLED,
        Rule.S4,
    ),
    "j_finish_stop": (answer({"content": None, "tool_calls": [CALL]}, "stop"), CALLED, Rule.S11),
    "j_calls_empty_list": (answer({"content": "x", "tool_calls": []}), answer({"content": "x"}), Rule.S13),
    "j_content_null": (answer({"content": None}), answer({"content": ""}), Rule.S13),
    "j_content_list": (
        answer({"content": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}),
        answer({"content": "ab"}),
        Rule.S13,
    ),
    "j_reasoning": (
        answer({"content": "x", "reasoning": "t"}),
        answer({"content": "x", "reasoning_content": "t"}),
        Rule.S17,
    ),
    "j_completion_tokens_null": (
        answer({"content": "x"}, usage={**USAGE, "completion_tokens": None}),
        answer({"content": "x"}, usage={**USAGE, "completion_tokens": 0}),
        Rule.S14,
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_answers_of_other_shapes_take_openais(name: str) -> None:
    sent, expected, rule = CASES[name]
    asked = Asked(tools=TOOLS, tool_choice=ToolChoice.NAMED) if name == "j_args_object" else ASKED

    found, notes = translated(sent, asked)

    assert found == expected
    assert notes.repaired == {rule}
    check_answer(found)


def test_the_index_stays_where_the_configuration_says_so() -> None:
    indexed = CASES["j_index"][0]

    assert translated(CALLED, form=AnswerForm(call_index=True))[0] == indexed
    assert not translated(indexed, form=AnswerForm(call_index=True))[1].repaired


def test_what_only_vllm_knows_is_left_out_at_every_depth() -> None:
    """S1"""
    details = {"cached_tokens": 1, "created_cache_tokens": 0, "multimodal_tokens": None}
    sent = answer({"content": "x"}, prompt_token_ids=[1], metrics=None, odd=1)
    sent["usage"] = {**USAGE, "prompt_tokens_details": details, "odd": 1}

    found, notes = translated(sent, Asked(extras=frozenset(("prompt_token_ids",))))

    assert found == answer(
        {"content": "x"}, prompt_token_ids=[1], usage={**USAGE, "prompt_tokens_details": {"cached_tokens": 1}}
    )
    assert notes.repaired == {Rule.S1}


def test_usage_that_is_missing_in_part_is_filled_in() -> None:
    """S14"""
    assert translated(answer({"content": "x"}, usage={"prompt_tokens": 3}))[0]["usage"] == {
        "prompt_tokens": 3,
        "completion_tokens": 0,
        "total_tokens": 3,
    }
    assert translated(answer({"content": "x"}, usage=None))[0]["usage"] is None


def test_every_choice_is_repaired() -> None:
    """S22"""
    sent = answer({"content": "a"})
    sent["choices"].append({"index": 1, "message": {"role": "assistant", "content": None}, "finish_reason": "eos"})

    found, _ = translated(sent)

    assert [choice["message"]["content"] for choice in found["choices"]] == ["a", ""]
    assert found["choices"][1]["finish_reason"] == "stop"


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_was_broken_off_never_looks_whole(reason: str) -> None:
    """S18"""
    with pytest.raises(BackendUnavailable) as caught:
        translated(answer({"content": "Hel"}, reason))

    assert (caught.value.status, caught.value.code) == (502, "upstream_unavailable")


DEEP = '{"object": "chat.completion", "odd": null, "choices": [], "metadata": ' + "[" * 900 + "]" * 900 + "}"


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not json",
        b'{"choices": [',
        b"[1]",
        b"null",
        b'"text"',
        b"{}",
        b'{"choices": {}}',
        b'{"error": {"message": "m"}}',
        b'{"object": "text_completion", "choices": [{"text": "x", "token_ids": null}]}',
        b'{"choices": "\xff"}',
        b"{" * 100_000,
        DEEP.encode(),
    ],
)
def test_what_is_no_chat_answer_passes_as_it_is(body: bytes) -> None:
    out, notes = translate_answer(body, ASKED, new_id=lambda: "newID0001")

    assert out is body
    assert not notes.repaired


def test_each_change_can_be_told_with_its_place() -> None:
    body = json.dumps(CASES["j_index"][0]).encode()

    _, notes = translate_answer(body, ASKED, new_id=lambda: "newID0001", explain=True)

    assert notes.steps is not None
    assert [(step.rule, step.where) for step in notes.steps] == [(Rule.S2, "choices.0.message.tool_calls.0.index")]


def recorded() -> Iterator[Capture]:
    """Answers in one piece of a real vLLM server."""
    for capture in load():
        is_chat = capture.request and "/chat/completions" in capture.target and capture.status == 200
        if is_chat and capture.is_whole and not capture.is_stream:
            yield capture


def asked_of(capture: Capture) -> Asked:
    request = json.loads(capture.request_body)
    choice = request.get("tool_choice", "auto")
    return Asked(
        tools=frozenset(tool["function"]["name"] for tool in request.get("tools", ())),
        tool_choice=ToolChoice.NAMED if isinstance(choice, dict) else ToolChoice(choice),
    )


@pytest.mark.parametrize("capture", list(recorded()), ids=lambda capture: capture.name)
def test_every_recorded_answer_becomes_strictly_openais(capture: Capture) -> None:
    asked = asked_of(capture)

    body, notes = translate_answer(capture.body, asked, new_id=lambda: "newID0001")

    found, sent = json.loads(body), json.loads(capture.body)
    check_answer(found)
    assert notes.repaired <= {Rule.S1, Rule.S13}
    for choice, before in zip(found["choices"], sent["choices"], strict=True):
        assert choice["finish_reason"] == before["finish_reason"]
        assert choice["message"]["content"] or not before["message"]["content"]
        assert choice["message"].get("tool_calls") == before["message"].get("tool_calls")
    assert translate_answer(body, asked, new_id=lambda: "newID0001")[0] is body


ODD = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-2, 2)
    | st.sampled_from(["", "x", "stop", "abort", "[THINK]a", "{} x", "f"]),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["text", "type", "id", "index", "name", "arguments", "function", "thinking"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=8,
)
MESSAGE = st.dictionaries(
    st.sampled_from(
        ["role", "content", "tool_calls", "reasoning", "reasoning_content", "refusal", "annotations", "odd"]
    ),
    ODD | st.lists(st.dictionaries(st.sampled_from(["id", "type", "function", "index"]), ODD), max_size=2),
)
CHOICE = st.dictionaries(st.sampled_from(["index", "finish_reason", "logprobs", "token_ids"]), ODD)
FORMS = [AnswerForm(), AnswerForm(call_index=True), AnswerForm(reasoning=ReasoningField.OFF)]


@settings(max_examples=200, deadline=None)
@given(st.lists(st.tuples(CHOICE, MESSAGE), max_size=3), ODD, st.sampled_from(FORMS), st.booleans())
def test_any_json_is_repaired_or_passed_on_and_that_once(
    choices: list[tuple[dict[str, Any], Any]], usage: Any, form: AnswerForm, single_call: bool
) -> None:
    asked = Asked(tools=frozenset(("f",)), single_call=single_call)
    payload = {"choices": [{**choice, "message": message} for choice, message in choices], "usage": usage}
    try:
        body, _ = translate_answer(json.dumps(payload).encode(), asked, form=form, new_id=lambda: "newID0001")
    except BackendUnavailable:
        return

    assert translate_answer(body, asked, form=form, new_id=lambda: "newID0001")[0] is body
    for choice in json.loads(body)["choices"]:
        for call in choice["message"].get("tool_calls", ()):
            assert call.keys() == {"id", "type", "function"} | ({"index"} if form.call_index else set())
            assert call["id"]
            assert isinstance(call["function"]["arguments"], str)


def test_an_answer_of_more_calls_than_anybody_can_read_is_none() -> None:
    translated(answer({"content": None, "tool_calls": [CALL] * MAX_CALLS}))
    half = answer({"content": None, "tool_calls": [CALL] * (MAX_CALLS // 2 + 1)})
    half["choices"] *= 2
    for payload in (answer({"content": None, "tool_calls": [CALL] * (MAX_CALLS + 1)}), half):
        with pytest.raises(BackendUnavailable):
            translated(payload)


def test_further_choices_than_the_bound_stay_as_they_are() -> None:
    payload = answer({"content": "a", "odd": 1})
    payload["choices"] *= MAX_CHOICES + 1
    choices = translated(payload)[0]["choices"]
    assert ["odd" in choice["message"] for choice in choices] == [False] * MAX_CHOICES + [True]


def test_an_answer_that_holds_too_much_to_be_read_passes_as_it_is() -> None:
    body = json.dumps(answer({"content": "a", "odd": [0] * MAX_ANSWER_VALUES}), separators=(",", ":")).encode()
    assert translate_answer(body, ASKED, new_id=lambda: "newID0001")[0] is body
    text = json.dumps(answer({"content": "{[,", "odd": "0," * MAX_ANSWER_VALUES})).encode()
    assert b"odd" not in translate_answer(text, ASKED, new_id=lambda: "newID0001")[0]


def test_log_probabilities_of_very_many_tokens_are_read() -> None:
    token = {"token": " the", "logprob": -0.12345678, "bytes": [32, 116, 104, 101]}
    entry = json.dumps({**token, "top_logprobs": [token] * 20}, separators=(",", ":"))
    payload = json.dumps(answer({"content": "a", "odd": 1}, "stop")).replace(
        '"logprobs": null', '"logprobs": {"content": [' + ",".join([entry] * ((16 << 20) // len(entry) - 1)) + "]}"
    )
    told = translate_answer(payload.encode(), ASKED, new_id=lambda: "newID0001")[0]
    assert len(payload) > 15 << 20
    assert b"odd" not in told


def test_a_broken_answer_is_none_however_much_it_holds() -> None:
    behind = answer({"content": "a"})
    behind["choices"] = behind["choices"] * MAX_CHOICES + answer({"content": "b"}, "error")["choices"]
    large = answer({"content": "a"}, "abort", odd=[0] * MAX_ANSWER_VALUES)
    odd = answer({"content": "a"}, odd=[0] * MAX_ANSWER_VALUES)
    odd["choices"] = [7, [], None, "a", 1.5, True, {"finish_reason": {"a": [1]}}, *large["choices"]]
    for payload in (behind, large, odd):
        with pytest.raises(BackendUnavailable):
            translated(payload)


def test_a_very_long_text_is_not_searched_for_calls() -> None:
    leaked = '[TOOL_CALLS]get_weather[ARGS]{"city":"Paris"}'
    for blanks, is_call in ((MAX_TEXT - len(leaked), True), (MAX_TEXT, False)):
        message = translated(answer({"content": "a" * blanks + leaked}))[0]["choices"][0]["message"]
        assert ("tool_calls" in message) == is_call
