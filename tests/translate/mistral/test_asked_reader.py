"""What a request asks of the form of its answer."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.asked_reader import asked_of, read_asked
from router.translate.mistral.choice import Choice
from router.translate.mistral.names import Names

TOOL = {"type": "function", "function": {"name": "f", "description": "", "parameters": {}}}
TOKENS = frozenset(("prompt_token_ids", "token_ids"))


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({}, Asked(tool_choice=ToolChoice.NONE)),
        ({"stream": True}, Asked(stream=True, tool_choice=ToolChoice.NONE)),
        # OpenAI's default is no usage
        ({"stream": True, "stream_options": {}}, Asked(stream=True, tool_choice=ToolChoice.NONE)),
        (
            {"stream": True, "stream_options": {"include_usage": True, "continuous_usage_stats": True}},
            Asked(stream=True, include_usage=True, continuous_usage=True, tool_choice=ToolChoice.NONE),
        ),
        ({"tools": [TOOL]}, Asked(tools=frozenset("f"), tool_choice=ToolChoice.AUTO)),
        ({"tools": [TOOL], "tool_choice": "none"}, Asked(tools=frozenset("f"), tool_choice=ToolChoice.NONE)),
        ({"tools": [TOOL], "tool_choice": "required"}, Asked(tools=frozenset("f"), tool_choice=ToolChoice.REQUIRED)),
        (
            {"tools": [TOOL], "tool_choice": {"type": "function", "function": {"name": "f"}}},
            Asked(tools=frozenset("f"), tool_choice=ToolChoice.NAMED),
        ),
        ({"parallel_tool_calls": False}, Asked(single_call=True, tool_choice=ToolChoice.NONE)),
        ({"parallel_tool_calls": None}, Asked(tool_choice=ToolChoice.NONE)),
        ({"return_token_ids": True}, Asked(extras=TOKENS, tool_choice=ToolChoice.NONE)),
        ({"return_token_ids": False, "prompt_logprobs": None}, Asked(tool_choice=ToolChoice.NONE)),
        ({"prompt_logprobs": 0}, Asked(extras=frozenset(["prompt_logprobs"]), tool_choice=ToolChoice.NONE)),
        (
            {"kv_transfer_params": {"a": 1}},
            Asked(extras=frozenset(["kv_transfer_params"]), tool_choice=ToolChoice.NONE),
        ),
    ],
)
def test_what_a_request_asks_is_read(fields: dict[str, object], expected: Asked) -> None:
    body = json.dumps({"model": "m", "messages": [], **fields}).encode()

    assert asked_of(body) == expected
    raw = msgspec.json.decode(body, type=dict[str, msgspec.Raw])
    choice = Choice(expected.tools, expected.tool_choice)
    assert read_asked(raw, choice=choice) == expected
    assert read_asked(fields, choice=choice) == expected


def test_the_clients_names_of_tools_come_with_it() -> None:
    names = Names()
    names.declare(["a.b", "c"])

    assert read_asked({}, choice=Choice(frozenset(("a_b", "c"))), names=names).names == {"a_b": "a.b"}


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"{", b'"x"', b'{"stream": "\xff"}', b"[" * 5_000, b'{"tools":' + b"[" * 5_000 + b"]" * 5_000 + b"}"],
)
def test_what_cannot_be_read_asks_for_nothing(body: bytes) -> None:
    assert asked_of(body).extras == frozenset()
    assert not asked_of(body).tools


@pytest.mark.parametrize("tools", [None, "x", [None], [{"function": {"name": None}}], [{"type": "web_search"}], {}])
def test_tools_that_are_odd_are_none(tools: object) -> None:
    assert asked_of(json.dumps({"tools": tools}).encode()).tools == frozenset()


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "function", "name", "include_usage"]), inner, max_size=3),
    ),
    max_leaves=5,
)
KEYS = [
    "stream",
    "stream_options",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "return_token_ids",
    "prompt_logprobs",
]


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(st.sampled_from(KEYS), JSON))
def test_no_json_makes_it_fail(fields: dict[str, object]) -> None:
    assert isinstance(asked_of(json.dumps(fields).encode()), Asked)
