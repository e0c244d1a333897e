"""S17: reasoning stands in the field that was configured, wherever the backend put it.

A backend with a reasoning parser has a field for it, whose name depends on its version. One without writes the model's
own marks, [THINK]...[/THINK] or <think>...</think>, into the content. They count at its beginning only (behind a few
blanks at most): further on a text may be about them. Reasoning without its closing mark is reasoning to the end.
"""

from collections.abc import MutableMapping
from typing import Any, NamedTuple

from router.translate.asked import ReasoningField
from router.translate.mistral.fields import REASONING_KEYS

MARKS = {"[THINK]": "[/THINK]", "<think>": "</think>"}
MAX_BLANKS = 16  # characters of blank text before a mark; the watcher of a stream holds as many back
BLANK = " \t\r\n"
_FIRST = frozenset(mark[0] for mark in MARKS)  # letters

_NAMES: dict[ReasoningField, tuple[str, ...]] = {
    ReasoningField.OFF: (),
    ReasoningField.REASONING_CONTENT: ("reasoning_content",),
    ReasoningField.REASONING: ("reasoning",),
    ReasoningField.BOTH: ("reasoning_content", "reasoning"),
}


class Split(NamedTuple):
    """Text, parted."""

    reasoning: str
    content: str


def split(text: str) -> Split | None:
    """Return the reasoning at the beginning of a whole content and what is behind it, None if there is none (S17)."""
    start = _blanks(text)
    for opening, closing in MARKS.items():
        if text.startswith(opening, start):
            reasoning, _, content = text[start + len(opening) :].partition(closing)
            return Split(reasoning, content)
    return None


def may_begin(text: str) -> bool:
    """Return whether a content that begins with `text` may yet begin with a mark, or does: the quick judge of `split`
    and of streams."""
    start = _blanks(text)
    if start == len(text):
        return start <= MAX_BLANKS
    if text[start] not in _FIRST:
        return False
    return any(text.startswith(mark, start) or mark.startswith(text[start:]) for mark in MARKS)


def rename(holder: MutableMapping[str, Any], field: ReasoningField) -> bool:
    """Put the reasoning of a message or a delta into the configured field or fields; return whether anything changed.

    Nulls and whatever is not text are left out. Both names may stand there (vLLM 0.11 to 0.14) and say the same.
    """
    if not any(key in holder for key in REASONING_KEYS):
        return False
    found = {key: holder[key] for key in REASONING_KEYS if key in holder}
    text = next((value for value in found.values() if isinstance(value, str) and value), "")
    wanted = dict.fromkeys(_NAMES[field], text) if text else {}
    if wanted == found:
        return False
    for key in found:
        del holder[key]
    holder.update(wanted)
    return True


def put(holder: MutableMapping[str, Any], text: str, field: ReasoningField) -> None:
    """Add reasoning that was found elsewhere to a message or a delta."""
    for name in _NAMES[field]:
        before = holder.get(name)
        holder[name] = before + text if isinstance(before, str) else text


def has_any(holder: MutableMapping[str, Any]) -> bool:
    """Return whether a message or a delta has reasoning in a field, under any name."""
    return any(isinstance(holder.get(key), str) and holder[key] for key in REASONING_KEYS)


class ThinkWatcher:
    """Parts the content of one choice of a stream as it comes; joined, its answers are what `split` says of the whole.

    It holds back no more than what may yet become a mark.
    """

    __slots__ = ("_closing", "_held", "is_done")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._held = ""
        self._closing: str | None = None  # the mark that ends the reasoning we are in
        self.is_done = False  # all that comes from here on is content: nobody has to ask any more

    @property
    def held(self) -> str:
        """What is held back."""
        return self._held

    def passes(self, text: str) -> bool:
        """Return whether `feed` would return the text as content, whole, and so all that comes behind it."""
        return self.is_done or not (self._held or self._closing is not None or may_begin(text))

    def feed(self, text: str) -> Split:
        """Take the next piece of content and return what is certain by now; either part may be empty."""
        if self.is_done:
            return Split("", text)
        text = self._held + text
        self._held = ""
        if self._closing is not None:
            return self._inside(text, self._closing)
        start = _blanks(text)
        for opening, closing in MARKS.items():
            if text.startswith(opening, start):
                self._closing = closing
                return self._inside(text[start + len(opening) :], closing)
        if may_begin(text):
            self._held = text
            return Split("", "")
        self.is_done = True
        return Split("", text)

    def finish(self) -> Split:
        """Return what was held back: the content, or the choice, has ended."""
        held, self._held = self._held, ""
        self.is_done = True
        return Split("", held) if self._closing is None else Split(held, "")

    def _inside(self, text: str, closing: str) -> Split:
        reasoning, found, content = text.partition(closing)
        if found:
            self.is_done = True
            return Split(reasoning, content)
        kept = next((size for size in range(len(closing) - 1, 0, -1) if text.endswith(closing[:size])), 0)
        end = len(text) - kept
        self._held = text[end:]
        return Split(text[:end], "")


def _blanks(text: str) -> int:
    """Return how many blank characters it begins with, at most one more than may stand before a mark."""
    if text[:1] not in BLANK:
        return 0
    beginning = text[: MAX_BLANKS + 1]
    blanks = len(beginning) - len(beginning.lstrip(BLANK))
    return blanks if blanks <= MAX_BLANKS else 0
