"""What one request of the corpus is, and short words for its usual parts."""

import enum
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from router.translate.notes import Rule

Json = dict[str, Any]
ABSENT = object()  # a field that must not stand in the translated body


class Raw(enum.Enum):
    """What mistral-common says to the messages and tools as the client sent them."""

    TAKEN = "by every version, on every tokenizer"
    MIXED = "by some versions, or on some tokenizers"
    REFUSED = "by none"


TAKEN, MIXED, REFUSED = Raw


@dataclass(frozen=True, slots=True)
class Case:
    """One request.

    `rules`: "R3 R5 (R22)": R3 and R5 are applied for the strictest profile; R22 may be, there or for another profile;
    no rule that is not named may ever change anything. "=" or "= (R22)": as it came, for the strictest profile too.
    """

    name: str  # listed name/who sends it so
    raw: Raw
    rules: str
    body: Json
    gives: Mapping[str, Any] = field(default_factory=dict)  # fields of the translated body, for the strictest profile
    refused: str | None = None  # the param of our own refusal
    picture: bool = False  # a user shows an image: models without vision refuse it

    @property
    def listed(self) -> str:
        """Return the name under which the list of cases has it."""
        return self.name.partition("/")[0]

    @property
    def request(self) -> Json:
        """Return the body with a model."""
        return {"model": "devstral", **self.body}

    @property
    def must(self) -> frozenset[Rule]:
        """Return the rules that have to be applied for the strictest profile."""
        return _rules(re.sub(r"\(.*\)", "", self.rules))

    @property
    def may(self) -> frozenset[Rule]:
        """Return the rules that may be applied for any profile."""
        return _rules(self.rules)


def _rules(words: str) -> frozenset[Rule]:
    return frozenset(Rule[word] for word in re.findall(r"R\d+", words))


def system(content: object) -> Json:
    """Return a system message."""
    return {"role": "system", "content": content}


def user(content: object) -> Json:
    """Return a user message."""
    return {"role": "user", "content": content}


def assistant(content: object) -> Json:
    """Return an assistant message without calls."""
    return {"role": "assistant", "content": content}


def call(id: object, name: str = "get_weather", arguments: object = '{"city": "Paris"}') -> Json:  # noqa: A002
    """Return one call in OpenAI's form."""
    return {"id": id, "type": "function", "function": {"name": name, "arguments": arguments}}


def calls(*made: Json, content: object = None) -> Json:
    """Return an assistant message with calls, as OpenAI's answers have it: content null."""
    return {"role": "assistant", "content": content, "tool_calls": list(made)}


def result(id: object, content: object = "sunny, 21 C") -> Json:  # noqa: A002
    """Return the result of a call."""
    return {"role": "tool", "tool_call_id": id, "content": content}


def text(content: str) -> Json:
    """Return a text part."""
    return {"type": "text", "text": content}


CITY = {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]}


def tool(name: str = "get_weather", parameters: Json = CITY) -> Json:
    """Return a tool of OpenAI's form, with nothing that any version refuses."""
    return {"type": "function", "function": {"name": name, "description": f"Calls {name}.", "parameters": parameters}}


WEATHER = tool()
TIME = tool("get_time", {"type": "object", "properties": {"zone": {"type": "string"}}})
# 2 by 2 pixels
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAIAAAD91JpzAAAAFklEQVR42gXBAQEAAACCIPs/mmAqQjkt7gb7C98nEwAAAABJRU5ErkJggg=="
PICTURE = f"data:image/png;base64,{PNG}"


def image(**more: object) -> Json:
    """Return an image part of OpenAI's form."""
    return {"type": "image_url", "image_url": {"url": PICTURE, **more}}
