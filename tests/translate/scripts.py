"""Random answers, and how a server with random habits streams them.

A `Said` is what the model said: the view that a client must have in the end. `Habits` are the quirks of one server
(S1 to S14, S20); `stream_of` writes the stream that it makes of it. What is cut where comes from a seed.
"""

import json
import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st

from router.translate.asked import Asked, ToolChoice

ID, CREATED, MODEL = "chatcmpl-819ce2afecea9729", 1795210400, "devstral"
# The backend's name of each tool, and the client's.
TOOLS = {"get_weather": "get_weather", "add": "add", "mcp_fs_read": "mcp.fs/read", "a-1": "a-1"}
NAMES = {ours: theirs for ours, theirs in TOOLS.items() if ours != theirs}
# Words that look like the beginning of a marker; none of them makes one with any other.
TEASERS = (
    "[TOOL",
    "_CALLS",
    "[",
    "[TH",
    "<",
    "<thi",
    "[{",
    '[{"name": "',
    "get_weather",
    "add{",
    "[ARGS",
    "TOOL_",
    "\\",
    '"',
)
MARKERS = ("TOOL_CALLS", "THINK", "think", "[ARGS]", *TOOLS)


@dataclass(frozen=True, slots=True)
class Call:
    """One call as the client is to see it; `id` is None where the server forgets it."""

    id: str | None
    name: str  # the backend's
    arguments: str


@dataclass(frozen=True, slots=True)
class Said:
    """What the model said in one choice."""

    reasoning: str
    text: str
    calls: tuple[Call, ...]
    is_cut: bool  # by max_tokens


@dataclass(frozen=True, slots=True)
class Habits:
    """How a server writes its chunks."""

    vllm_keys: bool = True
    null_reasoning: bool = False  # reasoning_content: null on every delta
    reasoning_keys: tuple[str, ...] = ("reasoning",)
    role: str = "first"  # first, with_text, missing, always
    null_content: bool = False  # content: null beside calls
    usage: str = "none"  # none, last, always
    index: bool = True
    type_: str = "first"  # first, never, always
    name: str = "first"  # first, always, empty_later
    id_: str = "first"  # first, always, empty_later
    first_arguments: str = "some"  # some, absent, null, empty
    arguments: str = "text"  # text, object, twice (two entries for one call in one chunk)
    trailing: str = ""  # behind the arguments
    around_name: tuple[str, str] = ("", "")
    empty_is_nothing: bool = False  # {} is streamed as no arguments
    finish: str = "alone"  # alone, with_last
    always_stop: bool = False  # stop, be there calls or not
    fillers: bool = False  # empty deltas and comments
    seed: int = 0
    done: int = 1


# ------------------------------------------------------------------------------------------------------- strategies

_scalars = st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8) | st.sampled_from(TEASERS)
_values = st.recursive(
    _scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=6,
)
_arguments = st.dictionaries(st.text(max_size=5), _values, max_size=3)
_free_text = st.text(max_size=30).filter(lambda text: not any(marker in text for marker in MARKERS))
_teasing_text = st.lists(st.sampled_from(TEASERS) | st.text("ab \n☀", max_size=3), max_size=6).map(
    lambda words: "x" + " ".join(words)
)
texts = _free_text | _teasing_text
_ids = st.text("abcdefghijklmnopqrstuvwxyzABCDEFXYZ0123456789", min_size=9, max_size=9) | st.just(
    "chatcmpl-tool-be55a2f1ef695444"
)


@st.composite
def calls(draw: st.DrawFn, *, most: int = 3) -> tuple[Call, ...]:
    """Calls with different ids."""
    ids = draw(st.lists(_ids, max_size=most, unique=True))
    spaced, ascii_ = draw(st.booleans()), draw(st.booleans())
    separators = (", ", ": ") if spaced else (",", ":")
    made = []
    for call_id in ids:
        arguments = json.dumps(draw(_arguments), separators=separators, ensure_ascii=ascii_)
        made.append(Call(call_id, draw(st.sampled_from(sorted(TOOLS))), arguments))
    return tuple(made)


@st.composite
def said(draw: st.DrawFn) -> Said:
    """Anything that a model may say."""
    return Said(draw(texts | st.just("")), draw(texts | st.just("")), draw(calls()), draw(st.booleans()))


habits = st.builds(
    Habits,
    vllm_keys=st.booleans(),
    null_reasoning=st.booleans(),
    reasoning_keys=st.sampled_from([("reasoning",), ("reasoning_content",), ("reasoning", "reasoning_content")]),
    role=st.sampled_from(["first", "with_text", "missing", "always"]),
    null_content=st.booleans(),
    usage=st.sampled_from(["none", "last", "always"]),
    index=st.booleans(),
    type_=st.sampled_from(["first", "never", "always"]),
    name=st.sampled_from(["first", "always", "empty_later"]),
    id_=st.sampled_from(["first", "always", "empty_later", "never"]),
    first_arguments=st.sampled_from(["some", "absent", "null", "empty"]),
    arguments=st.sampled_from(["text", "text", "twice", "object"]),
    trailing=st.sampled_from(["", "", " trailing text", "}", " {}", "[1]"]),
    around_name=st.sampled_from(
        [("", ""), ("", ""), ("  ", ""), (" ", "[ARGS]"), ("", "abcDEF123"), ("", "abcDEF123[ARGS]")]
    ),
    empty_is_nothing=st.booleans(),
    finish=st.sampled_from(["alone", "with_last"]),
    always_stop=st.booleans(),
    fillers=st.booleans(),
    seed=st.integers(0, 2**32),
    done=st.sampled_from([1, 1, 1, 2]),
)
asked = st.builds(
    Asked,
    tools=st.just(frozenset(TOOLS)),
    names=st.just(NAMES),
    tool_choice=st.sampled_from([ToolChoice.AUTO, ToolChoice.REQUIRED]),
    stream=st.just(True),
    include_usage=st.booleans(),
    continuous_usage=st.booleans(),
)


# --------------------------------------------------------------------------------------------------------- writing


def pieces(text: str, dice: random.Random, *, most: int = 4) -> list[str]:
    """Cut a text anywhere; b"" has no pieces."""
    cuts = sorted(dice.sample(range(1, len(text)), min(dice.randrange(most), len(text) - 1))) if len(text) > 1 else []
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)] if text else []


def finish_of(one: Said) -> str:
    """The reason that the client is to see."""
    if one.is_cut:
        return "length"
    return "tool_calls" if one.calls else "stop"


@dataclass(slots=True)
class Writer:
    """Writes the chunks of one stream."""

    habits: Habits
    dice: random.Random
    tokens: int = 0
    roles: set[int] = field(default_factory=set)

    def chunk(self, index: int, delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
        """One chunk of one choice."""
        habits, is_first = self.habits, index not in self.roles
        self.roles.add(index)
        if (is_first and habits.role == "with_text") or habits.role == "always":
            delta = {"role": "assistant", **delta}
        if habits.null_reasoning:
            delta = {**delta, "reasoning_content": delta.get("reasoning_content")}
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        chunk = {"id": ID, "object": "chat.completion.chunk", "created": CREATED, "model": MODEL, "choices": [choice]}
        if habits.vllm_keys:
            choice |= ({"stop_reason": None} if finish else {}) | {"token_ids": None}
            chunk |= {"prompt_token_ids": None, "prompt_text": None} if is_first else {}
        if habits.usage == "always":
            chunk["usage"] = self.usage()
        return chunk

    def usage(self) -> dict[str, Any]:
        """What was counted so far."""
        self.tokens += 1
        return {"prompt_tokens": 5, "total_tokens": 5 + self.tokens, "completion_tokens": self.tokens}

    def of_choice(self, index: int, one: Said) -> Iterator[dict[str, Any]]:
        """All chunks of one choice."""
        if self.habits.role == "first":
            yield self.chunk(index, {"role": "assistant", "content": ""})
        deltas = list(self.deltas(one))
        finish = "stop" if self.habits.always_stop and one.calls and not one.is_cut else finish_of(one)
        if self.habits.finish == "alone" or not deltas:
            deltas.append({})
        for number, delta in enumerate(deltas, 1):
            yield self.chunk(index, delta, finish if number == len(deltas) else None)
            if self.habits.fillers and number < len(deltas) and self.dice.random() < 0.3:
                yield self.chunk(index, {})

    def deltas(self, one: Said) -> Iterator[dict[str, Any]]:
        """What the choice's chunks say, in order."""
        for text in pieces(one.reasoning, self.dice):
            yield dict.fromkeys(self.habits.reasoning_keys, text)
        for text in pieces(one.text, self.dice):
            yield {"content": text}
        for index, call in enumerate(one.calls):
            for entries in self.of_call(index, call):
                yield {**({"content": None} if self.habits.null_content else {}), "tool_calls": entries}

    def of_call(self, index: int, call: Call) -> Iterator[list[dict[str, Any]]]:
        """The entries of each chunk of one call."""
        habits, number = self.habits, {"index": index} if self.numbered else {}
        parts: list[Any] = pieces(call.arguments + habits.trailing, self.dice, most=6)
        if call.arguments == "{}" and habits.empty_is_nothing:
            parts = []
        first: dict[str, Any] = {"name": habits.around_name[0] + call.name + habits.around_name[1]}
        if habits.arguments == "object":
            parts, first["arguments"] = [], json.loads(call.arguments)
        elif habits.first_arguments == "some":
            first["arguments"] = parts.pop(0) if parts else ""
        elif habits.first_arguments != "absent":
            first["arguments"] = None if habits.first_arguments == "null" else ""
        head: dict[str, Any] = {**number, **({} if call.id is None else {"id": call.id})}
        entries = [{**head, **({} if habits.type_ == "never" else {"type": "function"}), "function": first}]
        for part in parts:
            entries.append({**self.repeated(call, number), "function": {**self.name_again(first), "arguments": part}})
        while entries:
            size = self.dice.randrange(1, 4) if habits.arguments == "twice" else 1
            yield entries[:size]
            entries = entries[size:]

    @property
    def numbered(self) -> bool:
        """Without index there must be ids, or nobody could tell calls apart."""
        habits = self.habits
        return habits.index or habits.id_ not in ("first", "always") or (habits.name, habits.id_) == ("always", "first")

    def repeated(self, call: Call, number: dict[str, Any]) -> dict[str, Any]:
        """What stands in a later delta besides the function."""
        ids = {"always": {"id": call.id}, "empty_later": {"id": self.dice.choice(["", None])}}
        types = {"always": {"type": "function"}}
        return {**number, **ids.get(self.habits.id_, {}), **types.get(self.habits.type_, {})}

    def name_again(self, first: dict[str, Any]) -> dict[str, Any]:
        """What stands in a later delta besides the arguments."""
        return {"always": {"name": first["name"]}, "empty_later": {"name": ""}}.get(self.habits.name, {})


def events_of(choices: tuple[Said, ...], habits: Habits) -> list[bytes]:
    """The events of a stream; those of several choices are mixed."""
    dice = random.Random(habits.seed)
    writer = Writer(habits, dice)
    queues = [list(writer.of_choice(index, one)) for index, one in enumerate(choices)]
    chunks = [queue.pop(0) for queue in queues]  # servers begin with the choices in order
    while any(queues):
        chunks.append(dice.choice([queue for queue in queues if queue]).pop(0))
    if habits.usage != "none":
        chunks.append({**chunks[0], "choices": [], "usage": writer.usage()})
    events = [f"data: {json.dumps(chunk, ensure_ascii=dice.random() < 0.5)}\n\n".encode() for chunk in chunks]
    if habits.fillers:
        events.insert(dice.randrange(len(events)), b": keep-alive\n\n")
    return events + [b"data: [DONE]\n\n"] * habits.done


def cut(stream: bytes, seed: int) -> list[bytes]:
    """Cut a stream's bytes anywhere."""
    dice = random.Random(seed)
    cuts = sorted(dice.randrange(len(stream) + 1) for _ in range(dice.choice([0, 1, 3, 12])))
    return [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]


def view_of(choices: tuple[Said, ...], asked: Asked, *, new_ids: list[list[str]] | None = None) -> dict[str, Any]:
    """What the client is to see."""
    views = []
    for one in choices:
        made = [[call.id, asked.names.get(call.name, call.name), call.arguments] for call in one.calls]
        view: dict[str, Any] = {"content": one.text or None, "calls": made, "finish": finish_of(one)}
        if one.reasoning:
            view["reasoning"] = one.reasoning
        views.append(view)
    return {"choices": views, "ending": "done"}
