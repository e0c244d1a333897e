"""The fast reader: a request that is already as a backend takes it is seen to be so in one pass, and stays its bytes.

`read` decodes what it knows into structs and passes over the text of the messages; `Judge` looks at the outcome. What
either does not know costs a second, slower reading in `request.py`, and is no fault.
"""

from collections.abc import Collection, Iterable, Iterator
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw

from router.translate.mistral import asked_reader, choice, parameters
from router.translate.mistral.calls import is_plain_call
from router.translate.mistral.ids import LENGTH, Ids
from router.translate.mistral.message import (
    QUOTE,
    Assistant,
    Call,
    Function,
    Message,
    System,
    Tool,
    User,
    decode,
    is_silent,
    is_some_text,
)
from router.translate.mistral.order import joins_rows, takes_one_or_other
from router.translate.mistral.pairing import NAMED_RESULTS_VERSION, ids_for
from router.translate.mistral.top import KnownFields, LooseFields
from router.translate.mistral.values import UNREADABLE
from router.translate.profile import Profile

READ = msgspec.json.Decoder(KnownFields)
# What msgspec says of a key that a struct does not have, and of a place below the top level.
UNKNOWN_KEY, DEEPER = "unknown field", " - at `$"
READ_LOOSE = msgspec.json.Decoder(LooseFields)
# The fields that a rule looks at.
CONTINUE, PROMPT = "continue_final_message", "add_generation_prompt"
LOOKED_AT = asked_reader.CONCERNED | choice.CONCERNED | parameters.CONCERNED | {CONTINUE, PROMPT}
LOOKED_AT_IN_ORDER = tuple(sorted(LOOKED_AT & frozenset(KnownFields.__struct_fields__)))


class Shape:
    """What `read` found."""

    __slots__ = ("messages", "model", "stream", "top")

    def __init__(self, top: KnownFields) -> None:
        """`top`: its model is a string or nothing, its `stream` true, false or nothing."""
        self.top = top
        self.messages: list[Message] = [] if top.messages is UNSET else top.messages
        self.model: str | None = top.model if top.model is not UNSET and top.model else None
        self.stream = top.stream is True

    def looked_at(self) -> dict[str, object]:
        """Return those fields that a rule looks at."""
        top = self.top
        found = {}
        for name in LOOKED_AT_IN_ORDER:
            value = getattr(top, name)
            if value is not UNSET:
                found[name] = value
        return found

    def fields(self) -> dict[str, object] | None:
        """Return all fields but the messages, None where some are not known."""
        if isinstance(self.top, LooseFields):
            return None
        fields = {name: value for name, value in msgspec.structs.asdict(self.top).items() if value is not UNSET}
        fields.pop("messages", None)
        return fields


def read(body: bytes) -> Shape | None:
    """Return what stands in a request, None where it is not of the usual shape: then nothing is known of it."""
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError:
            return None
    top: KnownFields
    try:
        top = READ.decode(body)
    except msgspec.ValidationError as error:
        if UNKNOWN_KEY not in str(error) or DEEPER in str(error):
            return None  # it is not the top level: reading it loosely would fail too
        try:
            top = READ_LOOSE.decode(body)
        except UNREADABLE:
            return None
    except UNREADABLE:
        return None
    if not (top.model is UNSET or top.model is None or isinstance(top.model, str)):
        return None
    if not (top.stream is UNSET or top.stream is None or isinstance(top.stream, bool)):
        return None
    return Shape(top)


def is_plain(message: Message, known: Collection[str]) -> bool:
    """Return whether a message's own form is canonical, at a glance; lists of parts never are.

    `known`: names of functions that are valid.
    """
    content = message.content
    if content is UNSET:
        return False
    view = memoryview(content)
    if view[0] != QUOTE:
        return False
    if type(message) is Tool:
        return message.name is UNSET
    if type(message) is Assistant:
        if _has_extras(message):
            return False
        calls = message.tool_calls
        if calls is UNSET:
            return len(view) > len(b'""')
        if not calls:
            return False
        for call in calls:  # noqa: SIM110  # a generator costs more than the rest
            if not is_plain_call(call, known):
                return False
        return True
    assert not isinstance(message, Assistant | Tool)
    if message.name is not UNSET:
        return False
    return type(message) is User or (type(message) is System and len(view) > len(b'""'))


def _has_extras(message: Assistant) -> bool:
    return not (
        message.reasoning
        is message.reasoning_content
        is message.reasoning_details
        is message.function_call
        is message.prefix
        is message.refusal
        is message.annotations
        is message.audio
        is message.provider_specific_fields
        is message.name
        is UNSET
    )


class Order(NamedTuple):
    """What a glance at the order of messages tells, each of which is canonical in itself."""

    is_paired: bool  # each call has a valid id, and its result right behind it; no result is without call
    is_placed: bool  # no message has to move, to go or to be joined
    last: type | None = None


UNPAIRED = Order(is_paired=False, is_placed=False)


class Judge:
    """Looks whether the order of messages is canonical for a profile."""

    __slots__ = ("_bridge", "_free_ids", "_joins", "_one_or_other", "_template", "_wants_names")

    def __init__(self, profile: Profile) -> None:
        """Judge for one profile."""
        self._template = profile.may_be_template
        self._joins = joins_rows(profile)
        self._bridge = profile.bridge
        self._one_or_other = takes_one_or_other(profile)
        self._wants_names = profile.version == NAMED_RESULTS_VERSION
        self._free_ids = None if profile.nine_ids else ids_for(profile)

    def look(self, messages: Iterable[Message]) -> Order:
        """Return what has to be done about the order."""
        turns = iter(messages)
        before: type | None = None
        placed = True
        for message in turns:
            kind: type = type(message)
            if type(message) is Assistant:
                calls = message.tool_calls
                if before is None or before is System:
                    placed = placed and not self._template and (before is System or calls is UNSET)
                elif before is Assistant and self._joins:
                    placed = False
                if calls is UNSET:
                    placed = placed and not is_silent(message)
                elif calls:
                    if not self._is_answered(calls, turns):
                        return UNPAIRED
                    if self._one_or_other and isinstance(message.content, Raw) and is_some_text(message.content):
                        placed = False
                    kind = Tool
            elif kind is User:
                if (before is Tool and self._bridge) or (before is User and self._joins):
                    placed = False
            elif kind is Tool:
                return UNPAIRED
            elif not (before is None or (not self._template and (before is System or before is User))):
                placed = False
            before = kind
        return Order(True, placed, before)

    def _is_answered(self, calls: list[Call], turns: Iterator[Message]) -> bool:
        """Return whether the next messages are the results of calls with valid ids, in their order."""
        if self._wants_names or self._free_ids is not None:
            return self._is_answered_oddly(calls, turns)
        for call in calls:
            ident = call.id
            if not ident or len(ident) != LENGTH or not ident.isalnum() or not ident.isascii():
                return False
        if len(calls) > 1 and len({call.id for call in calls}) < len(calls):
            return False
        for call in calls:
            result = next(turns, None)
            if type(result) is not Tool or result.tool_call_id != call.id or result.name is not UNSET:
                return False
        return True

    def _is_answered_oddly(self, calls: list[Call], turns: Iterator[Message]) -> bool:
        """The same where other ids are taken, or results need the tool's name."""
        taken = self._free_ids or Ids(nine=True, longest=None)
        if not all(call.id and taken.is_taken(call.id) for call in calls) or len({call.id for call in calls}) < len(
            calls
        ):
            return False
        for call in calls:
            result = next(turns, None)
            if type(result) is not Tool or result.tool_call_id != call.id:
                return False
            name: object = decode(result.name) if isinstance(result.name, Raw) else None
            wanted = call.function.name if self._wants_names and isinstance(call.function, Function) else None
            if name != wanted:
                return False
        return True
