"""Content in parts, in whatever shape an API gives them, as what they are: text, media, thought, call, result.

Which of these a message may hold is its role's matter (`roles.py`); here nothing is known of roles.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.translate.mistral.limits import Tally
from router.translate.mistral.values import refusal

TEXT_TYPES = frozenset(("text", "input_text", "output_text", "summary_text"))
IMAGE_TYPES = frozenset(("image_url", "input_image", "image"))
AUDIO_TYPES = frozenset(("input_audio", "audio_url"))
THOUGHT_TYPES = frozenset(("thinking", "redacted_thinking", "reasoning"))
CALL_TYPES = frozenset(("tool_use", "tool_call", "tool-call", "server_tool_use"))
RESULT_TYPES = frozenset(("tool_result", "tool-result"))
REFUSED = {
    **dict.fromkeys(("file", "input_file", "document"), "files"),
    **dict.fromkeys(("video_url", "input_video", "video"), "video"),
}
OMITTED = {"image_url": "[image omitted]", "input_audio": "[audio omitted]", "audio_url": "[audio omitted]"}
LONGEST_TOLD = 40  # characters of a client's value in a message of ours

_dump = json.JSONEncoder(ensure_ascii=False).encode


@dataclass(frozen=True, slots=True)
class Words:
    """Text."""

    text: str


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a sound, as a part in the backend's form (R6)."""

    part: Mapping[str, object]

    @property
    def is_audio(self) -> bool:
        """Return whether it is a sound."""
        return self.part["type"] in AUDIO_TYPES

    @property
    def omitted(self) -> str:
        """Return the text that stands for it where it cannot stand."""
        return OMITTED[str(self.part["type"])]


@dataclass(frozen=True, slots=True)
class Thought:
    """Reasoning, "" where it cannot be read (R10)."""

    text: str


@dataclass(frozen=True, slots=True)
class Use:
    """A call of a tool as a part (R11)."""

    id: str | None
    name: str
    arguments: str  # JSON text


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a call as a part (R11)."""

    id: str | None
    name: str | None
    content: object


Piece = Words | Media | Thought | Use | Result


def has_media(pieces: list[Piece]) -> bool:
    """Return whether an image or a sound is among them."""
    return any(isinstance(piece, Media) for piece in pieces)


def part_of(piece: Piece) -> object:
    """Return the part that a backend takes for it, None where that is no part."""
    if isinstance(piece, Words):
        return {"type": "text", "text": piece.text}
    if isinstance(piece, Thought):
        return {"type": "thinking", "thinking": piece.text}
    return piece.part if isinstance(piece, Media) else None


def json_text(value: object) -> str:
    """Return a value as text for the model: a string as it is, nothing for null, anything else as JSON (R8, R13)."""
    if isinstance(value, str):
        return value
    return "" if value is None else _dump(value)


def arguments_text(value: object) -> str:
    """Return the arguments of a call as JSON text (R13): strings stay as they are, also broken ones."""
    return json_text(value) or "{}"


def text_or_none(value: object) -> str | None:
    """Return an id or a name; numbers become text, anything else counts as none."""
    if isinstance(value, str):
        return value
    return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def pieces_of(content: object, where: str) -> list[Piece]:
    """Return what a content is made of (R6); empty texts are left out. Raises InvalidRequest (R37).

    `content`: parsed, a list of parts, or one part alone; strings are words, null is nothing.
    """
    if content is None:
        return []
    listed = content if isinstance(content, list) else [content]
    pieces = []
    for number, part in enumerate(listed):
        piece = piece_of(part, f"{where}.{number}" if listed is content else where)
        if piece is not None and not (isinstance(piece, Words) and not piece.text):
            pieces.append(piece)
    return pieces


def piece_of(part: object, where: str) -> Piece | None:
    """Return what one part is, None where it is nothing. Raises InvalidRequest for what no backend takes (R37)."""
    if part is None or isinstance(part, str):
        return Words(part or "")
    if not isinstance(part, dict):
        raise refusal(f"{where} must be text or a part", where)
    kind = part.get("type")
    if not isinstance(kind, str):
        kind = _guessed(part)
    if kind in TEXT_TYPES:
        return Words(json_text(part.get("text")))
    if kind == "refusal":
        return Words(json_text(part.get("refusal")))
    if kind in IMAGE_TYPES:
        return Media(_image(part, where))
    if kind in AUDIO_TYPES:
        return Media(_audio(part, kind, where))
    if kind in THOUGHT_TYPES:
        return Thought(_thought(part))
    if kind in CALL_TYPES:
        return _use(part)
    if kind in RESULT_TYPES:
        return _result(part)
    return _other(part, kind, where)


def _guessed(part: Mapping[str, Any]) -> str | None:
    """Return the type of a part that names none."""
    return next((kind for kind in ("text", "image_url", "input_audio", "audio_url", "refusal") if kind in part), None)


def _other(part: Mapping[str, Any], kind: str | None, where: str) -> Words:
    """Return the words of a part of a type that is not known. Raises InvalidRequest where it has none (R37)."""
    if kind in REFUSED:
        source = part.get("source")
        if isinstance(source, dict) and source.get("type") == "text" and isinstance(source.get("data"), str):
            return Words(source["data"])  # a document of Anthropic's that is text
        raise refusal(f"{where}: the backend takes no {REFUSED[kind]}", where)
    if isinstance(part.get("text"), str):
        return Words(part["text"])
    told = "a part without type" if kind is None else f"type {kind[:LONGEST_TOLD]!r}"
    raise refusal(f"{where}: {told} is not supported", where)


def _image(part: Mapping[str, Any], where: str) -> Mapping[str, object]:
    """Return an image as image_url with url and detail (R6). Raises InvalidRequest where it has no url (R37)."""
    held = part.get("image_url", part.get("image"))
    url, detail = held, part.get("detail")
    if isinstance(held, dict):
        url, detail = held.get("url"), held.get("detail", detail)
    elif held is None:
        url = _source_url(part.get("source")) or _inline_url(part.get("data"), part.get("mimeType"))
    if not isinstance(url, str) or not url:
        raise refusal(f"{where}: an image needs a url", where)
    image: dict[str, object] = {"url": url}
    if isinstance(detail, str):
        image["detail"] = detail
    return {"type": "image_url", "image_url": image}


def _source_url(source: object) -> object:
    """Return the url of Anthropic's source of an image."""
    if not isinstance(source, dict):
        return None
    return (
        source.get("url") if source.get("type") == "url" else _inline_url(source.get("data"), source.get("media_type"))
    )


def _inline_url(data: object, media_type: object) -> str | None:
    if not isinstance(data, str) or not data:
        return None
    if data.startswith("data:"):
        return data
    return f"data:{media_type if isinstance(media_type, str) else 'image/png'};base64,{data}"


def _audio(part: Mapping[str, Any], kind: str, where: str) -> Mapping[str, object]:
    held = part.get(kind)
    if kind == "input_audio" and isinstance(held, dict) and isinstance(held.get("data"), str):
        return {"type": kind, kind: {key: held[key] for key in ("data", "format") if isinstance(held.get(key), str)}}
    url = held.get("url") if isinstance(held, dict) else held
    if kind == "input_audio" or not isinstance(url, str) or not url:
        raise refusal(f"{where}: audio needs its data or a url", where)
    return {"type": kind, kind: {"url": url}}


def _thought(part: Mapping[str, Any]) -> str:
    """Return the text of Mistral's, Anthropic's and the AI SDK's reasoning; encrypted ones have none."""
    held = part.get("thinking", part.get("text"))
    if isinstance(held, list):
        texts = [entry.get("text") for entry in held if isinstance(entry, dict)]
        return "".join(text for text in texts if isinstance(text, str))
    return held if isinstance(held, str) else ""


def _use(part: Mapping[str, Any]) -> Use:
    ident = text_or_none(part.get("id", part.get("toolCallId")))
    name = text_or_none(part.get("name", part.get("toolName"))) or ""
    return Use(ident, name, arguments_text(part.get("input", part.get("args"))))


def _result(part: Mapping[str, Any]) -> Result:
    ident = text_or_none(part.get("tool_use_id", part.get("toolCallId", part.get("tool_call_id"))))
    name = text_or_none(part.get("name", part.get("toolName")))
    return Result(ident, name, part.get("content", part.get("output", part.get("result"))))


def result_pieces(content: object, where: str, parts: Tally) -> list[Piece] | None:
    """Return what the content of a tool result is made of, None where it is data and no content.

    A list counts as content where each element is a text, an image or a sound as it should be: a tool may as well
    return a JSON list of whatever it likes, also of things that have a `type`. Results within a result are opened.
    """
    if not isinstance(content, list):
        return None
    for part in content:
        if not isinstance(part, str) and not (isinstance(part, dict) and _is_content(part)):
            return None
    parts.add(len(content), where)
    pieces: list[Piece] = []
    for number, part in enumerate(content):
        piece = piece_of(part, f"{where}.{number}")
        if isinstance(piece, Result):
            inner = result_pieces(piece.content, where, parts)
            pieces += [Words(json_text(piece.content))] if inner is None else inner
        elif piece is not None:
            pieces.append(piece)
    return [piece for piece in pieces if not (isinstance(piece, Words) and not piece.text)]


def _is_content(part: Mapping[str, Any]) -> bool:
    """Return whether an element of a tool's list is a part of content. Files that are parts raise later on (R37)."""
    kind = part.get("type")
    if not isinstance(kind, str):
        kind = _guessed(part)
        return kind is not None and len(part) == 1
    if kind in TEXT_TYPES:
        return isinstance(part.get("text"), str | None)
    if kind in IMAGE_TYPES:
        return any(part.get(key) for key in ("image_url", "image", "source", "data"))
    if kind in AUDIO_TYPES or kind in RESULT_TYPES:
        return True
    if kind in ("file", "video_url"):
        return isinstance(part.get("file", part.get("video_url")), dict)
    return kind == "document" and isinstance(part.get("source"), dict)
