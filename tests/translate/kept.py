"""What a request says: its texts, calls and images, in whatever form a client wrote them."""

import json
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from typing import Any, Self

IMAGES = {"image_url", "input_image", "image"}
THOUGHTS = {"thinking", "redacted_thinking", "reasoning"}
SPEAKERS = {"function": "tool", "tool_results": "tool", "human": "user", "ai": "assistant", "model": "assistant"}


@dataclass
class Said:
    """Everything that a model could read in a request."""

    texts: list[tuple[str, str]] = field(default_factory=list)  # (role, text); empty texts say nothing
    calls: list[tuple[str, object]] = field(default_factory=list)  # (name, arguments, parsed where they are JSON)
    images: list[tuple[str, str]] = field(default_factory=list)  # (role, URL)

    def urls(self, roles: Collection[str] = ("system", "user", "assistant", "tool")) -> list[str]:
        """Return the images of these roles."""
        return [url for role, url in self.images if role in roles]

    def missing_in(self, other: Self, *, but: Collection[str] = ()) -> list[str]:
        """Return the texts that stand in `other` less often than here; those of the roles in `but` may."""
        mine = [text for role, text in self.texts if role not in but]
        others = [text for _, text in other.texts]
        return [wanted for wanted in set(mine) if count(wanted, others) < count(wanted, mine)]


def count(wanted: str, texts: list[str]) -> int:
    """Return how often it stands in the texts; texts that became one count as much as before."""
    return sum(text.count(wanted) for text in texts)


def said(body: dict[str, Any]) -> Said:
    """Read a request, translated or not; what makes no sense is passed over."""
    found = Said()
    messages = body.get("messages")
    for message in messages if isinstance(messages, list) else []:
        if isinstance(message, dict):
            role = str(message.get("role"))
            _content(found, SPEAKERS.get(role, role), message.get("content"))
            _calls(found, message)
    return found


def whole(text: str) -> str:
    """Return the text with halves of surrogate pairs replaced, as R36 does."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _content(found: Said, role: str, content: object) -> None:
    if isinstance(content, str):
        if content.strip():
            found.texts.append((role, whole(content)))
    elif isinstance(content, list):
        for part in content:
            _part(found, role, part)
    elif isinstance(content, dict):
        _part(found, role, content)
    elif content is not None:
        found.texts.append((role, json.dumps(content)))


def _part(found: Said, role: str, part: object) -> None:
    if not isinstance(part, dict):
        _content(found, role, part)
        return
    kind = part.get("type")
    if kind in IMAGES:
        found.images.append((role, _url(part)))
    elif kind == "tool_use":
        found.calls.append((str(part.get("name")), _parsed(json.dumps(part.get("input")))))
    elif kind == "tool_result":
        _content(found, "tool", part.get("content"))
    elif kind not in THOUGHTS:
        known = [part[key] for key in ("text", "refusal") if isinstance(part.get(key), str)]
        for text in known or _leaves({key: value for key, value in part.items() if key not in ("type", "text")}):
            _content(found, role, text)


def _url(part: dict[str, Any]) -> str:
    if part["type"] == "image":
        source = part["source"]
        return f"data:{source['media_type']};base64,{source['data']}"
    url = part["image_url"]
    return str(url["url"] if isinstance(url, dict) else url)


def _calls(found: Said, message: dict[str, Any]) -> None:
    legacy = message.get("function_call")
    if isinstance(legacy, dict):
        found.calls.append((str(legacy.get("name")), _parsed(legacy.get("arguments"))))
    calls = message.get("tool_calls")
    for call in calls if isinstance(calls, list) else []:
        function = call.get("function")
        if isinstance(function, dict):
            found.calls.append((str(function.get("name") or ""), _parsed(function.get("arguments"))))
        elif isinstance(custom := call.get("custom"), dict):
            found.calls.append((str(custom.get("name")), {"input": whole(str(custom.get("input")))}))


def _parsed(arguments: object) -> object:
    if not isinstance(arguments, str):
        return {} if arguments is None else arguments
    try:
        return json.loads(whole(arguments) or "{}")
    except ValueError:
        return whole(arguments)


def _leaves(value: object) -> Iterator[str]:
    """The strings and numbers within a JSON value, as text."""
    if isinstance(value, dict):
        for inner in value.values():
            yield from _leaves(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _leaves(inner)
    elif isinstance(value, str):
        if value.strip():
            yield whole(value)
    elif value is not None:
        yield json.dumps(value)
