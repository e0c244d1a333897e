"""What stands in front of the JSON of a leaked call (S15): marks, a name, blanks. A grammar, read at one place.

The text may end anywhere in it: then the answer is `MORE`, so that a stream can wait, and no more of the text is
needed to say so than `MAX_HEAD` characters.
"""

import re
from collections.abc import Collection
from typing import NamedTuple

MAX_HEAD = 512  # characters of marks, name and blanks; whoever calls gives up beyond
MARKERS = ("[TOOL_CALLS]", "TOOL_CALLS")  # with brackets, or where they were lost

_BLANKS = re.compile(r"[ \t\r\n]*+")
_NAME_END = re.compile(r"[\[{]")
_ID = re.compile(r"[a-zA-Z0-9]{0,9}")  # of a call, where its mark was lost stands directly behind the name
_ID_SIZE = 9


class Head(NamedTuple):
    """The front of a call."""

    name: str | None  # of the function; None: a list of calls follows, which name theirs
    start: int  # where the JSON begins
    seen: int  # how far the text had to be looked at


MORE = Head(None, -1, -1)  # the text ends within what may become the front of a call


def skip_blanks(text: str, at: int) -> int:
    """Return the place of the next character that is not blank."""
    found = _BLANKS.match(text, at)
    return at if found is None else found.end()


def head_at(text: str, at: int, tools: Collection[str], *, bare: bool) -> Head | None:
    """Return the front of a call that stands at `at`, behind blanks; `MORE` if it may be one, None if it is not.

    `bare`: it may do without a mark.
    """
    at = skip_blanks(text, at)
    if at == len(text):
        return MORE
    for marker in MARKERS:
        if text.startswith(marker, at):
            return _marked(text, skip_blanks(text, at + len(marker)), tools)
    found = _bare(text, at, tools) if bare else None
    if found is None and any(_is_beginning(text, at, marker) for marker in MARKERS):
        return MORE
    return found


def _is_beginning(text: str, at: int, word: str) -> bool:
    """Return whether the text ends within `word`."""
    return len(text) - at < len(word) and word.startswith(text[at:])


def _marked(text: str, at: int, tools: Collection[str]) -> Head | None:
    if at == len(text):
        return MORE
    if text[at] == "[":
        end = _follow(text, at, ("[", "{"))
        return end if not isinstance(end, int) else Head(None, at, end)
    found = _NAME_END.search(text, at, at + MAX_HEAD)
    if found is None:
        return MORE if len(text) - at < MAX_HEAD and _may_be_name(text[at:], tools) else None
    name = _known(text[at : found.start()].strip(), tools)
    return None if name is None else _before_arguments(text, found.start(), name)


def _bare(text: str, at: int, tools: Collection[str]) -> Head | None:
    if text[at] == "[":
        end = _follow(text, at, ("[", "{", '"name"', ":", '"'))
        return end if not isinstance(end, int) else _listed(text, at, end, tools)
    found = _NAME_END.search(text, at, at + MAX_HEAD)
    if found is None:
        short = len(text) - at < MAX_HEAD
        return MORE if short and any(name.startswith(text[at:]) for name in tools) else None
    name = text[at : found.start()]
    return _before_arguments(text, found.start(), name) if name in tools else None


def _listed(text: str, start: int, at: int, tools: Collection[str]) -> Head | None:
    """Judge a list of calls by the name of its first, which begins at `at`."""
    end = text.find('"', at, at + MAX_HEAD)
    if end >= 0:
        return Head(None, start, end + 1) if text[at:end] in tools else None
    short = len(text) - at < MAX_HEAD
    return MORE if short and any(name.startswith(text[at:]) for name in tools) else None


def _follow(text: str, at: int, words: tuple[str, ...]) -> int | Head | None:
    """Return the place behind all words, blanks between them; `MORE` if the text ends before, None if they differ."""
    for word in words:
        at = skip_blanks(text, at)
        if not text.startswith(word, at):
            return MORE if _is_beginning(text, at, word) else None
        at += len(word)
    return at


def _before_arguments(text: str, at: int, name: str) -> Head | None:
    """Judge what is between a name and its arguments: an id and a mark, or nothing."""
    if text.startswith("[CALL_ID]", at):
        start = skip_blanks(text, at + len("[CALL_ID]"))
        found = _ID.match(text, start)
        at = start if found is None else found.end()
        if at - start < _ID_SIZE:
            return MORE if at == len(text) else None
        at = skip_blanks(text, at)
    elif _is_beginning(text, at, "[CALL_ID]"):
        return MORE
    if text.startswith("[ARGS]", at):
        at = skip_blanks(text, at + len("[ARGS]"))
    elif _is_beginning(text, at, "[ARGS]"):
        return MORE
    if at == len(text):
        return MORE
    if text[at] != "{":
        return None
    inner = skip_blanks(text, at + 1)
    if inner == len(text):
        return MORE
    return Head(name, at, inner + 1) if text[inner] in '"}' else None


def _known(name: str, tools: Collection[str]) -> str | None:
    """Return the request's name for it; an id whose mark was lost may stand behind it."""
    if name in tools:
        return name
    bare = name[:-_ID_SIZE]
    return bare if bare in tools and _ID.fullmatch(name[-_ID_SIZE:]) else None


def _may_be_name(text: str, tools: Collection[str]) -> bool:
    """Return whether `text` may be the beginning of a known name, an id and blanks."""
    name = text.rstrip()
    if name != text:
        return _known(name, tools) is not None
    return any(
        known.startswith(name) or (name.startswith(known) and _ID.fullmatch(name, len(known)) is not None)
        for known in tools
    )
