"""One message at a time: whatever its role and shape, as the turns it means (R1, R2, R5 to R7, R9, R11).

A turn's own form is canonical; only its place, and the ids of its calls and results, may still be wrong.
"""

from collections.abc import Callable
from typing import Any

from msgspec import UNSET, Raw

from router.translate.mistral.calls import canonical_call, legacy_call, made_call
from router.translate.mistral.limits import parts_tally
from router.translate.mistral.message import (
    EMPTY,
    Assistant,
    Call,
    Developer,
    Field,
    Message,
    System,
    Tool,
    Turn,
    User,
    decode,
    encoded,
    is_some_text,
    is_text,
)
from router.translate.mistral.names import Names
from router.translate.mistral.parts import (
    AUDIO_TYPES,
    Media,
    Piece,
    Result,
    Thought,
    Use,
    Words,
    has_media,
    part_of,
    pieces_of,
)
from router.translate.mistral.results import RICH_VERSION, result_content, words_of
from router.translate.mistral.thoughts import Place, with_thoughts
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

# What a message may say beside what its role's method reads (R1).
EXTRAS: dict[type, tuple[str, ...]] = {
    System: ("name",),
    Developer: ("name",),
    User: ("name",),
    Assistant: ("annotations", "audio", "provider_specific_fields", "name"),
    Tool: (),
}
NULL = b"null"
NOTHING = frozenset((NULL, b"false", b'""', b"[]", b"{}"))  # values that say nothing
HINTS = frozenset(("cache_control", "provider_specific_fields"))  # they told another backend how, not what
THINKING_VERSION = 13  # the only tokenizer that takes reasoning in a system message
AUDIO_VERSION = 7
AUDIO_AND_SYSTEM_VERSION = 11

Own = Callable[[list[Piece]], list[Turn]]


def tell_dropped(key: str, value: Raw, origin: int, notes: Notes) -> None:
    """R1: note a key that is left out; it is a loss where it said something."""
    if Rule.R1 in notes.lost and notes.steps is None:
        return  # no other key would add to it
    if key in HINTS or bytes(value) in NOTHING:
        notes.repair(Rule.R1, "messages", origin, key)
    else:
        notes.lose(Rule.R1, "messages", origin, key)


def _says_something(piece: Piece) -> bool:
    return not isinstance(piece, Words | Thought) or bool(piece.text)


class Reader:
    """Reads the messages of one request for one profile."""

    __slots__ = ("_join", "_names", "_notes", "_parts", "_profile", "_thoughts", "audio_at")

    def __init__(self, profile: Profile, *, names: Names, notes: Notes) -> None:
        """`names`: of the request's tools, already declared."""
        self._profile = profile
        self._names = names
        self._notes = notes
        self._parts = parts_tally()
        # As mistral-common joins the texts of one message.
        self._join = "" if profile.is_mistral_common and profile.version == RICH_VERSION else "\n\n"
        self._thoughts = Place.NOWHERE
        if profile.thinking:
            self._thoughts = Place.CONTENT if profile.is_mistral_common else Place.FIELD
        self.audio_at: int | None = None  # the first message that has a sound

    def turns(self, message: Message, origin: int) -> list[Turn]:
        """Return the turns that a message means, none where it means nothing. Raises InvalidRequest (R37)."""
        for key in EXTRAS[type(message)]:
            value = getattr(message, key)
            if value is not UNSET:
                tell_dropped(key, value, origin, self._notes)
        if isinstance(message, Tool):
            content, media = self._result(message.content, origin)
            return [Turn(Tool(content, message.tool_call_id, message.name), origin, media)]
        if isinstance(message, Assistant):
            return self._assistant(message, origin)
        if isinstance(message, User):
            return self._user(message, origin)
        if isinstance(message, Developer):
            self._notes.repair(Rule.R2, "messages", origin, "role")
        return self._system(message, origin)

    def may_sound(self, *, has_system: bool) -> bool:
        """Return whether the tokenizer takes what sounds there are: from version 7, beside a system from 11 (R9)."""
        version = self._profile.version
        if self.audio_at is None or version is None:
            return True
        return version >= AUDIO_VERSION and not (has_system and version < AUDIO_AND_SYSTEM_VERSION)

    def _system(self, message: System, origin: int) -> list[Turn]:
        """R7: a system message that says nothing is left out."""
        content = message.content
        if isinstance(content, Raw) and is_some_text(content):
            return [Turn(System(content), origin)]
        keeps = self._thoughts is Place.CONTENT and self._profile.version == THINKING_VERSION

        def own(pieces: list[Piece]) -> list[Turn]:
            said = self._without_media(pieces, origin)
            if keeps and any(isinstance(piece, Thought) for piece in said) and all(map(_says_something, said)):
                return [Turn(System(encoded([part_of(piece) for piece in said])), origin)]
            self._notes.repair(Rule.R6, "messages", origin, "content")
            text = self._join.join(words_of(said))
            return [Turn(System(encoded(text)), origin)] if text else []

        turns = self._assembled(self._pieces(content, origin), own, origin)
        if not turns:
            self._notes.repair(Rule.R7, "messages", origin)
        return turns

    def _user(self, message: User, origin: int) -> list[Turn]:
        """R7: missing content is empty text. R6: lists of texts are one text, others are text and image_url."""
        content = message.content
        if isinstance(content, Raw) and is_text(content):
            return [Turn(User(content), origin)]
        pieces = self._pieces(content, origin)
        if not pieces:
            self._notes.repair(Rule.R7, "messages", origin, "content")
            return [Turn(User(EMPTY), origin)]

        def own(said: list[Piece]) -> list[Turn]:
            if not has_media(said):
                self._notes.repair(Rule.R6, "messages", origin, "content")
                return [Turn(User(encoded(self._join.join(words_of(said)))), origin)]
            if self.audio_at is None and any(isinstance(piece, Media) and piece.is_audio for piece in said):
                self.audio_at = origin
            if any(isinstance(piece, Thought) for piece in said):
                self._notes.repair(Rule.R6, "messages", origin, "content")
                said = [Words(piece.text) if isinstance(piece, Thought) else piece for piece in said]
                said = list(filter(_says_something, said))
            return [Turn(User(encoded([part_of(piece) for piece in said])), origin)]

        return self._assembled(pieces, own, origin)

    def _assistant(self, message: Assistant, origin: int) -> list[Turn]:
        """R5: no nulls and no empty lists. What says nothing is left out where its place is found (R14)."""
        content = message.content
        is_missing = not isinstance(content, Raw) or (len(content) == len(NULL) and bytes(content) == NULL)
        text = EMPTY if is_missing and message.tool_calls else content  # as most clients send calls
        if self._stays_text(message, text, origin):
            calls = self._calls(message, origin)
            if is_missing:
                self._notes.repair(Rule.R5, "messages", origin, "content")
            return [Turn(Assistant(text, calls or UNSET), origin)]
        pieces: list[Piece]
        if isinstance(content, Raw) and is_text(content):
            pieces = [Words(str(decode(content)))] if is_some_text(content) else []
        else:
            pieces = self._pieces(content, origin)
        pieces = self._with_refusal(message, pieces, origin)
        pieces = with_thoughts(message, pieces, origin, place=self._thoughts, notes=self._notes)
        calls = self._calls(message, origin)
        if (calls or pieces) and is_missing:
            self._notes.repair(Rule.R5, "messages", origin, "content")
        turns = self._assembled(pieces, lambda said: [self._spoken(said, calls, origin)], origin, takes_calls=True)
        if calls or not turns:  # nothing was said, or only behind a result
            turns = [self._spoken([], calls, origin), *turns]
        if isinstance(message.prefix, Raw):
            turns[-1].prefix = bytes(message.prefix) == b"true"
            self._notes.repair(Rule.R29 if turns[-1].prefix else Rule.R1, "messages", origin, "prefix")
        return turns

    def _stays_text(self, message: Assistant, content: Field, origin: int) -> bool:
        """Return whether a message's content is a text, and all that is kept beside its calls; the rest is noted."""
        refusal = message.refusal
        if not isinstance(content, Raw) or not is_text(content) or message.prefix is not UNSET:
            return False
        has_thoughts = not message.reasoning is message.reasoning_content is message.reasoning_details is UNSET
        if has_thoughts and self._thoughts is not Place.NOWHERE:
            return False
        if isinstance(refusal, Raw):
            if bytes(refusal) != b"null" and not is_some_text(content):
                return False  # it may be what was said (R6)
            tell_dropped("refusal", refusal, origin, self._notes)
        if has_thoughts:
            with_thoughts(message, [], origin, place=Place.NOWHERE, notes=self._notes)
        return True

    def _spoken(self, pieces: list[Piece], calls: list[Call], origin: int) -> Turn:
        """Return an assistant's turn. `calls` are its own: they are taken out, as only one turn has them."""
        uses = [piece for piece in pieces if isinstance(piece, Use)]
        if uses:
            self._notes.repair(Rule.R11, "messages", origin, "content")
        called = [*calls, *(made_call(use, "messages", origin, names=self._names, notes=self._notes) for use in uses)]
        calls.clear()
        said = self._without_media(pieces, origin)
        text = self._join.join(piece.text for piece in said if isinstance(piece, Words))
        thought = "\n".join(piece.text for piece in said if isinstance(piece, Thought))
        if not thought:
            return Turn(Assistant(encoded(text), called or UNSET), origin)
        if self._thoughts is Place.FIELD:
            return Turn(Assistant(encoded(text), called or UNSET, encoded(thought)), origin)
        parts = [part_of(Thought(thought)), *([part_of(Words(text))] if text else [])]
        return Turn(Assistant(encoded(parts), called or UNSET), origin)

    def _calls(self, message: Assistant, origin: int) -> list[Call]:
        """Return the calls in either of OpenAI's forms (R11); null and empty lists are none (R5)."""
        held, legacy = message.tool_calls, message.function_call
        if held is not UNSET and not held:
            self._notes.repair(Rule.R5, "messages", origin, "tool_calls")
        where = ("messages", origin, "tool_calls")
        calls = [
            canonical_call(call, *where, number, names=self._names, notes=self._notes)
            for number, call in enumerate(held or ())
        ]
        if isinstance(legacy, Raw):
            use = legacy_call(legacy)
            if use is None:
                tell_dropped("function_call", legacy, origin, self._notes)
            else:
                self._notes.repair(Rule.R11, "messages", origin, "function_call")
                if not calls:
                    calls.append(made_call(use, "messages", origin, names=self._names, notes=self._notes))
        return calls

    def _with_refusal(self, message: Assistant, pieces: list[Piece], origin: int) -> list[Piece]:
        """R6: a refusal is what was said where nothing else was; beside a text it is left out (R1)."""
        held = message.refusal
        if not isinstance(held, Raw):
            return pieces
        said = decode(held)
        if isinstance(said, str) and said and not any(isinstance(piece, Words) for piece in pieces):
            self._notes.repair(Rule.R6, "messages", origin, "refusal")
            return [Words(said), *pieces]
        tell_dropped("refusal", held, origin, self._notes)
        return pieces

    def _pieces(self, content: Field, origin: int) -> list[Piece]:
        """Return what a content is made of that is not a text already (R6)."""
        if isinstance(content, Raw):
            self._parts.foresee(content, f"messages.{origin}.content")
        value: object = decode(content) if isinstance(content, Raw) else None
        if value is None or value == "":
            return []
        if isinstance(value, list):
            self._parts.add(len(value), f"messages.{origin}.content")
        pieces = pieces_of(value, f"messages.{origin}.content")
        is_rich = any(isinstance(piece, Media | Thought) for piece in pieces)
        if not is_rich or [part_of(piece) for piece in pieces] != value:
            self._notes.repair(Rule.R6, "messages", origin, "content")
        return pieces

    def _assembled(self, pieces: list[Piece], own: Own, origin: int, *, takes_calls: bool = False) -> list[Turn]:
        """Return turns in the order of the pieces; R11: calls and results among them are turns of their own."""
        turns: list[Turn] = []
        held: list[Piece] = []
        for piece in pieces:
            if isinstance(piece, Result) or (isinstance(piece, Use) and not takes_calls):
                turns += own(held) if held else []
                held = []
                turns.append(self._foreign(piece, origin))
            else:
                held.append(piece)
        return turns + own(held) if held else turns

    def _foreign(self, piece: Result | Use, origin: int) -> Turn:
        if isinstance(piece, Use):
            return self._spoken([piece], [], origin)
        self._notes.repair(Rule.R11, "messages", origin, "content")
        content, media = self._result(encoded(piece.content), origin)
        return Turn(Tool(content, piece.id, UNSET if piece.name is None else encoded(piece.name)), origin, media)

    def _result(self, content: Field, origin: int) -> tuple[Raw, list[Any] | None]:
        kept, media = result_content(
            content, origin, profile=self._profile, join=self._join, parts=self._parts, notes=self._notes
        )
        if media and self.audio_at is None and any(part["type"] in AUDIO_TYPES for part in media):
            self.audio_at = origin
        return kept, media

    def _without_media(self, pieces: list[Piece], origin: int) -> list[Piece]:
        """R9: only users say images; those of others are left out."""
        if not has_media(pieces):
            return pieces
        self._notes.lose(Rule.R9, "messages", origin, "content")
        return [piece for piece in pieces if not isinstance(piece, Media)]
