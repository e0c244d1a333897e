"""Calls and their results: who answers whom, in whatever order they came (R3, R12, R17 to R20).

An id may come again in every turn of a conversation: the latest call of that id is meant.
"""

from collections import deque
from dataclasses import dataclass, field
from typing import Any

from msgspec import UNSET, Raw

from router.translate.mistral.ids import Ids
from router.translate.mistral.message import (
    EMPTY,
    Assistant,
    Call,
    Tool,
    Turn,
    User,
    as_parts,
    decode,
    encoded,
    is_text,
    joined,
)
from router.translate.mistral.parts import text_or_none
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

NOT_EXECUTED = Raw(b'"Tool call was not executed."')
NAMED_RESULTS_VERSION = 2  # the only tokenizer that wants the tool's name in its result (R12)
SHORT_ID = 9  # vLLM cuts longer ids to their last nine characters before mistral-common sees them


def ids_for(profile: Profile) -> Ids:
    """Return the ids that a backend takes (R3)."""
    return Ids(nine=profile.nine_ids, longest=SHORT_ID if profile.may_be_mistral_common else None)


@dataclass(slots=True)
class _Block:
    """The calls of one message."""

    index: int  # among the turns
    calls: list[Call]
    answers: list[list[Turn]]
    last: int = -1  # the call that was answered last
    unanswered: dict[str | None, deque[int]] | None = None  # by name, None: all; filled when first needed


@dataclass(slots=True)
class _Named:
    """The calls of one id in one message; their results are given to them in order."""

    block: _Block
    places: list[int] = field(default_factory=list)
    given: int = 0


class Pairing:
    """Puts the results of a conversation behind their calls."""

    __slots__ = ("_blocks", "_ids", "_latest", "_notes", "_unknown", "_wants_names")

    def __init__(self, profile: Profile, notes: Notes) -> None:
        """Nothing is read yet."""
        self._notes = notes
        self._ids = ids_for(profile)
        self._wants_names = profile.version == NAMED_RESULTS_VERSION
        self._blocks: dict[int, _Block] = {}  # by the number of their turn
        self._latest: dict[str, _Named] = {}  # by the client's id
        self._unknown: set[int] = set()  # numbers of turns: results without call (R20)

    def paired(self, turns: list[Turn]) -> list[Turn]:
        """Return the turns with each call's one result right behind it, in the order of the calls."""
        self._read(turns)
        found: list[Turn] = []
        for index, turn in enumerate(turns):
            if type(turn.message) is not Tool:
                block = self._blocks.get(index)
                if block is None:
                    found.append(turn)
                else:
                    self._emit(turn, block, found)
            elif index in self._unknown:
                found.append(self._told(turn, turn.message))
        return found

    def _read(self, turns: list[Turn]) -> None:
        """Find the call of every result: by its id, or, where it has none, by its name or place."""
        block: _Block | None = None
        nameless: list[tuple[int, Turn, Tool, _Block, int]] = []
        spoken = -1  # the last turn that is no result
        for index, turn in enumerate(turns):
            message = turn.message
            if type(message) is Tool:
                named = self._latest.get(message.tool_call_id) if message.tool_call_id else None
                if named is not None:
                    place = named.places[min(named.given, len(named.places) - 1)]
                    named.given += 1
                    self._answer(named.block, place, turn, is_late=spoken != named.block.index)
                elif message.tool_call_id or block is None:
                    self._unknown.add(index)
                else:
                    nameless.append((index, turn, message, block, spoken))
                continue
            spoken = index
            if type(message) is Assistant and message.tool_calls:
                block = self._blocks[index] = _Block(index, message.tool_calls, [[] for _ in message.tool_calls])
                self._name(block)
        for index, turn, message, asked, before in nameless:
            free = self._free(asked, message)
            if free is None:
                self._unknown.add(index)
            else:
                self._notes.repair(Rule.R3, "messages", turn.origin, "tool_call_id")
                self._answer(asked, free, turn, is_late=before != asked.index)

    def _name(self, block: _Block) -> None:
        for place, call in enumerate(block.calls):
            if call.id:
                named = self._latest.get(call.id)
                if named is None or named.block is not block:
                    named = self._latest[call.id] = _Named(block)
                named.places.append(place)

    def _answer(self, block: _Block, place: int, turn: Turn, *, is_late: bool) -> None:
        """R19: a result that stood behind something else moves up; a user's note in between changes its place."""
        if is_late:
            self._notes.lose(Rule.R19, "messages", turn.origin)
        elif place < block.last:
            self._notes.repair(Rule.R19, "messages", turn.origin)
        block.last = max(block.last, place)
        block.answers[place].append(turn)

    def _free(self, block: _Block, message: Tool) -> int | None:
        """Return a call that nothing has answered, of the result's name if there is one; None where all are."""
        if block.unanswered is None:
            block.unanswered = {None: deque()}
            for place, call in enumerate(block.calls):
                for key in (None, call.function.name):
                    block.unanswered.setdefault(key, deque()).append(place)
        name = text_or_none(decode(message.name)) if isinstance(message.name, Raw) else None
        for key in (name, None):
            places = block.unanswered.get(key)
            while places:
                place = places.popleft()
                if not block.answers[place]:
                    return place
        return None

    def _emit(self, turn: Turn, block: _Block, found: list[Turn]) -> None:
        """Append a message with calls and its results, with ids that the backend takes (R3)."""
        message = turn.message
        assert type(message) is Assistant
        own = [call.id for call in block.calls]
        given = self._ids.of_block(own)
        if given != own:
            self._notes.repair(Rule.R3, "messages", turn.origin, "tool_calls")
            calls = [Call(ident, "function", call.function) for ident, call in zip(given, block.calls, strict=True)]
            message = Assistant(message.content, calls, message.reasoning)
            turn = Turn(message, turn.origin, made=turn.made)
        found.append(turn)
        media: list[Any] = []
        for ident, call, answers in zip(given, block.calls, block.answers, strict=True):
            result = self._result(ident, call, answers, turn.origin)
            media += result.media or ()
            found.append(result)
        if media:
            found.append(Turn(User(encoded(media)), turn.origin, made=True))

    def _result(self, ident: str, call: Call, answers: list[Turn], origin: int) -> Turn:
        """R17: a call without a result gets one. R18: a second one is joined to the first. R12: names are left out."""
        name: Any = UNSET
        if self._wants_names:
            name = encoded(call.function.name)
        if not answers:
            self._notes.repair(Rule.R17, "messages", origin, "tool_calls")
            return Turn(Tool(NOT_EXECUTED, ident, name), origin, made=True)
        first = answers[0]
        message = first.message
        assert type(message) is Tool
        if len(answers) > 1:
            self._notes.repair(Rule.R18, "messages", answers[1].origin)
            contents = [answer.message.content for answer in answers]
            media = [part for answer in answers for part in answer.media or ()]
            whole = joined([content for content in contents if isinstance(content, Raw)])
            return Turn(Tool(whole, ident, name), first.origin, media or None)
        if message.name != name:
            self._notes.repair(Rule.R12, "messages", first.origin, "name")
        elif message.tool_call_id == ident:
            return first
        return Turn(Tool(message.content, ident, name), first.origin, first.media)

    def _told(self, turn: Turn, message: Tool) -> Turn:
        """R20: a result without call is told by the user."""
        self._notes.lose(Rule.R20, "messages", turn.origin)
        name = text_or_none(decode(message.name)) if isinstance(message.name, Raw) else None
        which = name or message.tool_call_id
        head = f"[result of tool {which}]\n" if which else "[result of a tool]\n"
        content = message.content if isinstance(message.content, Raw) else EMPTY
        if is_text(content) and not turn.media:
            return Turn(User(Raw(bytes(encoded(head))[:-1] + bytes(content)[1:])), turn.origin, made=True)
        parts = [*as_parts(content), *(turn.media or ())]
        if parts[0]["type"] == "text":
            parts[0] = {"type": "text", "text": head + parts[0]["text"]}
        else:
            parts.insert(0, {"type": "text", "text": head})
        return Turn(User(encoded(parts)), turn.origin, made=True)
