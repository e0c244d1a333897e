"""Which tools there are and whether one must be called, in OpenAI's form."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.translate.asked import ToolChoice
from router.translate.mistral.choice import NO_TOOLS, Choice, judge_choice, translate_choice
from router.translate.mistral.names import Names
from router.translate.notes import Notes, Rule
from router.translate.profile import STRICTEST

Fields = dict[str, object]


def tool(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name, "description": "", "parameters": {}}}


def named(name: str) -> dict[str, object]:
    return {"type": "function", "function": {"name": name}}


def raw_fields(fields: Fields) -> Fields:
    """Return the top level as it is read from a body."""
    return dict(msgspec.json.decode(json.dumps(fields).encode(), type=dict[str, msgspec.Raw]))


def translated(fields: Fields, *, raw: bool = True) -> tuple[Fields, Choice, Notes, Names]:
    kept, names, notes = raw_fields(fields) if raw else dict(fields), Names(), Notes(explain=True)
    choice = translate_choice(kept, STRICTEST, names=names, notes=notes)
    return json.loads(msgspec.json.encode(kept)), choice, notes, names


F, G = tool("f"), tool("g")


@pytest.mark.parametrize(
    ("fields", "choice"),
    [
        ({}, NO_TOOLS),
        ({"parallel_tool_calls": False}, NO_TOOLS),
        ({"tools": [F]}, Choice(frozenset("f"), ToolChoice.AUTO)),
        ({"tools": [F], "tool_choice": "auto"}, Choice(frozenset("f"), ToolChoice.AUTO)),
        ({"tools": [F], "tool_choice": "none"}, Choice(frozenset("f"), ToolChoice.NONE)),
        ({"tools": [F], "tool_choice": "required"}, Choice(frozenset("f"), ToolChoice.REQUIRED)),
        ({"tools": [F, G], "tool_choice": named("g")}, Choice(frozenset("fg"), ToolChoice.NAMED)),
    ],
)
def test_openais_form_stays_the_bytes_it_was(fields: Fields, choice: Choice) -> None:
    given_ = raw_fields({"model": "m", **fields})
    kept, notes = dict(given_), Notes()

    assert judge_choice(given_, STRICTEST) == choice
    assert translate_choice(kept, STRICTEST, names=Names(), notes=notes) == choice
    assert all(kept[key] is given_[key] for key in given_ | kept)
    assert not notes.repaired


@pytest.mark.parametrize(
    ("fields", "expected", "kind"),
    [
        # choice_any, choice_anthropic_tool
        ({"tools": [F], "tool_choice": "any"}, {"tools": [F], "tool_choice": "required"}, ToolChoice.REQUIRED),
        (
            {"tools": [F], "tool_choice": {"type": "any"}},
            {"tools": [F], "tool_choice": "required"},
            ToolChoice.REQUIRED,
        ),
        ({"tools": [F], "tool_choice": {"type": "auto"}}, {"tools": [F], "tool_choice": "auto"}, ToolChoice.AUTO),
        ({"tools": [F], "tool_choice": {"type": "none"}}, {"tools": [F], "tool_choice": "none"}, ToolChoice.NONE),
        (
            {"tools": [F, G], "tool_choice": {"type": "tool", "name": "g"}},
            {"tools": [F, G], "tool_choice": named("g")},
            ToolChoice.NAMED,
        ),
        (
            {"tools": [F], "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}},
            {"tools": [F], "tool_choice": "auto", "parallel_tool_calls": False},
            ToolChoice.AUTO,
        ),
        # of the Responses API, and a bare name
        (
            {"tools": [F], "tool_choice": {"type": "function", "name": "f"}},
            {"tools": [F], "tool_choice": named("f")},
            ToolChoice.NAMED,
        ),
        ({"tools": [F], "tool_choice": "f"}, {"tools": [F], "tool_choice": named("f")}, ToolChoice.NAMED),
        (
            {"tools": [F], "tool_choice": {**named("f"), "cache_control": {}}},
            {"tools": [F], "tool_choice": named("f")},
            ToolChoice.NAMED,
        ),
        # vLLM takes null for "none", OpenAI for "auto"
        ({"tools": [F], "tool_choice": None}, {"tools": [F]}, ToolChoice.AUTO),
        # choice_auto_without_tools, tools_empty, tools_null
        ({"tool_choice": "auto"}, {}, ToolChoice.NONE),
        ({"tool_choice": "auto", "parallel_tool_calls": True}, {"parallel_tool_calls": True}, ToolChoice.NONE),
        ({"tools": [], "tool_choice": "none", "parallel_tool_calls": True}, {}, ToolChoice.NONE),
        ({"tools": None, "tool_choice": None}, {}, ToolChoice.NONE),
        ({"tools": [{"type": "web_search"}], "tool_choice": "auto"}, {}, ToolChoice.NONE),
        # legacy_functions
        (
            {"functions": [F["function"]], "function_call": "auto"},
            {"tools": [F], "tool_choice": "auto"},
            ToolChoice.AUTO,
        ),
        (
            {"functions": [{"name": "f"}], "function_call": {"name": "f"}},
            {"tools": [F], "tool_choice": named("f")},
            ToolChoice.NAMED,
        ),
        ({"functions": [{"name": "f"}], "tools": [G]}, {"tools": [G, F]}, ToolChoice.AUTO),
        (
            {"tools": [F], "tool_choice": "none", "function_call": "auto"},
            {"tools": [F], "tool_choice": "none"},
            ToolChoice.NONE,
        ),
        ({"functions": [], "function_call": "none"}, {}, ToolChoice.NONE),
        ({"functions": None, "function_call": None}, {}, ToolChoice.NONE),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_other_forms_become_openais(fields: Fields, expected: Fields, kind: ToolChoice, raw: bool) -> None:
    better, choice, notes, _ = translated(fields, raw=raw)

    assert better == expected
    assert choice.tool_choice is kind
    assert notes.repaired
    assert judge_choice(raw_fields(fields), STRICTEST) is None
    assert judge_choice(raw_fields(better), STRICTEST) == choice


@pytest.mark.parametrize("form", ["nested", "flat"])
def test_only_allowed_tools_stay(form: str) -> None:
    """choice_allowed_tools."""
    allowed = {"mode": "required", "tools": [named("g"), {"type": "web_search"}]}
    choice = {"type": "allowed_tools", **({"allowed_tools": allowed} if form == "nested" else allowed)}
    better, said, notes, _ = translated({"tools": [F, G], "tool_choice": choice})

    assert better == {"tools": [G], "tool_choice": "required"}
    assert said == Choice(frozenset("g"), ToolChoice.REQUIRED)
    assert Rule.R28 in notes.repaired


def test_where_no_tool_is_allowed_there_is_none() -> None:
    choice = {"type": "allowed_tools", "allowed_tools": {"mode": "auto", "tools": []}}
    better, said, _, _ = translated({"tools": [F], "tool_choice": choice})

    assert better == {}
    assert said == NO_TOOLS


def test_a_choice_has_the_backends_name() -> None:
    odd = tool("a.b")
    better, said, _, names = translated({"tools": [odd, F], "tool_choice": named("a.b")})

    assert better == {"tools": [tool("a_b"), F], "tool_choice": named("a_b")}
    assert said == Choice(frozenset(("a_b", "f")), ToolChoice.NAMED)
    assert names.back == {"a_b": "a.b"}
    allowed = {"type": "allowed_tools", "allowed_tools": {"tools": [named("a.b")]}}
    assert translated({"tools": [odd, F], "tool_choice": allowed})[0] == {"tools": [tool("a_b")], "tool_choice": "auto"}


def test_names_are_declared_for_calls_in_the_history() -> None:
    """Also where the tools were not touched: a call of something else must not look like a call of one of them."""
    names = translated({"tools": [tool("a_b")]})[3]

    assert names.to_backend("a.b") != "a_b"


@pytest.mark.parametrize("tools", [{}, {"tools": [F]}, {"tools": [{"type": "web_search"}]}])
@pytest.mark.parametrize(
    "choice",
    [
        named("unknown"),  # choice_named_unknown
        {"type": "tool", "name": "unknown"},
        {"name": "unknown"},
        "unknown",
        {"type": "function"},
        {"type": "function", "function": {"name": 3}},
        {"type": "function", "function": "f"},
        {"type": "web_search_preview"},
        {"type": "custom", "custom": {"name": "f"}},
        {"type": ["function"]},
        {},
        [],
        3,
        True,
        {"type": "allowed_tools"},
        {"type": "allowed_tools", "allowed_tools": None},
        {"type": "allowed_tools", "allowed_tools": {"tools": "f"}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "required", "tools": []}},
        {"type": "allowed_tools", "allowed_tools": {"mode": "none", "tools": [named("f")]}},
        {"type": "allowed_tools", "allowed_tools": {"mode": 1, "tools": [named("f")]}},
        {"type": "allowed_tools", "allowed_tools": {"tools": [named("unknown")]}},
        {"type": "allowed_tools", "allowed_tools": {"tools": [3]}},
    ],
)
def test_a_choice_that_cannot_be_met_is_refused(tools: Fields, choice: object) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translated({**tools, "tool_choice": choice})
    assert (refused.value.param, refused.value.code) == ("tool_choice", "unsupported_value")


def test_a_refusal_does_not_echo_much() -> None:
    with pytest.raises(InvalidRequest) as refused:
        translated({"tools": [F], "tool_choice": "x" * 100_000})
    assert len(refused.value.message) < 200


def test_functions_that_are_no_list_are_refused() -> None:
    with pytest.raises(InvalidRequest, match="functions must be an array"):
        translated({"functions": {"name": "f"}})


def test_what_the_tools_lost_is_noted_also_when_it_was_known_before() -> None:
    """What becomes of tools is kept by their bytes; the notes must come with it."""
    tools = raw_fields({"tools": [{"type": "web_search"}, F]})
    first, second, explained = Notes(), Notes(), Notes(explain=True)
    for notes in (first, second, explained):
        assert translate_choice(dict(tools), STRICTEST, names=Names(), notes=notes).tools == {"f"}

    assert first.lost == second.lost == explained.lost == {Rule.R27}
    assert explained.steps == [(Rule.R27, "tools.0", True)]


JSON = st.recursive(
    st.one_of(
        st.none(), st.booleans(), st.sampled_from(["f", "g", "auto", "any", "tool", "function", "allowed_tools", 3])
    ),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "function", "name", "mode", "tools", "allowed_tools"]), inner),
        st.just(F),
    ),
    max_leaves=8,
)
KEYS = st.sampled_from(["tools", "tool_choice", "functions", "function_call", "parallel_tool_calls"])


@settings(max_examples=200, deadline=None)
@given(st.dictionaries(KEYS, st.one_of(JSON, st.just([F, G]))), st.booleans())
def test_any_json_is_translated_once_or_refused(fields: Fields, raw: bool) -> None:
    try:
        better, choice, _, _ = translated(fields, raw=raw)
    except InvalidRequest:
        return
    assert judge_choice(raw_fields(better), STRICTEST) == choice
