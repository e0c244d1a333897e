"""How much one conversation may hold: translating it must not hold up the streams of others.

A message or a part that needs a repair takes about 5 us, a call or a tool 20 us. No model's context holds as many.
"""

from collections.abc import Iterable

from router.errors import InvalidRequest
from router.translate.mistral.message import Assistant, Message
from router.translate.mistral.values import refusal

MAX_MESSAGES = 10_000
MAX_PARTS = 10_000  # of the content of all messages
MAX_CALLS = 5_000  # of all messages
MAX_TOOLS = 2_000
MAX_TEXTS = 200_000  # keys and values of a body that is read key by key, which takes 1 us for each
UNCOUNTED_TEXTS = 1 << 20  # bytes of a body that holds too few of them to be counted
# Bytes of a body that holds too few calls to be counted: one takes 34 bytes at least.
UNCOUNTED = 34 * MAX_CALLS


class Tally:
    """Counts one kind of thing up to its limit."""

    __slots__ = ("_left", "_most", "_what")

    def __init__(self, what: str, most: int) -> None:
        """`what`: in a message to the client."""
        self._what = what
        self._most = self._left = most

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


def check_tools(count: int, where: str) -> None:
    """Raises InvalidRequest where a request has too many tools."""
    if count > MAX_TOOLS:
        raise too_many("tools", MAX_TOOLS, where)


def too_many(what: str, most: int, where: str) -> InvalidRequest:
    """Return the refusal of a request that holds too much (R37)."""
    return refusal(f"{where}: more than {most:,} {what} are not taken", where)
