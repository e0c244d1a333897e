"""Content that is not text: parts of a list, or any other JSON (S13)."""

from typing import Any

import orjson

_TEXT_KEYS = ("text", "refusal", "content")  # where parts have their text
_THOUGHTS = ("thinking", "reasoning")  # types of parts


def text_of(content: Any) -> tuple[str, str]:
    """Return content of any shape as text, and the thoughts that stood in it as parts of their own."""
    if content is None or isinstance(content, str):
        return content or "", ""
    if not isinstance(content, list):
        return orjson.dumps(content).decode(), ""
    texts: list[str] = []
    thoughts: list[str] = []
    for part in content:
        if isinstance(part, dict) and part.get("type") in _THOUGHTS:
            thought = part.get("thinking", part.get("text"))
            thoughts += map(_part_text, thought) if isinstance(thought, list) else [_part_text(thought)]
        else:
            texts.append(_part_text(part))
    return "".join(texts), "".join(thoughts)


def _part_text(part: object) -> str:
    if isinstance(part, dict):
        part = next((part[key] for key in _TEXT_KEYS if isinstance(part.get(key), str)), "")
    return part if isinstance(part, str) else ""
