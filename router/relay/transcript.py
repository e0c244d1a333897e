"""What the events of a stream have said so far: its text, its tokens, how it ended. Pure."""

import enum
from typing import Any

import orjson

from router.relay.beginning import DONE
from router.translate.mistral.limits import MAX_REPEATED, says_too_much
from router.wire.sse import event_data

_BARE = frozenset(("role", "content"))
MOST_TOKENS = 10**12  # that a backend is believed to have counted
UNFINISHED = "\ufffd"  # what tokenizers make of a character of which not all tokens are there


class Unfit(enum.Enum):
    """Why a stream cannot be finished by another backend."""

    CHOICES = "it has several choices"
    NOT_TEXT = "it is more than text: a tool call, reasoning, log probabilities"
    UNREAD = "one of its events was not understood"
    TOO_LONG = "it is too long to be kept"


class Transcript:
    """What the events of a stream have said so far."""

    __slots__ = (
        *("_texts", "again", "completion_tokens", "finish", "generated_ids", "head", "length", "pieces"),
        *("prompt_ids", "prompt_tokens", "trailing", "unfit", "usage_told"),
    )

    def __init__(self) -> None:
        """Nothing has come."""
        self.head: dict[str, Any] = {}  # id, object, created and model of its first event
        self._texts: list[str] = []
        self.length = 0  # bytes of the text
        self.pieces = 0  # events with text: hardly more than there are tokens
        self.finish: str | None = None  # the finish_reason
        self.prompt_tokens: int | None = None  # by the usage that came last
        self.completion_tokens: int | None = None
        self.prompt_ids = b""  # with commas between, as they came
        self.generated_ids: list[bytes] = []  # of each fold
        self.trailing = 0  # ids that have come behind the last text: more text of theirs may be held back
        self.again: list[bytes] = []  # ids that were forgotten, and may be told again: the client has them
        self.usage_told = False  # in the event behind the last choice
        self.unfit: Unfit | None = None

    @property
    def text(self) -> str:
        """Return the whole text."""
        if len(self._texts) > 1:
            self._texts = ["".join(self._texts)]
        return self._texts[0] if self._texts else ""

    def told_ids(self) -> list[bytes]:
        """Return the ids of the tokens so far, and forget those whose text has not come: they are generated again."""
        if self.trailing and self.finish is None:
            self.drop_ids(self.trailing)
        return b",".join(self.generated_ids).split(b",") if self.generated_ids else []

    def drop_ids(self, count: int) -> None:
        """Forget the last ids: another backend generates these tokens again, and tells their ids again."""
        told = b",".join(self.generated_ids).split(b",")
        ids, self.again = told[:-count], [*map(bytes.strip, told[-count:]), *self.again]
        self.generated_ids, self.trailing = [b",".join(ids)] if ids else [], 0

    def missing_of(self, said: str) -> str | None:
        """Return what is missing of the text, if `said` is that of all ids; None where it does not go on with the text
        or ends in an unfinished character. Blanks at the beginning may differ: some tokenizers leave one out."""
        for whole, text in ((said, self.text), (said.lstrip(" "), self.text.lstrip(" "))):
            if whole.startswith(text):
                missing = whole[len(text) :]
                return None if missing.endswith(UNFINISHED) else missing
        return None

    def missing_of_last(self, said: str) -> str:
        """Return what is missing of the text, if `said` is that of the last id; "" where they have nothing in common.

        Less sure than `missing_of`, and not misled by what came before."""
        text = self.text
        for size in range(len(said), 0, -1):
            if text.endswith(said[:size]):
                return "" if said.endswith(UNFINISHED) else said[size:]
        return ""

    def take(self, event: bytes, *, is_chat: bool) -> None:
        """Take in what one event says, ids apart."""
        data = event_data(event)
        if data is None or data.strip() == DONE:
            return
        if says_too_much(data):
            self.unfit = self.unfit or Unfit.UNREAD
            return
        try:
            chunk = orjson.loads(data)
            self._take_usage(chunk.get("usage"))
            if not self.head:
                self.head = {key: chunk[key] for key in ("id", "object", "created", "model") if key in chunk}
                if not all(map(_is_short, self.head.values())):  # each event of a continuation would tell it again
                    self.unfit = self.unfit or Unfit.TOO_LONG
            choices = chunk["choices"]
            if choices:
                self._take_choice(choices, is_chat=is_chat)
            else:
                self.usage_told |= chunk.get("usage") is not None
        except (ValueError, LookupError, TypeError, AttributeError):
            self.unfit = self.unfit or Unfit.UNREAD

    def take_text(self, literal: bytes, events: int) -> None:
        """Take in a text that so many events have said, as it stands in JSON without its quotation marks."""
        try:
            text = orjson.loads(b'"%b"' % literal)
        except orjson.JSONDecodeError:
            self.unfit = self.unfit or Unfit.UNREAD
            return
        self.pieces += events
        self.length += len(text.encode())
        self._texts.append(text)

    def _take_choice(self, choices: list[dict[str, Any]], *, is_chat: bool) -> None:
        choice = choices[0]
        if len(choices) > 1 or choice.get("index", 0) != 0:
            self.unfit = Unfit.CHOICES
            return
        delta = (choice.get("delta") or {}) if is_chat else {"content": choice.get("text")}
        text = delta.get("content") or ""
        is_more = any(value for key, value in delta.items() if key not in _BARE)
        if is_more or choice.get("logprobs") is not None or not isinstance(text, str):
            self.unfit = Unfit.NOT_TEXT
            return
        self.finish = choice.get("finish_reason") or self.finish
        if text:
            self.pieces += 1
            self.length += len(text.encode())
            self._texts.append(text)

    def _take_usage(self, usage: Any) -> None:
        completion = _number(usage.get("completion_tokens")) if isinstance(usage, dict) else None
        if completion is not None:
            self.prompt_tokens, self.completion_tokens = _number(usage.get("prompt_tokens")), completion


def _is_short(value: Any) -> bool:
    return len(value) <= MAX_REPEATED if isinstance(value, str) else value is None or isinstance(value, int | float)


def _number(value: Any) -> int | None:
    """Return a number of tokens, None for what is none."""
    return value if type(value) is int and 0 <= value < MOST_TOKENS else None
