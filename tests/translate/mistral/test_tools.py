"""Tools become functions that every backend takes."""

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.translate.mistral.names import Names
from router.translate.mistral.tools import JUDGED_BYTES, judge_tools, mend_tools, translate_tools
from router.translate.notes import Notes, Rule
from router.translate.profile import STRICTEST, Profile

PING = {"name": "ping", "description": "", "parameters": {}}
WEATHER = {
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
}
MODERN = Profile(strict_tools=True)


def tool(function: object, **more: object) -> dict[str, object]:
    return {"type": "function", "function": function, **more}


def translated(tools: object, profile: Profile = STRICTEST) -> tuple[object, Notes, Names]:
    names, notes = Names(), Notes(explain=True)
    return translate_tools(tools, profile, names=names, notes=notes), notes, names


def judged(tools: object, profile: Profile = STRICTEST) -> frozenset[str] | None:
    return judge_tools(json.dumps(tools).encode(), profile.strict_tools)


@pytest.mark.parametrize(
    "parameters",
    [
        WEATHER["parameters"],
        {"$schema": "http://json-schema.org/draft-07/schema#", "type": "object", "additionalProperties": False},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"a": {}}, "prefixItems": [{}]},
        {"properties": {"a": {"type": "string", "enum": []}}},
    ],
)
def test_tools_in_openais_form_need_no_change(parameters: object) -> None:
    """tools_dollar_schema, tools_2020_schema, tools_empty_enum."""
    tools = [tool({**WEATHER, "parameters": parameters}), tool(PING)]

    assert judged(tools) == {"get_weather", "ping"}
    again, notes, _ = translated(tools)
    assert again == tools
    assert not notes.repaired


@pytest.mark.parametrize(
    ("tools", "expected", "rules"),
    [
        # tools_strict_true, tools_strict_null, tools_cache_control
        ([tool({**PING, "strict": True})], [tool(PING)], {Rule.R24}),
        ([tool({**PING, "strict": None})], [tool(PING)], {Rule.R24}),
        ([tool({**PING, "strict": False})], [tool(PING)], {Rule.R24}),
        ([tool(PING, cache_control={"type": "ephemeral"}, defer_loading=True)], [tool(PING)], {Rule.R24}),
        ([tool({**PING, "cache_control": {}})], [tool(PING)], {Rule.R24}),
        ([{"function": PING}], [tool(PING)], {Rule.R24}),
        # tools_no_parameters, tools_null_description
        ([tool({"name": "ping"})], [tool(PING)], {Rule.R25}),
        ([tool({"name": "ping", "description": None, "parameters": None})], [tool(PING)], {Rule.R25}),
        ([tool({**PING, "description": ["a"]})], [tool({**PING, "description": '["a"]'})], {Rule.R25}),
        # tools_bad_schema_required_bool, _type_any
        (
            [tool({**PING, "parameters": {"properties": {"a": {"type": "any", "required": True}}}})],
            [tool({**PING, "parameters": {"properties": {"a": {}}, "required": ["a"]}})],
            {Rule.R26},
        ),
        ([tool({**PING, "parameters": []})], [tool({**PING, "parameters": {"type": "object"}})], {Rule.R26}),
        ([tool({**PING, "parameters": '{"a":1}'})], [tool({**PING, "parameters": {"a": 1}})], {Rule.R26}),
        ([tool({**PING, "parameters": "x"})], [tool({**PING, "parameters": {"type": "object"}})], {Rule.R26}),
        # tools_empty, tools_null, tools_web_search, tools_custom
        ([], None, {Rule.R27}),
        (None, None, {Rule.R27}),
        ([{"type": "web_search"}], None, {Rule.R27}),
        ([{"type": "custom", "custom": {"name": "sql"}}, tool(PING)], [tool(PING)], {Rule.R27}),
        ([{"type": "web_search_20250305", "name": "web_search"}, None], None, {Rule.R27}),
        # tools_anthropic_shape, the Model Context Protocol's, and the flat one of the Responses API
        ([{"name": "ping", "description": "", "input_schema": {}}], [tool(PING)], {Rule.R27}),
        ([{"type": "custom", "name": "ping", "description": "", "input_schema": {}}], [tool(PING)], {Rule.R27}),
        ([{"name": "ping", "description": "", "inputSchema": {}}], [tool(PING)], {Rule.R27}),
        ([{"type": "function", **PING, "strict": True}], [tool(PING)], {Rule.R27, Rule.R24}),
    ],
)
def test_tools_take_openais_form(tools: object, expected: object, rules: set[Rule]) -> None:
    better, notes, _ = translated(tools)

    assert better == expected
    assert notes.repaired == rules
    assert judged(tools) is None
    assert expected is None or judged(expected) is not None
    assert better is None or translated(better)[0] == better
    mended = mend_tools(json.dumps(tools).encode(), strict_tools=False)
    assert (None if mended.encoded is None else json.loads(bytes(mended.encoded))) == expected
    assert (mended.repaired, mended.lost) == (notes.repaired, notes.lost)


def test_what_is_lost_is_noted_as_lost() -> None:
    bad = {"properties": {"a": {"type": "any"}}}
    _, notes, _ = translated([{"type": "web_search"}, tool({**PING, "parameters": bad, "strict": None})])

    assert notes.lost == {Rule.R26, Rule.R27}
    assert notes.steps is not None
    assert {step.where for step in notes.steps if step.is_loss} == {"tools.0", "tools.1.function.parameters"}


def test_strict_stays_where_the_backend_understands_it() -> None:
    strict = [tool({**PING, "strict": True})]

    assert judged(strict, MODERN) == {"ping"}
    assert translated(strict, MODERN)[0] == strict
    assert judged([tool({**PING, "strict": None})], MODERN) is None
    assert translated([tool({**PING, "strict": None})], MODERN)[0] == [tool(PING)]


def test_names_become_valid_and_are_kept_for_the_way_back() -> None:
    """tools_name_dots, tools_name_65."""
    long = "n" * 65
    better, notes, names = translated([tool({**PING, "name": name}) for name in ("mcp.fs/read", long, "mcp_fs_read")])

    assert isinstance(better, list)
    sent = [entry["function"]["name"] for entry in better]
    assert sent[2] == "mcp_fs_read"
    assert [names.back.get(name, name) for name in sent] == ["mcp.fs/read", long, "mcp_fs_read"]
    assert judged(better) == set(sent)
    assert notes.repaired == {Rule.R12}


@pytest.mark.parametrize(
    ("tools", "param"),
    [
        ("tools", "tools"),
        ({}, "tools"),
        (["x"], "tools.0"),
        ([tool(PING), 3], "tools.1"),
        ([tool({})], "tools.0.function.name"),
        ([tool({"name": 3})], "tools.0.function.name"),
        ([{"type": "function"}], "tools.0.function"),
        ([tool(None)], "tools.0.function"),
        ([{"name": None}], "tools.0.function.name"),
    ],
)
def test_what_no_backend_could_take_is_refused(tools: object, param: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translated(tools)
    assert (refused.value.param, refused.value.code) == (param, "unsupported_value")
    assert judged(tools) is None
    with pytest.raises(InvalidRequest):
        mend_tools(json.dumps(tools).encode(), strict_tools=False)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=3), st.sampled_from(["function", "custom"])),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(st.sampled_from(["type", "function", "name", "parameters", "input_schema", "x"]), inner),
    ),
    max_leaves=10,
)


@settings(max_examples=200, deadline=None)
@given(st.one_of(JSON, st.lists(JSON, max_size=3)))
def test_any_json_is_repaired_or_refused(tools: object) -> None:
    try:
        better, _, _ = translated(tools)
    except InvalidRequest:
        return
    assert better is None or judged(better) is not None


@pytest.mark.parametrize("raw", [b"", b"[", b'[{"type":"\xff"}]', b"[" * 5_000 + b"]" * 5_000])
def test_bytes_that_are_no_json_are_not_judged_good(raw: bytes) -> None:
    assert judge_tools(raw, strict_tools=False) is None
    with pytest.raises(InvalidRequest):
        mend_tools(raw, strict_tools=False)


def test_a_judgement_is_kept_for_tools_that_come_again() -> None:
    """An agent sends its tools with each request."""
    raw = json.dumps([tool({**WEATHER, "name": f"kept_{number}"}) for number in range(100)]).encode()
    assert judge_tools(raw, strict_tools=False) is judge_tools(bytes(bytearray(raw)), strict_tools=False)
    odd = raw.replace(b'"parameters"', b'"strict": null, "parameters"')
    assert mend_tools(odd, strict_tools=False) is mend_tools(bytes(bytearray(odd)), strict_tools=False)


def test_tools_that_are_too_large_are_not_kept() -> None:
    raw = json.dumps([tool({**PING, "description": "x" * JUDGED_BYTES})]).encode()
    assert judge_tools(raw, strict_tools=False) == {"ping"}
    assert judge_tools(raw, strict_tools=False) is not judge_tools(raw, strict_tools=False)


def test_many_bad_schemas_cost_no_more_than_their_size() -> None:
    """No hostile list of tools holds up the loop."""
    bad = {"properties": {"a": {"type": "any", "pattern": "(?i)[\u0100-\uffff]" * 20}}}
    raw = json.dumps([tool({**PING, "name": f"f{number}", "parameters": bad}) for number in range(1_000)]).encode()
    began = time.process_time()
    mend_tools(raw, strict_tools=False)

    assert time.process_time() - began < 1
