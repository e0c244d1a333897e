"""What a tool returned: text, and images only where the tokenizer takes them in a result (R8, R9)."""

from typing import Any

from msgspec import Raw

from router.translate.mistral.limits import Tally
from router.translate.mistral.message import Field, decode, encoded, is_text
from router.translate.mistral.parts import (
    Media,
    Piece,
    Thought,
    Words,
    has_media,
    json_text,
    part_of,
    result_pieces,
)
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

RICH_VERSION = 15  # the first tokenizer whose results hold images


def result_content(
    content: Field, origin: int, *, profile: Profile, join: str, parts: Tally, notes: Notes
) -> tuple[Raw, list[Any] | None]:
    """Return a result's content, and the media in it that a user must say instead (R9).

    `parts`: those that the conversation may still have.
    R8: lists of texts become one text, joined with `join`; null is ""; anything else becomes JSON text.
    """
    if isinstance(content, Raw) and is_text(content):
        return content, None
    value: object = decode(content) if isinstance(content, Raw) else None
    pieces = result_pieces(value, f"messages.{origin}.content", parts)
    where = ("messages", origin, "content")
    if pieces is None:
        notes.repair(Rule.R8, *where)
        return encoded(json_text(value)), None
    if not has_media(pieces):
        notes.repair(Rule.R8, *where)
        return encoded(join.join(words_of(pieces))), None
    if profile.is_mistral_common and profile.version == RICH_VERSION and profile.vision is not False:
        rich = [part_of(piece) for piece in pieces]
        if rich != value:
            notes.repair(Rule.R8, *where)
        return encoded(rich), None
    notes.lose(Rule.R9, *where)
    if profile.vision is False:
        pieces = [
            Words(piece.omitted) if isinstance(piece, Media) and not piece.is_audio else piece for piece in pieces
        ]
    media = [piece.part for piece in pieces if isinstance(piece, Media)]
    return encoded(join.join(words_of(pieces))), media or None


def words_of(pieces: list[Piece]) -> list[str]:
    """Return the texts among pieces, thoughts too."""
    return [piece.text for piece in pieces if isinstance(piece, Words | Thought) and piece.text]
