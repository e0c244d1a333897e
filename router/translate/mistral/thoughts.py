"""Reasoning of earlier turns: left out, or kept where the model knows it (R10)."""

import enum
from collections.abc import Iterable

from msgspec import Raw

from router.translate.mistral.message import Assistant, decode
from router.translate.mistral.parts import Piece, Thought, Words
from router.translate.notes import Notes, Rule


class Place(enum.Enum):
    """Where a backend takes reasoning."""

    NOWHERE = ""
    CONTENT = "content"  # as a part: mistral-common, in all its releases
    FIELD = "reasoning"  # for a template


# Where it stands in a message; the first that says something counts.
THOUGHT_KEYS = ("reasoning", "reasoning_content", "reasoning_details")


def with_thoughts(message: Assistant, pieces: list[Piece], origin: int, *, place: Place, notes: Notes) -> list[Piece]:
    """Return what a message says with its reasoning as one thought in front, or without it (R10)."""
    told = {key: held for key in THOUGHT_KEYS if isinstance(held := getattr(message, key), Raw)}
    in_parts = [piece.text for piece in pieces if isinstance(piece, Thought)]
    if not told and not in_parts:
        return pieces
    texts = {key: thought_text(decode(held)) for key, held in told.items()}
    if in_parts:
        texts["content"] = "\n".join(filter(None, in_parts))
    thought = next((texts[key] for key in ("content", *THOUGHT_KEYS) if texts.get(key)), "")
    for key, text in texts.items():
        if text and (place is Place.NOWHERE or text != thought):
            notes.lose(Rule.R10, "messages", origin, key)
        elif not text:
            notes.repair(Rule.R10 if key == "content" else Rule.R1, "messages", origin, key)
        elif key != place.value or (in_parts and not _is_in_front(pieces)):
            notes.repair(Rule.R10, "messages", origin, key)
    rest: list[Piece] = [piece for piece in pieces if not isinstance(piece, Thought)]
    return rest if place is Place.NOWHERE or not thought else [Thought(thought), *rest]


def _is_in_front(pieces: list[Piece]) -> bool:
    """Return whether thoughts among the pieces are one, before one text at most: as they will be."""
    rest = pieces[1:]
    return not any(isinstance(piece, Thought) for piece in rest) and sum(isinstance(piece, Words) for piece in rest) < 2


def thought_text(value: object) -> str:
    """Return the text of a field that holds reasoning: a string, or a list of OpenRouter's details of it."""
    if isinstance(value, str):
        return value
    if not isinstance(value, list):
        return ""
    return "\n".join(_details(value))


def _details(value: list[object]) -> Iterable[str]:
    for entry in value:
        if isinstance(entry, dict):
            text = entry.get("text") or entry.get("summary")
            if isinstance(text, str):
                yield text
