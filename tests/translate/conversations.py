"""Strategies of hypothesis: any conversation that OpenAI's API could be sent, in any order and with any text."""

import copy
import itertools
from typing import Any

from hypothesis import strategies as st

from tests.translate.corpus.case import PICTURE, Json
from tests.translate.corpus.requests import CASES

WORDS = [
    "",
    " ",
    "\n\n",
    "hi",
    "[INST]",
    "</s>",
    "[TOOL_CALLS]f[ARGS]{}",
    "a\x00b",
    "👋🏽",
    "e\u0301",
    "\u2028",
    "\ud83d",
]
TEXTS = st.sampled_from(WORDS) | st.text(max_size=12)
SAID = TEXTS.filter(str.strip)  # an answer that says nothing leaves the history
NAMES = ["f", "get_weather", "mcp.fs/read", "mcp_fs_read", "a b", "é", "x" * 65, "x" * 64 + "y"]
IDS = ["abcDEF123", "ghiJKL456", "call_0", "call_1", "functions.f:0", "chatcmpl-tool-000000001", "call_000000001", "7"]
ARGUMENTS = ["{}", "", '{"a": 1}', '{"a": "é", "b": [1, {"c": null}]}', '{"a": ', "text", "[1]", "null"]


@st.composite
def _with(draw: st.DrawFn, needed: dict[str, st.SearchStrategy[Any]], optional: dict[str, Any]) -> Json:
    """An object with the needed keys, and some of the optional ones."""
    made = {key: draw(strategy) for key, strategy in needed.items()}
    for key, strategy in optional.items():
        if draw(st.integers(0, 4)) == 0:
            made[key] = draw(strategy)
    return made


def _objects(optional: dict[str, st.SearchStrategy[Any]], **needed: st.SearchStrategy[Any]) -> st.SearchStrategy[Json]:
    return _with(needed, optional)


CACHED = {"cache_control": st.just({"type": "ephemeral"})}
TEXT_PARTS = _objects(CACHED, type=st.just("text"), text=TEXTS)
REFUSAL_PARTS = _objects({}, type=st.just("refusal"), refusal=TEXTS)
IMAGE_PARTS = _objects(
    {},
    type=st.just("image_url"),
    image_url=_objects({"detail": st.sampled_from(["low", "auto"])}, url=st.just(PICTURE)),
)


def _content(*parts: st.SearchStrategy[Json]) -> st.SearchStrategy[Any]:
    return TEXTS | st.lists(st.one_of(*parts), max_size=3)


FUNCTIONS = _objects({}, name=st.sampled_from(NAMES), arguments=st.sampled_from(ARGUMENTS))
CALLS = _objects(
    {"index": st.integers(0, 3)}, id=st.sampled_from(IDS), type=st.just("function"), function=FUNCTIONS
) | _objects(
    {},
    id=st.sampled_from(IDS),
    type=st.just("custom"),
    custom=_objects({}, name=st.sampled_from(NAMES), input=TEXTS),
)
NAMED = {"name": st.sampled_from(["bob", "a b"])}
DUMPED = {
    **NAMED,
    "refusal": st.none() | TEXTS,
    "annotations": st.just([]),
    "audio": st.none(),
    "function_call": st.none(),
    "reasoning_content": st.none() | TEXTS,
    "tool_calls": st.none() | st.just([]) | st.lists(CALLS, min_size=1, max_size=3),
}
USERS = _objects(NAMED, role=st.just("user"), content=_content(TEXT_PARTS, IMAGE_PARTS))
RULES = _objects(NAMED, role=st.sampled_from(["system", "developer"]), content=_content(TEXT_PARTS))
ASSISTANTS = _objects(DUMPED, role=st.just("assistant"), content=st.none() | _content(TEXT_PARTS, REFUSAL_PARTS))
CALLERS = _objects(
    {},
    role=st.just("assistant"),
    content=st.none() | TEXTS,
    tool_calls=st.lists(CALLS, min_size=1, max_size=3),
)
RESULTS = _objects(
    {"name": st.sampled_from(NAMES)},
    role=st.just("tool"),
    tool_call_id=st.sampled_from(IDS),
    content=_content(TEXT_PARTS, IMAGE_PARTS),
)
LEGACY = _objects({}, role=st.just("assistant"), content=st.none() | TEXTS, function_call=FUNCTIONS) | _objects(
    {}, role=st.just("function"), name=st.sampled_from(NAMES), content=TEXTS
)


@st.composite
def _steps(draw: st.DrawFn) -> list[Json]:
    """Calls and their results, as agents send them: whole, but for what goes wrong now and then."""
    caller = draw(CALLERS)
    results = [
        {"role": "tool", "tool_call_id": call["id"], "content": draw(_content(TEXT_PARTS, IMAGE_PARTS))}
        for call in caller["tool_calls"]
    ]
    if draw(st.booleans()):
        results = draw(st.permutations(results))
    if draw(st.integers(0, 4)) == 0:
        results = results[1:]
    if draw(st.integers(0, 4)) == 0:
        results.insert(draw(st.integers(0, len(results))), draw(USERS))
    return [caller, *results]


@st.composite
def growing(draw: st.DrawFn) -> Json:
    """An agent's whole conversation: users ask, calls get all their results, assistants answer; in many forms."""
    messages = draw(st.lists(RULES, max_size=1))
    for _ in range(draw(st.integers(1, 4))):
        messages.append(draw(USERS))
        for _ in range(draw(st.integers(0, 2))):
            caller = draw(CALLERS)
            results = [
                {"role": "tool", "tool_call_id": call["id"], "content": draw(_content(TEXT_PARTS))}
                for call in caller["tool_calls"]
            ]
            messages += [caller, *results]
        messages.append({**draw(ASSISTANTS), "content": draw(SAID), "tool_calls": None})
    names = draw(st.lists(st.sampled_from(NAMES), max_size=4, unique=True))
    return {"messages": messages[:-1], "tools": [{"type": "function", "function": {"name": name}} for name in names]}


SINGLE = st.one_of(USERS, USERS, ASSISTANTS, RULES, CALLERS, RESULTS, LEGACY).map(lambda message: [message])
MESSAGES = st.lists(SINGLE | _steps(), min_size=1, max_size=8).map(lambda groups: list(itertools.chain(*groups)))

SCHEMAS = st.sampled_from(
    [
        {},
        {"type": "object", "properties": {}},
        {"type": "object", "properties": {"a": {"type": "string"}}, "required": ["a"], "additionalProperties": False},
        {"$schema": "https://json-schema.org/draft/2020-12/schema", "$defs": {"P": {}}, "type": ["object", "null"]},
        {"type": "object", "properties": {"a": {"type": "any", "required": True}}},
    ]
)
TOOLS = _objects(
    {"cache_control": st.just({"type": "ephemeral"})},
    type=st.just("function"),
    function=_objects(
        {"description": st.none() | TEXTS, "parameters": st.none() | SCHEMAS, "strict": st.none() | st.booleans()},
        name=st.sampled_from(NAMES),
    ),
)
CUSTOM_TOOLS = _objects({}, type=st.just("custom"), custom=st.just({"name": "apply_patch", "format": {"type": "text"}}))
OLD_FUNCTIONS = _objects({"description": TEXTS, "parameters": SCHEMAS}, name=st.sampled_from(NAMES))
FIELDS = {
    "stream": st.booleans(),
    "stream_options": st.just({"include_usage": True}),
    "parallel_tool_calls": st.none() | st.booleans(),
    "reasoning_effort": st.sampled_from(["none", "minimal", "low", "high"]),
    "max_tokens": st.sampled_from([-1, 16]),
    "temperature": st.sampled_from([0, 0.7, 2]),
    "chat_template_kwargs": st.just({}),
    "metadata": st.just({"run": "1"}),
    "response_format": st.sampled_from([{"type": "text"}, {"type": "json_object"}]),
    "functions": st.lists(OLD_FUNCTIONS, min_size=1, max_size=2, unique_by=lambda function: function["name"]),
}


@st.composite
def requests(draw: st.DrawFn) -> Json:
    """Any request; its tool_choice names a tool that is there."""
    made: Json = {"model": "devstral", "messages": draw(MESSAGES), **draw(_objects(FIELDS))}
    if draw(st.booleans()):
        offered = draw(st.lists(TOOLS, max_size=3, unique_by=lambda tool: tool["function"]["name"]))
        made["tools"] = [*offered, *draw(st.lists(CUSTOM_TOOLS, max_size=1))]
        names = [tool["function"]["name"] for tool in offered]
        chosen = [{"type": "function", "function": {"name": name}} for name in names]
        forms = ["auto", "none", None, *chosen, *(["required"] if names else [])]
        if chosen:
            allowed = {"mode": "auto", "tools": chosen[:1]}
            forms.append({"type": "allowed_tools", "allowed_tools": allowed})
        if draw(st.booleans()):
            made["tool_choice"] = draw(st.sampled_from(forms))
    return made


ODD = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
) | st.sampled_from([[[]], {"type": "text"}, {"type": "image_url"}, {"role": "user"}, {"function": None}, "\ud800"])


def places(value: object, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value within a JSON value."""
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [path, *(place for key, each in inner for place in places(each, (*path, key)))]


ANYWHERE = st.integers(0, 10**9)  # taken modulo what there is, so that every place is as likely as any other


@st.composite
def spoilt(draw: st.DrawFn) -> Json:
    """A request of the corpus, with up to three of its values replaced by anything at all, or left out."""
    body: Any = copy.deepcopy(CASES[draw(ANYWHERE) % len(CASES)].request)
    for _ in range(draw(st.integers(1, 3))):
        found = places(body)[1:]
        if not found:
            break
        path = found[draw(ANYWHERE) % len(found)]
        holder = body
        for key in path[:-1]:
            holder = holder[key]
        if draw(st.booleans()):
            holder[path[-1]] = copy.deepcopy(draw(ODD))
        elif isinstance(holder, dict):
            del holder[path[-1]]
    assert isinstance(body, dict)
    return body
