"""The tool calls of one choice of a stream: S2 to S10 and S21, for whatever JSON a backend writes into `tool_calls`.

A call begins with one entry of id, type, name and arguments; all that comes of it later is arguments. Entries that do
not keep to that are put together or taken apart until they do.
"""

from typing import Any

import orjson

from router.translate.mistral.arguments import Arguments
from router.translate.mistral.called import client_name
from router.translate.mistral.fields import CALL_KEYS, FUNCTION_KEYS
from router.translate.mistral.reply import Repairs
from router.translate.notes import Rule

MAX_NAMELESS = 64 * 1024  # characters of arguments that are kept for a call whose name has not come yet

Object = dict[str, Any]


class Call:
    """One call."""

    __slots__ = ("arguments", "id", "index", "is_dropped", "name", "waiting")

    def __init__(self) -> None:
        """Nothing of it has come."""
        self.index = -1  # as the client sees it; below 0: it has not begun
        self.is_dropped = False  # the client does not want it (S21)
        self.id = ""
        self.name = ""  # as the client knows it
        self.arguments = Arguments()
        self.waiting = ""  # arguments that came before the name

    @property
    def is_open(self) -> bool:
        """Return whether the client has seen its beginning."""
        return self.index >= 0

    def begin(self, index: int) -> Object:
        """Return its first entry (S5)."""
        self.index = index
        function = {"name": self.name, "arguments": self.waiting}
        self.waiting = ""
        return {"index": index, "id": self.id, "type": "function", "function": function}


class Calls:
    """The calls of one choice."""

    __slots__ = ("_by_index", "_last", "_open", "_renewed", "_repairs")

    def __init__(self, repairs: Repairs) -> None:
        """No call has come."""
        self._repairs = repairs
        self._by_index: dict[int, Call] = {}  # by the backend's index
        self._last: Call | None = None
        self._open: list[Call] = []  # those that the client sees
        self._renewed = False  # an index of the backend's now means another call than before

    @property
    def has_any(self) -> bool:
        """Return whether the client was told of any call."""
        return bool(self._open)

    @property
    def known(self) -> int:
        """Return how many calls are known, be it that the client sees them or that the backend may mean them."""
        return max(len(self._open), len(self._by_index))

    @property
    def is_untouched(self) -> bool:
        """Return whether nothing has come of any call."""
        return self._last is None and not self._open

    def take_renewed(self) -> bool:
        """Return, once, that an index of the backend's now means another call than before."""
        renewed, self._renewed = self._renewed, False
        return renewed

    def by_index(self, index: int) -> Call | None:
        """Return the call that the backend means by `index`, None if what comes of it is not passed on."""
        call = self._by_index.get(index)
        return call if call is not None and call.is_open else None

    def feed(self, entries: list[Any]) -> list[Object]:
        """Return the entries to send for those of one chunk, one for each call (S8)."""
        if not self._repairs.may_call:
            self._repairs.notes.repair(Rule.S21, "tool_calls")
            return []
        sent: dict[int, Object] = {}
        for entry in entries:
            if isinstance(entry, dict):
                self._take(entry, sent)
            else:
                self._repairs.notes.repair(Rule.S4, "tool_calls")
        return list(sent.values())

    def add(self, name: str, arguments: str) -> Object | None:
        """Return the entry of a call that was found elsewhere (S15), None if it is one too many (S21)."""
        call = Call()
        call.name, call.id = client_name(name, self._repairs.asked), self._repairs.new_id()
        call.waiting = call.arguments.feed(arguments)
        return self._begin(call)

    def unfilled(self) -> list[Object]:
        """Return the entries that give calls without arguments their empty object (S9)."""
        empty = [call for call in self._open if call.arguments.is_empty]
        if empty:
            self._repairs.notes.repair(Rule.S9, "tool_calls")
        return [{"index": call.index, "function": {"arguments": call.arguments.feed("{}")}} for call in empty]

    def _take(self, entry: Object, sent: dict[int, Object]) -> None:
        notes = self._repairs.notes
        function = entry.get("function")
        if not isinstance(function, dict):
            function = {}
        if not (entry.keys() <= CALL_KEYS and function.keys() <= FUNCTION_KEYS):
            notes.repair(Rule.S1, "tool_calls")
        name, id_ = _text(function.get("name")), _text(entry.get("id"))
        call = self._call_of(entry.get("index"), name, id_)
        if call.is_dropped:
            notes.repair(Rule.S21, "tool_calls")
        elif call.is_open:
            self._go_on(call, entry, function, sent)
        else:
            self._begin_with(call, entry, function, sent)

    def _begin_with(self, call: Call, entry: Object, function: Object, sent: dict[int, Object]) -> None:
        call.id = call.id or _text(entry.get("id"))
        call.name = client_name(_text(function.get("name")), self._repairs.asked)
        call.waiting += self._fragment(function, call)
        if not call.name:  # nobody can call it yet
            call.waiting = call.waiting[:MAX_NAMELESS]
            return
        if not call.id:
            call.id = self._repairs.new_id()
            self._repairs.notes.repair(Rule.S3, "tool_calls")
        begun = self._begin(call)
        if begun is not None:
            self._note_beginning(call, entry, function)
            sent[call.index] = begun

    def _begin(self, call: Call) -> Object | None:
        if self._repairs.asked.single_call and self._open:
            self._repairs.notes.repair(Rule.S21, "tool_calls")
            call.is_dropped = True
            return None
        self._open.append(call)
        return call.begin(len(self._open) - 1)

    def _go_on(self, call: Call, entry: Object, function: Object, sent: dict[int, Object]) -> None:
        if "type" in entry:
            self._repairs.notes.repair(Rule.S4, "tool_calls")
        if "id" in entry or "name" in function:
            self._repairs.notes.repair(Rule.S5, "tool_calls")
        if "arguments" not in function:
            return
        fragment = self._fragment(function, call)
        earlier = sent.get(call.index)
        if earlier is not None:
            earlier["function"]["arguments"] += fragment
            self._repairs.notes.repair(Rule.S8, "tool_calls")
        elif fragment or not function["arguments"]:
            sent[call.index] = {"index": call.index, "function": {"arguments": fragment}}

    def _fragment(self, function: Object, call: Call) -> str:
        """Return what the entry adds to the arguments (S7, S10)."""
        value = function.get("arguments", "")
        if isinstance(value, str):
            text = value
        else:
            text = "" if value is None else orjson.dumps(value).decode()
            self._repairs.notes.repair(Rule.S7, "tool_calls")
        kept = call.arguments.feed(text)
        if kept is not text:
            self._repairs.notes.repair(Rule.S10, "tool_calls")
        return kept

    def _call_of(self, index: object, name: str, id_: str) -> Call:
        """Return the call that an entry belongs to (S2): without an index the last one, unless a new one begins."""
        if isinstance(index, int) and not isinstance(index, bool):
            call = self._by_index.get(index)
            if call is None or self._is_other(call, name, id_):
                self._renewed |= call is not None
                call = self._by_index[index] = Call()
        else:
            self._repairs.notes.repair(Rule.S2, "tool_calls")
            call = self._last
            if call is None or self._is_next(call, name, id_):
                call = Call()
        self._last = call
        return call

    @staticmethod
    def _is_other(call: Call, name: str, id_: str) -> bool:
        """Return whether an entry begins another call under the same index, as some write them all under 0."""
        return bool(name and id_) and call.is_open and call.arguments.is_whole and id_ != call.id

    def _is_next(self, call: Call, name: str, id_: str) -> bool:
        """Return whether an entry without an index begins a call."""
        if not name or not call.is_open:
            return False
        if id_:
            return id_ != call.id
        return call.arguments.is_whole or client_name(name, self._repairs.asked) != call.name

    def _note_beginning(self, call: Call, entry: Object, function: Object) -> None:
        notes = self._repairs.notes
        if entry.get("type") != "function":
            notes.repair(Rule.S4, "tool_calls")
        if "arguments" not in function:
            notes.repair(Rule.S5, "tool_calls")
        if function.get("name") != call.name:
            notes.repair(Rule.S6, "tool_calls")
        if entry.get("index") != call.index:
            notes.repair(Rule.S2, "tool_calls")


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""
