"""A request as a client sent it becomes the request that the backend takes."""

import json
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.translate.asked import RequestForm, ToolChoice
from router.translate.mistral.request import Translated, read, translate
from router.translate.notes import Rule
from router.translate.profile import PRESETS, STRICTEST, Profile, Renderer

USER = {"role": "user", "content": "hi"}
SAID = {"role": "assistant", "content": "a"}
CALLS = {
    "role": "assistant",
    "content": "",
    "tool_calls": [{"id": "abcDEF123", "type": "function", "function": {"name": "f", "arguments": "{}"}}],
}
RESULT = {"role": "tool", "content": "r", "tool_call_id": "abcDEF123"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
SOUND = {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}
TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
MISTRAL = PRESETS["v13"]
PROFILES = {
    **PRESETS,
    "modern": Profile(Renderer.MISTRAL_COMMON, 13, nine_ids=False, bridge=False, vision=False),
    "rich": Profile(Renderer.MISTRAL_COMMON, 15, thinking=True, vision=True),
    "thinking template": Profile(Renderer.TEMPLATE, thinking=True, nine_ids=False, bridge=False),
    "thinking": Profile(thinking=True),
}


def dump(*messages: Any, **fields: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [*messages], **fields}).encode()


def messages_of(done: Translated) -> Any:
    return json.loads(done.body)["messages"]


@pytest.mark.parametrize("profile", [STRICTEST, MISTRAL, PRESETS["template"], PRESETS["v3"]])
@pytest.mark.parametrize(
    "body",
    [
        dump(USER),
        dump(USER, SAID, USER, stream=True, temperature=0.5, stream_options={"include_usage": True}),
        dump({"role": "system", "content": "s"}, USER, CALLS, RESULT, tools=[TOOL], tool_choice="auto"),
        dump({"role": "user", "content": [{"type": "text", "text": "see"}, IMAGE]}),
        dump(USER, unknown={"to": "us"}),
        dump(USER, SAID, continue_final_message=True, add_generation_prompt=False),
        dump(USER, continue_final_message=False),
    ],
)
def test_a_request_that_needs_nothing_stays_the_bytes_it_was(body: bytes, profile: Profile) -> None:
    done = translate(body, profile)

    assert done.body is body
    assert not done.notes.repaired


def test_what_was_asked_is_told_of_requests_that_stay_and_of_those_that_change() -> None:
    for messages in ((USER,), (USER, USER)):
        done = translate(
            dump(*messages, tools=[TOOL], tool_choice="required", stream=True, parallel_tool_calls=False), STRICTEST
        )
        asked = done.asked
        assert asked.tools == {"f"}
        assert asked.tool_choice is ToolChoice.REQUIRED
        assert asked.stream
        assert asked.single_call


def test_a_messages_text_stays_the_bytes_it_was_where_others_change() -> None:
    body = (
        b'{"messages": [{"role":"user","content":"\\u00e9 \\/"},{"role":"user","name":null,"content":"x"}], "n": 1.0}'
    )

    done = translate(body, MISTRAL)

    assert b'"\\u00e9 \\/"' in done.body
    assert b'"n":1.0' in done.body


def test_what_was_read_may_be_translated_for_several_profiles() -> None:
    body = dump(USER, {**CALLS, "content": None}, {**RESULT, "name": "f"}, USER, {**SAID, "refusal": None})
    shape = read(body)
    wanted = {name: translate(body, profile).body for name, profile in PROFILES.items() if profile.version != 1}

    for _ in range(2):
        for name, made in wanted.items():
            assert translate(body, PROFILES[name], shape=shape).body == made


def test_a_shape_spares_the_reading() -> None:
    body = dump(USER)

    assert translate(body, STRICTEST, shape=read(body)).body is body


def test_rules_are_told_with_their_places() -> None:
    done = translate(dump({**USER, "name": "bob"}, CALLS, RESULT, USER), STRICTEST, explain=True)

    assert done.notes.steps is not None
    assert [(step.rule, step.where) for step in done.notes.steps] == [
        (Rule.R1, "messages.0.name"),
        (Rule.R22, "messages.3"),
    ]
    assert done.notes.lost == {Rule.R1}


def test_r3_to_r22_work_together() -> None:
    """One conversation with most of what agents are seen to send."""
    made = translate(
        dump(
            {"role": "developer", "content": [{"type": "text", "text": "rules", "cache_control": {}}]},
            {"role": "user", "content": "task", "name": "bob"},
            {
                "role": "assistant",
                "content": None,
                "reasoning_content": "hm",
                "tool_calls": [
                    {"index": 0, "id": "call_0", "function": {"name": "mcp.fs/read", "arguments": {"path": "a"}}},
                    {"index": 1, "id": "call_1", "function": {"name": "ping", "arguments": ""}},
                ],
            },
            {"role": "tool", "tool_call_id": "call_1", "content": None},
            {"role": "user", "content": "hurry"},
            {"role": "tool", "tool_call_id": "call_0", "content": [{"type": "text", "text": "A"}, IMAGE]},
            {"role": "assistant", "content": ""},
            {"role": "system", "content": "note"},
        ),
        STRICTEST,
    )

    assert messages_of(made) == [
        {"role": "system", "content": "rules"},
        {"role": "user", "content": "task"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [
                {
                    "id": "mupIKT56D",
                    "type": "function",
                    "function": {"name": "mcp_fs_read", "arguments": '{"path": "a"}'},
                },
                {"id": "RksXkbv4v", "type": "function", "function": {"name": "ping", "arguments": "{}"}},
            ],
        },
        {"role": "tool", "tool_call_id": "mupIKT56D", "content": "A"},
        {"role": "tool", "tool_call_id": "RksXkbv4v", "content": ""},
        {"role": "assistant", "content": " "},
        {"role": "user", "content": [IMAGE, {"type": "text", "text": "hurry\n\nnote"}]},
    ]
    assert made.notes.lost == {Rule.R1, Rule.R9, Rule.R10, Rule.R15, Rule.R19}


def test_r12_a_call_of_a_renamed_tool_has_the_tools_new_name() -> None:
    odd = {"type": "function", "function": {"name": "a.b", "description": "", "parameters": {}}}
    called = json.loads(json.dumps(CALLS).replace('"f"', '"a.b"'))

    done = translate(dump(USER, called, RESULT, tools=[odd]), STRICTEST)

    (name,) = done.asked.tools
    assert messages_of(done)[1]["tool_calls"][0]["function"]["name"] == name
    assert done.asked.names == {name: "a.b"}


@pytest.mark.parametrize("profile", [STRICTEST, MISTRAL, PRESETS["template"]])
def test_r29_a_prefix_is_continued(profile: Profile) -> None:
    for body in (
        dump(USER, {**SAID, "prefix": True}),
        dump(USER, SAID, continue_final_message=True),
        dump(USER, SAID, continue_final_message=True, add_generation_prompt=True),
    ):
        made = json.loads(translate(body, profile).body)
        assert made["messages"] == [USER, SAID]
        assert made["continue_final_message"] is True
        assert made["add_generation_prompt"] is False


def test_r29_any_other_last_word_of_the_assistant_is_answered_unless_configured_otherwise() -> None:
    done = translate(dump(USER, SAID), STRICTEST)
    assert messages_of(done) == [USER, SAID, {"role": "user", "content": " "}]

    continued = json.loads(translate(dump(USER, SAID), STRICTEST, form=RequestForm(continue_assistant=True)).body)
    assert continued["messages"] == [USER, SAID]
    assert continued["continue_final_message"] is True


def test_r29_mistral_common_continues_nobody_but_the_assistant() -> None:
    body = dump(USER, continue_final_message=True, add_generation_prompt=False)

    assert json.loads(translate(body, MISTRAL).body) == {"model": "m", "messages": [USER]}
    assert translate(body, PRESETS["template"]).body is body


def test_r36_half_a_surrogate_pair_becomes_a_replacement() -> None:
    done = translate(rb'{"messages": [{"role": "user", "content": "a\ud800b"}]}', STRICTEST)

    assert messages_of(done) == [{"role": "user", "content": "a\ufffdb"}]
    assert done.notes.repaired == {Rule.R36}
    assert translate(done.body, STRICTEST).body is done.body


@pytest.mark.parametrize(
    ("body", "param"),
    [
        (b'{"model": "m"}', "messages"),
        (dump(), "messages"),
        (b'{"messages": null}', "messages"),
        (b'{"messages": {}}', "messages"),
        (dump(5), "messages.0"),
        (dump(USER, None), "messages.1"),
        (dump(USER, {"content": "x"}), "messages.1.role"),
        (dump(USER, {"role": "wizard", "content": "x"}), "messages.1.role"),
        (dump({"role": "user", "content": 5}), "messages.0.content"),
        (dump({"role": "user", "content": ["x", {"type": "file", "file": {}}]}), "messages.0.content.1"),
        (dump(USER, tools=[TOOL], tool_choice={"type": "function", "function": {"name": "g"}}), "tool_choice"),
    ],
)
@pytest.mark.parametrize("profile", [STRICTEST, MISTRAL])
def test_r37_what_no_backend_takes_is_refused_by_its_place(body: bytes, param: str, profile: Profile) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate(body, profile)

    assert (refused.value.param, refused.value.code) == (param, "unsupported_value")


def test_r37_the_first_tokenizer_has_no_tools() -> None:
    for body, param in ((dump(USER, tools=[TOOL]), "tools"), (dump(USER, CALLS, RESULT), "messages.1.tool_calls")):
        with pytest.raises(InvalidRequest) as refused:
            translate(body, PRESETS["v1"])
        assert refused.value.param == param


def test_r9_sound_is_refused_where_the_tokenizer_takes_none() -> None:
    heard = {"role": "user", "content": [SOUND]}
    system = {"role": "system", "content": "s"}

    for messages, profile in (((heard,), PRESETS["v3"]), ((system, heard), PRESETS["v7"])):
        with pytest.raises(InvalidRequest) as refused:
            translate(dump(*messages), profile)
        assert refused.value.param == f"messages.{len(messages) - 1}.content"
    for messages, profile in (((heard,), PRESETS["v7"]), ((system, heard), MISTRAL)):
        body = dump(*messages)
        assert translate(body, profile).body is body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        b'{"messages": [{"role": "tool", "content": 1e999}]}',
        b'{"messages": [{"role": "tool", "content": ' + b"9" * 6000 + b"}]}",
        b'{"messages": [{"role": "user", "content": ' + b"[" * 100_000 + b"]" * 100_000 + b"}]}",
    ],
)
def test_a_body_that_cannot_be_read_is_the_clients_fault(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        translate(body, STRICTEST)


@pytest.mark.parametrize("depth", [10, 300, 1000, 3000, 100_000])
@pytest.mark.parametrize(
    ("opening", "closing"),
    [(b"[", b"]"), (b'{"a": ', b"}"), (b'[{"type": "tool_result", "tool_use_id": "a", "content": ', b"}]")],
)
@pytest.mark.parametrize("role", [b"user", b"tool", b"assistant"])
def test_nesting_ends_in_an_answer_or_a_refusal(depth: int, opening: bytes, closing: bytes, role: bytes) -> None:
    content = opening * depth + b"1" + closing * depth
    try:
        done = translate(b'{"messages": [{"role": "%b", "content": %b}]}' % (role, content), STRICTEST)
    except InvalidRequest:
        return
    assert translate(done.body, STRICTEST).body is done.body


TEXTS = st.sampled_from(["", " ", "a", 'é\n"\\', "b"])
IDS = st.sampled_from(["abcDEF123", "abcDEF124", "call_0", "", None, "x" * 40, 5])
ODD = st.sampled_from([None, "", "z", 5, True, [], {}, {"a": 1}, [None], [{"text": "x"}]])
PARTS = st.one_of(
    TEXTS.map(lambda text: {"type": "text", "text": text}),
    TEXTS,
    st.just(IMAGE),
    st.just({"type": "thinking", "thinking": "t"}),
    st.builds(lambda ident: {"type": "tool_use", "id": ident, "name": "f", "input": {}}, IDS),
    st.builds(lambda ident, text: {"type": "tool_result", "tool_use_id": ident, "content": text}, IDS, TEXTS),
    ODD,
)
CONTENTS = st.one_of(TEXTS, TEXTS, st.none(), st.lists(PARTS, max_size=3), ODD)
FUNCTIONS = st.fixed_dictionaries(
    {"name": st.sampled_from(["f", "a.b", ""]), "arguments": st.one_of(st.just("{}"), ODD)}
)
CALLED = st.fixed_dictionaries({"id": IDS, "type": st.just("function"), "function": FUNCTIONS})
EXTRAS = st.dictionaries(
    st.sampled_from(["name", "refusal", "reasoning_content", "reasoning", "prefix", "id", "foo", "function_call"]),
    ODD,
    max_size=1,
)
MESSAGES = st.one_of(
    st.builds(lambda content, more: {"role": "user", "content": content, **more}, CONTENTS, EXTRAS),
    st.builds(lambda content: {"role": "system", "content": content}, CONTENTS),
    st.builds(
        lambda content, calls, more: {"role": "assistant", "content": content, "tool_calls": calls, **more},
        CONTENTS,
        st.one_of(st.none(), st.lists(CALLED, max_size=2)),
        EXTRAS,
    ),
    st.builds(lambda content, more: {"role": "assistant", "content": content, **more}, CONTENTS, EXTRAS),
    st.builds(
        lambda content, ident, more: {"role": "tool", "content": content, "tool_call_id": ident, **more},
        CONTENTS,
        IDS,
        EXTRAS,
    ),
)


@settings(max_examples=200, deadline=None)
@given(st.lists(MESSAGES, min_size=1, max_size=6), st.sampled_from(sorted(PROFILES)), st.booleans())
def test_whatever_comes_is_repaired_once_or_refused(messages: list[Any], name: str, has_tools: bool) -> None:
    """T6, and its other half: a body changes where a rule is told, and only there."""
    body = dump(*messages, **({"tools": [TOOL]} if has_tools else {}))
    try:
        done = translate(body, PROFILES[name])
    except InvalidRequest:
        return

    assert (done.body is body) == (not done.notes.repaired)
    assert done.notes.lost <= done.notes.repaired
    again = translate(done.body, PROFILES[name])
    assert again.body is done.body
    assert again.asked.tools == done.asked.tools


@pytest.mark.parametrize("value", ["1", "1.0", '"true"', '"YES"'])
def test_words_and_numbers_that_mean_true_to_vllm_continue_too(value: str) -> None:
    """R29."""
    body = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}],"continue_final_message":'

    sent = json.loads(translate(body + value.encode() + b"}", PRESETS["v13"]).body)

    assert sent["continue_final_message"] is True
    assert sent["add_generation_prompt"] is False
    assert sent["messages"][-1]["role"] == "assistant"


@pytest.mark.parametrize("value", ["0", "null", '"no"', '"odd"', "[]"])
def test_what_does_not_mean_true_is_left_out(value: str) -> None:
    """R29."""
    body = b'{"messages":[{"role":"user","content":"a"}],"continue_final_message":%b}' % value.encode()

    assert "continue_final_message" not in json.loads(translate(body, PRESETS["v13"]).body)
