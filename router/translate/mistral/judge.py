"""Whether messages are canonical: each in itself, and all in their order. Nothing is changed here.

`is_plain` and `Judge.look` tell; `past_steps` tells the same of most messages of a long conversation, and quicker.
"""

from collections.abc import Collection, Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple

from msgspec import UNSET, Raw

from router.translate.mistral.calls import is_plain_call
from router.translate.mistral.ids import LENGTH, Ids
from router.translate.mistral.message import (
    EMPTY_STRING,
    QUOTE,
    Assistant,
    Call,
    Message,
    System,
    Tool,
    User,
    decode,
    first_byte,
    first_two,
    is_silent,
    is_some_text,
)
from router.translate.mistral.names import is_valid_name
from router.translate.mistral.order import joins_rows, takes_one_or_other
from router.translate.mistral.pairing import NAMED_RESULTS_VERSION, ids_for
from router.translate.profile import Profile

KNOWN_PROFILES = 64  # judges kept: a cluster has a few profiles


def is_plain(message: Message, known: Collection[str]) -> bool:
    """Return whether a message's own form is canonical, at a glance; lists of parts never are.

    `known`: names of functions that are valid.
    """
    content = message.content
    if content is UNSET:
        return False
    if first_byte(content) != QUOTE:
        return False
    if type(message) is Tool:
        return message.name is UNSET
    if type(message) is Assistant:
        if has_extras(message):
            return False
        calls = message.tool_calls
        if calls is UNSET:
            return first_two(content) != EMPTY_STRING
        if not calls:
            return False
        for call in calls:  # noqa: SIM110  # a generator costs more than the rest
            if not is_plain_call(call, known):
                return False
        return True
    assert not isinstance(message, Assistant | Tool)
    if message.name is not UNSET:
        return False
    return type(message) is User or (type(message) is System and first_two(content) != EMPTY_STRING)


def has_extras(message: Assistant) -> bool:
    """Return whether a message has a field that is not canonical, or only in some profiles."""
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


def past_steps(messages: Sequence[Message], start: int, known: Collection[str]) -> int:
    """Return where a row of an agent's plain steps ends that begins at `start`: one call, and its result.

    Between two steps the assistant may say something, and then the user. That is nearly all of a long conversation,
    and behind a result it changes nothing about the order of the others: a row ends behind one. So it is looked at
    here in as few operations as it takes; what is not plain at a glance ends the row.
    """
    at = end = start
    last = len(messages) - 1
    has_spoken = False  # the assistant, and nobody since
    while at < last:
        message = messages[at]
        said = message.content
        if said is UNSET or first_byte(said) != QUOTE:
            break
        if type(message) is User:
            if not has_spoken or message.name is not UNSET:
                break
            has_spoken = False
        elif type(message) is not Assistant or has_spoken or has_extras(message):
            break
        elif message.tool_calls is UNSET:
            if first_two(said) == EMPTY_STRING:
                break
            has_spoken = True
        else:
            result = messages[at + 1]
            if not message.tool_calls or type(result) is not Tool or not _is_step(message.tool_calls, result, known):
                break
            at = end = at + 2
            continue
        at += 1
    return end


def _is_step(calls: list[Call], result: Tool, known: Collection[str]) -> bool:
    """Return whether it is one plain call with a valid id, and its plain result."""
    call, told = calls[0], result.content
    function, ident = call.function, call.id
    arguments = function.arguments
    return (
        len(calls) == 1
        and ident == result.tool_call_id
        and len(ident) == LENGTH
        and ident.isalnum()
        and ident.isascii()
        and told is not UNSET
        and first_byte(told) == QUOTE
        and first_byte(arguments) == QUOTE
        and first_two(arguments) != EMPTY_STRING
        and (function.name in known or is_valid_name(function.name))
        and call.index is call.provider_specific_fields is call.extra_content is result.name is UNSET
    )


class Order(NamedTuple):
    """What a glance at the order of messages tells, each of which is canonical in itself."""

    is_paired: bool  # each call has a valid id, and its result right behind it; no result is without call
    is_placed: bool  # no message has to move, to go or to be joined
    last: type | None = None


UNPAIRED = Order(is_paired=False, is_placed=False)


class Glance(NamedTuple):
    """What a glance at messages tells."""

    plain: int  # so many of the first are plain
    rest: list[Message]  # of them, all but rows of plain steps, on which the order does not depend
    order: Order  # known where all are plain


class Judge:
    """Looks whether the order of messages is canonical for a profile."""

    __slots__ = ("_bridge", "_free_ids", "_joins", "_one_or_other", "_template", "_wants_names", "skips_steps")

    def __init__(self, profile: Profile) -> None:
        """Judge for one profile."""
        self._template = profile.may_be_template
        self._joins = joins_rows(profile)
        self._bridge = profile.bridge
        self._one_or_other = takes_one_or_other(profile)
        self._wants_names = profile.version == NAMED_RESULTS_VERSION
        self.skips_steps = not (self._one_or_other or self._wants_names)  # `past_steps` may be used
        self._free_ids = None if profile.nine_ids else ids_for(profile)

    def glance(self, messages: list[Message], known: Collection[str]) -> Glance:
        """Return how far messages are plain, and what is to be done about their order. `known`: valid names."""
        rest: list[Message] = []
        at, end = 0, len(messages)
        while at < end:
            message = messages[at]
            if not is_plain(message, known):
                return Glance(at, rest, UNPAIRED)
            rest.append(message)
            at += 1
            if self.skips_steps and type(message) is Tool:
                at = past_steps(messages, at, known)
        return Glance(end, rest, self.look(rest))

    def _may_speak(self, before: type | None, *, calls: bool) -> bool:
        """Return whether R16 and R21 let an assistant speak behind this."""
        if before is Tool or before is User:
            return True
        if before is Assistant:
            return not self._joins
        return not self._template and (before is System or not calls)

    def _may_lead(self, before: type | None) -> bool:
        """Return whether R15 leaves a system message behind this."""
        return before is None or (not self._template and (before is System or before is User))

    def look(self, messages: Iterable[Message]) -> Order:
        """Return what has to be done about the order."""
        turns = iter(messages)
        before: type | None = None
        placed = True
        for message in turns:
            kind: type = type(message)
            if type(message) is Assistant:
                calls = message.tool_calls
                placed = placed and self._may_speak(before, calls=calls is not UNSET)
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
            elif not self._may_lead(before):
                placed = False
            before = kind
        return Order(True, placed, before)

    def _is_answered(self, calls: list[Call], turns: Iterator[Message]) -> bool:
        """Return whether the next messages are the results of calls with valid ids, in their order."""
        if self._wants_names or self._free_ids is not None:
            return self._is_answered_oddly(calls, turns)
        for call in calls:
            ident = call.id
            if len(ident) != LENGTH or not ident.isalnum() or not ident.isascii():
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
        if not all(taken.is_taken(call.id) for call in calls) or len({call.id for call in calls}) < len(calls):
            return False
        for call in calls:
            result = next(turns, None)
            if type(result) is not Tool or result.tool_call_id != call.id:
                return False
            name: object = decode(result.name) if isinstance(result.name, Raw) else None
            wanted = call.function.name if self._wants_names else None
            if name != wanted:
                return False
        return True


@lru_cache(KNOWN_PROFILES)
def judge_of(profile: Profile) -> Judge:
    """Return the judge for a profile; it keeps nothing of what it has judged."""
    return Judge(profile)
