"""How much one conversation or answer may hold: translating it must not hold up the streams of others.

A message or a part that needs a repair takes about 5 us, a call or a tool 20 us. No model's context holds as many.
What is over a limit is refused before anything is built of it: signs of the JSON text are counted, or its elements.
An answer of too many values passes as it is, as do choices behind the last. One of too many calls ends with an error.
"""

from collections.abc import Collection, Iterable
from typing import NamedTuple

import msgspec
from msgspec import UNSET, Raw

from router.errors import InvalidRequest
from router.translate.mistral.message import Assistant, Field, Message, first_byte
from router.translate.mistral.values import UNREADABLE, UNSUPPORTED, refusal

MAX_MESSAGES = 10_000
MAX_PARTS = 10_000  # of the content of all messages
MAX_CALLS = 5_000  # of all messages, and of all choices of an answer
MAX_TOOLS = 2_000
MAX_VALUES = 400_000  # of a body, whatever they are; reading one takes 0.1 us, and what is done with it as much
MAX_SCHEMAS = 50_000  # objects and arrays of a request's tools; mending one takes 2 us
MAX_MEMBERS = 150_000  # values of a request's tools
MAX_TEXTS = 200_000  # keys and values of a body that is read key by key, which takes 1 us for each
UNCOUNTED_TEXTS = 1 << 20  # bytes of a body that holds too few of them to be counted
# Bytes of a body that holds too few calls to be counted: one takes 34 bytes at least.
UNCOUNTED = 34 * MAX_CALLS
MAX_ANSWER_VALUES = 2_100_000  # of an answer, or one event: log probabilities of 16 MiB, 12,000 tokens, 20 for each
MAX_ANSWER_LISTS = 600_000  # objects and arrays of it; one takes 0.5 us, and those tokens have 555,000
MAX_REPEATED = 512  # characters of a text that stands in every event made of an answer; ids have some 40
MAX_CHOICES = 128  # of an answer: vLLM's own bound of n is far above what anybody asks
MAX_TEXT = 1 << 20  # characters at once that calls are looked for in, and of arguments whose end is looked for
BYTES_OF_VALUE = 2  # at least, with its comma
QUOTES_OF_VALUE = 4  # at most: it has two, and its key
MOST_QUOTED = 1_000_000  # values with so many; telling texts apart takes 0.05 us for each
LIST = (0x5B,)  # what an array begins with
READ_LIST = msgspec.json.Decoder(list[Raw])


class Bound(NamedTuple):
    """How often signs may stand in a JSON text, outside of its strings."""

    what: str  # in a message to the client
    most: int
    signs: tuple[bytes, ...]


OPENINGS = (b"[", b"{")
MARKS = (b",", *OPENINGS)  # one stands before each value but the first
OF_BODY = (Bound("values", MAX_VALUES, MARKS),)
OF_ANSWER = (Bound("objects and arrays", MAX_ANSWER_LISTS, OPENINGS), Bound("values", MAX_ANSWER_VALUES, MARKS))
OF_TOOLS = (Bound("objects and arrays", MAX_SCHEMAS, OPENINGS), Bound("values", MAX_MEMBERS, MARKS))


class _Places(msgspec.Struct):
    """Where a request may hold much; the rest is passed over."""

    messages: Field = UNSET
    tools: Field = UNSET
    functions: Field = UNSET
    tool_choice: Field = UNSET
    response_format: Field = UNSET


READ_PLACES = msgspec.json.Decoder(_Places)


class Tally:
    """Counts one kind of thing up to its limit."""

    __slots__ = ("_left", "_most", "_what")

    def __init__(self, what: str, most: int) -> None:
        """`what`: in a message to the client."""
        self._what = what
        self._most = self._left = most

    def foresee(self, raw: Raw, where: str) -> None:
        """Raises InvalidRequest where a JSON array that is not read yet has too many elements to be counted."""
        if is_longer(raw, self._left):
            raise too_many(self._what, self._most, where)

    def add(self, count: int, where: str) -> None:
        """Count so many more. Raises InvalidRequest where there are too many of them by now."""
        self._left -= count
        if self._left < 0:
            raise too_many(self._what, self._most, where)


def parts_tally() -> Tally:
    """Return what counts the parts of messages."""
    return Tally("parts of content", MAX_PARTS)


def calls_tally() -> Tally:
    """Return what counts the calls of messages."""
    return Tally("tool calls", MAX_CALLS)


def is_longer(raw: bytes | Raw, most: int) -> bool:
    """Return whether it is a JSON array of more than so many elements."""
    if len(raw) <= BYTES_OF_VALUE * most or first_byte(raw) != LIST:
        return False
    try:
        return len(READ_LIST.decode(raw)) > most
    except UNREADABLE:
        return False  # whoever reads it says why


def is_too_much(body: bytes) -> bool:
    """Return whether a request holds too many values."""
    return len(body) > BYTES_OF_VALUE * MAX_VALUES and _passed(body, OF_BODY) is not None


def says_too_much(answer: bytes) -> bool:
    """Return whether an answer, or the data of an event, holds too many values."""
    return len(answer) > BYTES_OF_VALUE * MAX_ANSWER_LISTS and _passed(answer, OF_ANSWER) is not None


def too_many_values(body: bytes) -> InvalidRequest:
    """Return the refusal of a request that holds too many values (R37), with the field that has most of them."""
    where = _longest_field(body)
    told = f"{where or 'the body'}: more than {MAX_VALUES:,} values are not taken"
    return InvalidRequest(told, param=where, code=UNSUPPORTED)


def _passed(text: bytes, bounds: Collection[Bound]) -> Bound | None:
    """Return the first bound that a JSON text passes by the signs between its values, not counting those in strings."""
    bounds = [bound for bound in bounds if len(text) > BYTES_OF_VALUE * bound.most]
    found = _first(text, bounds)
    if found is None:
        return None
    if b"\\" in text:
        text = text.replace(rb"\\", b"").replace(rb"\"", b"")
    if text.count(b'"') > QUOTES_OF_VALUE * max(MAX_VALUES, min(found.most, MOST_QUOTED)):
        return found
    return _first(b"".join(text.split(b'"')[::2]), bounds)


def _first(text: bytes, bounds: Collection[Bound]) -> Bound | None:
    return next((bound for bound in bounds if sum(map(text.count, bound.signs)) > bound.most), None)


def _longest_field(body: bytes) -> str | None:
    """Return the field that is most of a request, None where none of these is."""
    try:
        places = msgspec.structs.asdict(READ_PLACES.decode(body))
    except UNREADABLE:
        return None
    return next((name for name, value in places.items() if isinstance(value, Raw) and 2 * len(value) > len(body)), None)


def check_texts(body: bytes) -> None:
    """Raises InvalidRequest where a JSON text has too many keys and texts, by its quotation marks."""
    if len(body) > UNCOUNTED_TEXTS and body.count(b'"') - body.count(b'\\"') > 2 * MAX_TEXTS:
        raise too_many("keys and texts", MAX_TEXTS, "messages")


def check_messages(count: int) -> None:
    """Raises InvalidRequest where a conversation has too many messages."""
    if count > MAX_MESSAGES:
        raise too_many("messages", MAX_MESSAGES, "messages")


def check_calls(messages: Iterable[Message]) -> None:
    """Raises InvalidRequest where a conversation has too many calls."""
    tally = calls_tally()
    for message in messages:
        if isinstance(message, Assistant) and message.tool_calls:
            tally.add(len(message.tool_calls), "messages")


def check_raw_tools(raw: bytes) -> None:
    """Raises InvalidRequest where the JSON array of a request's tools holds too much to be read."""
    if is_longer(raw, MAX_TOOLS):
        raise too_many("tools", MAX_TOOLS, "tools")
    if (bound := _passed(raw, OF_TOOLS)) is not None:
        raise too_many(bound.what, bound.most, "tools")


def check_tools(count: int, where: str) -> None:
    """Raises InvalidRequest where a request has too many tools."""
    if count > MAX_TOOLS:
        raise too_many("tools", MAX_TOOLS, where)


def too_many(what: str, most: int, where: str) -> InvalidRequest:
    """Return the refusal of a request that holds too much (R37)."""
    return refusal(f"{where}: more than {most:,} {what} are not taken", where)
