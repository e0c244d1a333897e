"""Messages as they came and as they go: their content stays the JSON text it is, and is read only where a rule must.

A `Message` of these types may still hold what no backend takes (the fields after "dropped", those that clients are
often seen to send); a canonical one has none of it, so it is encoded as it goes to the backend. What was read may
belong to several translations: it is never changed in place.
"""

import struct
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Raw, Struct, UnsetType

Field = Raw | UnsetType


class Function(Struct, forbid_unknown_fields=True, gc=False):
    """What is called, and with what."""

    name: str
    arguments: Raw  # canonical: a string, of JSON text


class Call(Struct, forbid_unknown_fields=True, gc=False):
    """One call of an assistant message."""

    id: str  # "": the client gave none
    type: Literal["function"]
    function: Function
    # dropped (R4)
    index: Field = UNSET
    provider_specific_fields: Field = UNSET
    extra_content: Field = UNSET


class System(Struct, tag_field="role", tag="system", forbid_unknown_fields=True, gc=False):
    """A message of the operator."""

    content: Field = UNSET
    # dropped (R1)
    name: Field = UNSET


class Developer(System, tag="developer", gc=False):
    """The same, as OpenAI calls it since its reasoning models (R2)."""


class User(Struct, tag_field="role", tag="user", forbid_unknown_fields=True, gc=False):
    """A message of the user."""

    content: Field = UNSET
    # dropped (R1)
    name: Field = UNSET


class Assistant(Struct, tag_field="role", tag="assistant", forbid_unknown_fields=True, gc=False):
    """A message of the model."""

    content: Field = UNSET
    tool_calls: list[Call] | UnsetType | None = UNSET
    reasoning: Field = UNSET  # canonical where a template may show it (R10)
    # dropped, or carried elsewhere (R1, R10, R11, R29)
    reasoning_content: Field = UNSET
    reasoning_details: Field = UNSET
    function_call: Field = UNSET
    prefix: Field = UNSET
    refusal: Field = UNSET
    annotations: Field = UNSET
    audio: Field = UNSET
    provider_specific_fields: Field = UNSET
    name: Field = UNSET


class Tool(Struct, tag_field="role", tag="tool", forbid_unknown_fields=True, gc=False):
    """The result of one call."""

    content: Field = UNSET
    tool_call_id: str | UnsetType | None = UNSET
    name: Field = UNSET  # canonical for tokenizers of version 2 only (R12)


Message = System | Developer | User | Assistant | Tool


class Turn(Struct, gc=False):
    """A message whose own form is canonical, on its way to its place."""

    message: System | User | Assistant | Tool
    origin: int  # its number among the client's messages
    media: list[Any] | None = None  # parts of a tool result that a user must say (R9)
    made: bool = False  # the client did not send it so: it may join its neighbours
    prefix: bool = False  # an assistant's, to be continued (R29)


# The first byte of a JSON text, in a tuple: the quickest look into a `msgspec.Raw`.
first_byte = struct.Struct("B").unpack_from
QUOTE = (0x22,)  # what a string begins with
# Two bytes of a string, which has as many.
first_two = struct.Struct("2s").unpack_from
EMPTY_STRING = (b'""',)
EMPTY = Raw(b'""')
SPACE = Raw(b'" "')
_encode = msgspec.json.Encoder().encode
decode = msgspec.json.Decoder(Any).decode  # what a content is, where it must be looked into


def encoded(value: object) -> Raw:
    """Return a value as JSON."""
    return Raw(_encode(value))


def is_text(content: Raw) -> bool:
    """Return whether it is a string."""
    return first_byte(content) == QUOTE


def is_some_text(content: Raw) -> bool:
    """Return whether it is a string that is not empty."""
    return first_byte(content) == QUOTE and first_two(content) != EMPTY_STRING


def is_silent(message: Assistant) -> bool:
    """Return whether a canonical message says nothing and calls nothing (R14)."""
    content = message.content
    if message.tool_calls is not UNSET or message.reasoning is not UNSET or content is UNSET:
        return False
    return first_byte(content) == QUOTE and first_two(content) == EMPTY_STRING


def as_parts(content: Raw) -> list[Any]:
    """Return canonical content as a list of parts, empty where it is an empty string."""
    if not is_text(content):
        parts = decode(content)
        assert isinstance(parts, list)
        return parts
    return [{"type": "text", "text": decode(content)}] if is_some_text(content) else []


def joined(contents: list[Raw]) -> Raw:
    """Return canonical contents of several messages as that of one (R16): texts that meet stand a blank line apart."""
    if len(contents) == 1:
        return contents[0]
    if all(map(is_text, contents)):
        texts = [bytes(content)[1:-1] for content in contents]
        return Raw(b'"%b"' % b"\\n\\n".join(filter(None, texts)))
    parts: list[Any] = []
    texts_met: list[str] = []  # of the last part, so that a long row of texts is joined once

    def close() -> None:
        if texts_met:
            parts.append({"type": "text", "text": "\n\n".join(texts_met)})
            texts_met.clear()

    for content in contents:
        for number, part in enumerate(as_parts(content)):
            if part["type"] != "text":
                close()
                parts.append(part)
                continue
            if number:
                close()  # two texts of one message stay two parts
            texts_met.append(part["text"])
    close()
    return encoded(parts)
