"""The fast path of a stream: events that differ from one seen before in a single JSON string, its text, only.

An event that the slow path has translated is taken apart into what stands before its text, the text, and what stands
behind. That the rest of the event does not depend on the text is checked by parsing it with another one in its place.
The next event with the same beginning and end then has the same translation, but for its text:

- content, as long as no leaked call may begin in it (S15) and nothing is held back;
- reasoning, in the field or fields where it is wanted (S17);
- arguments of one call, which are followed to their end (S10).
"""

import re
from collections.abc import Callable
from typing import Any, NamedTuple

import orjson

from router.translate.mistral.delta import Choice
from router.translate.mistral.fields import REASONING_KEYS
from router.translate.mistral.usual_events import around_text, without_nulls
from router.translate.notes import Notes, Rule
from router.wire.sse import event_data

MAX_KNOWN = 8  # patterns of one stream that are kept; it needs one or two at a time

Object = dict[str, Any]
Guard = Callable[[str], str | None]


# One event with a gap for its text; a tuple without names, as it is unpacked for every event:
# prefix   what stands before the text, its opening quote included
# suffix   what stands behind, from its closing quote on
# place    where the text stands, with its quotes
# guard    returns what of the text is passed on, None if the pattern does not fit; None: always all of it
# is_text  the guard looks for leaked calls, most texts need not ask it (see leaked.py)
# pieces   what stands around the text in the event to send; None: that is the same event
Pattern = tuple[bytes, bytes, slice, Guard | None, bool, list[bytes] | None]

_STRING = re.compile(rb'"(?:[^"\\]++|\\.)*+"')
_KEYS = {key: re.compile(rb'"%b"\s*:\s*(?=")' % key.encode()) for key in ("content", "arguments", *REASONING_KEYS)}
_REASONING = frozenset(REASONING_KEYS)
_QUOTE = 0x22
_OTHER = "\x00\x00"  # stands for any text
_OTHER_JSON = orjson.dumps(_OTHER)

_loads = orjson.loads


class _Slot(NamedTuple):
    """Where the text of an event stands."""

    holder: Object
    key: str
    call: int | None  # the call's index, for arguments


class Patterns:
    """What was learned from one stream."""

    __slots__ = ("_all", "_is_on", "_notes")

    def __init__(self, notes: Notes, *, is_on: bool) -> None:
        """`is_on`: anything is learned at all."""
        self._notes = notes
        self._is_on = is_on
        self._all: list[tuple[Choice, Pattern]] = []  # the newest first

    def live(self) -> list[Pattern]:
        """Return the patterns that hold as things stand now: choices that ended or hold something back have none."""
        return [pattern for choice, pattern in self._all if choice.is_calm]

    def forget(self) -> None:
        """What was learned does not hold any more."""
        self._all.clear()

    def learn(self, event: bytes, chunk: Object, choice: Choice, *, main: Object | None) -> None:
        """Learn from the translation of `event`: its parsed `chunk` of one choice became `main`, None: it was left out.

        `main` may be `chunk` itself. Both are as before when this returns.
        """
        if not self._is_on or not choice.is_calm or not event.startswith(b"data:") or event.count(b"\n") != 2:
            return
        slot = _slot_of(chunk, main)
        if slot is None or (slot.key == "content" and not choice.is_text_plain):
            return
        if main is None and slot.key not in REASONING_KEYS:  # a piece that completed a mark: the next one is no such
            return
        guard: Guard | None = _unless_empty
        if slot.call is not None:
            call = choice.calls.by_index(slot.call)
            if call is None:
                return
            guard = call.arguments.feed
        elif slot.key == "content":
            guard = choice.unless_leaking if choice.watches else None
        split = _taken_apart(event, chunk, slot)
        pieces = None if main is chunk else _pieces(slot, main)
        if split is None or pieces == []:
            return
        is_text = slot.key == "content" and guard is not None
        self._keep(choice, *split, guard, pieces, is_text=is_text)

    def learn_text(self, event: bytes, choice: Choice) -> None:
        """Learn from a usual event of text (usual_events.py), of which the client gets all but vLLM's nulls."""
        around = around_text(event)
        if around is None:
            return
        before, behind = around
        cut = [without_nulls(before), without_nulls(behind)]
        guard = choice.unless_leaking if choice.watches else None
        pieces = None if len(cut[0]) + len(cut[1]) == len(before) + len(behind) else cut
        self._keep(choice, before, behind, guard, pieces, is_text=guard is not None)

    def _keep(
        self,
        choice: Choice,
        before: bytes,
        behind: bytes,
        guard: Guard | None,
        pieces: list[bytes] | None,
        *,
        is_text: bool,
    ) -> None:
        place = slice(len(before), -len(behind))
        pattern = (before + b'"', b'"' + behind, place, guard, is_text, pieces)
        self._all = [(choice, pattern), *self._all[: MAX_KNOWN - 1]]

    def apply_to_many(self, block: bytes) -> bytes | None:
        """Return the translation of several events that fit one pattern, None if they do not; `block` itself where
        nothing changes."""
        for prefix, suffix, place, guard, _, pieces in self.live():
            if not (block.startswith(prefix) and block.endswith(suffix)):
                continue
            literals = block[place].split(suffix[1:] + prefix[:-1])
            try:
                texts = [_loads(literal) for literal in literals]
            except orjson.JSONDecodeError:
                return None
            if not all(literal[0] == _QUOTE == literal[-1] for literal in literals):
                return None  # white space around one: a line's end there cuts its event, which is no JSON then
            kept = texts if guard is None else [guard(text) for text in texts]
            if None in kept:
                return None
            outs = []
            for literal, text, passed in zip(literals, texts, kept, strict=True):
                if passed is text:
                    outs.append(prefix[:-1] + literal + suffix[1:] if pieces is None else literal.join(pieces))
                else:
                    outs.append(self.cut(passed, prefix, suffix, pieces))
            return block if pieces is None and kept == texts else b"".join(outs)
        return None

    def cut(self, kept: str, prefix: bytes, suffix: bytes, pieces: list[bytes] | None) -> bytes:
        """Return the event with less of its arguments (S10)."""
        self._notes.repair(Rule.S10, "tool_calls")
        if not kept:
            return b""
        return orjson.dumps(kept).join([prefix[:-1], suffix[1:]] if pieces is None else pieces)


def is_free(pattern: Pattern) -> bool:
    """Return whether any text fits that is not empty and, where calls may leak into it, has no mark."""
    _, _, _, guard, is_text, _ = pattern
    return guard is None or is_text or guard is _unless_empty


def _unless_empty(text: str) -> str | None:
    return text or None


def _slot_of(chunk: Object, main: Object | None) -> _Slot | None:
    """Return where the text of a chunk stands, if all else in it is as constant as it can be."""
    if not all(value is None or isinstance(value, str | int) for key, value in chunk.items() if key != "choices"):
        return None
    (given,) = chunk["choices"]
    if any(value is not None for key, value in given.items() if key not in ("index", "delta")):
        return None
    said = {key: value for key, value in (given.get("delta") or {}).items() if value is not None}
    if main is not None and "role" not in main["choices"][0]["delta"]:
        said.pop("role", None)
    if len(said) != 1:
        return None
    ((key, value),) = said.items()
    if key == "tool_calls":
        return _arguments_slot(value)
    return _Slot(given["delta"], key, None) if key in _KEYS and value and isinstance(value, str) else None


def _arguments_slot(entries: object) -> _Slot | None:
    if not isinstance(entries, list) or len(entries) != 1 or not isinstance(entries[0], dict):
        return None
    entry = entries[0]
    function = entry.get("function")
    if type(entry.get("index")) is not int or not isinstance(function, dict) or function.get("name"):
        return None
    values = [*entry.values(), *function.values()]
    if not all(value is function or value is None or isinstance(value, str | int) for value in values):
        return None
    text = function.get("arguments")
    return _Slot(function, "arguments", entry["index"]) if text and isinstance(text, str) else None


def _taken_apart(event: bytes, chunk: Object, slot: _Slot) -> tuple[bytes, bytes] | None:
    """Return what stands before and behind the text with its quotation marks, if the rest of the event is always the
    same."""
    places = list(_KEYS[slot.key].finditer(event))
    if len(places) != 1 or (literal := _STRING.match(event, places[0].end())) is None:
        return None
    before, behind = event[: literal.start()], event[literal.end() :]
    text = slot.holder[slot.key]
    slot.holder[slot.key] = _OTHER
    try:
        is_same = _loads(event_data(before + _OTHER_JSON + behind) or b"") == chunk
    except orjson.JSONDecodeError:
        is_same = False
    slot.holder[slot.key] = text
    return (before, behind) if is_same else None


def _pieces(slot: _Slot, main: Object | None) -> list[bytes]:
    """Return what stands around the text in the event to send: as many pieces as times that it is said, and one. None
    at all if more is said in it than the text, as what was held back before."""
    if main is None:
        return [b""]
    (choice,) = main["choices"]
    delta = choice["delta"]
    text = slot.holder[slot.key]
    if slot.call is not None:
        if delta.keys() != {"tool_calls"}:
            return []
        function = delta["tool_calls"][0]["function"]
        other = {**delta["tool_calls"][0], "function": {**function, "arguments": _OTHER}}
        said, wanted = [function["arguments"]], {**delta, "tool_calls": [other]}
    else:
        told = {key: value for key, value in delta.items() if value is not None}
        if not told.keys() <= (_REASONING if slot.key in _REASONING else {slot.key}):
            return []
        said, wanted = list(told.values()), {**delta, **dict.fromkeys(told, _OTHER)}
    out = orjson.dumps({**main, "choices": [{**choice, "delta": wanted}]})
    pieces = (b"data: " + out + b"\n\n").split(_OTHER_JSON)
    return pieces if len(pieces) == len(said) + 1 and all(one == text for one in said) else []
