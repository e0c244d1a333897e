"""Chat request bodies of an exact size, as clients send them. Pure, and the same on every run."""

import json
from itertools import count

SYSTEM = "You are a coding agent. Use the tools to read and change files; answer briefly.\n"
CODE = (
    'def area(shape: dict[str, float]) -> float:\n    """Return the area; raises KeyError for an unknown shape."""\n'
    '    if shape["kind"] == "circle":\n        return 3.14159 * shape["r"] ** 2\n    return shape["w"] * shape["h"]\n'
)
TURN = 4000  # characters of a tool's result: 100 lines of a file, or the output of a failing test
WORDS = "The quick brown fox jumps over the lazy dog. "
Message = dict[str, object]


def chat_body(size: int, *, model: str, stream: bool, max_tokens: int, repairs: bool = False) -> bytes:
    """Return a chat request of exactly `size` bytes; raises ValueError below about 250.

    A small one is a question in prose. A large one is a coding agent's history: code, with its escapes, calls of
    tools and their results, filled up with prose in the last message. It is in the shape that models of the Mistral
    family take; with `repairs`, five of its messages are not.
    """
    body: dict[str, object] = {"model": model, "stream": stream, "temperature": 0.2, "max_tokens": max_tokens}
    messages: list[Message] = [{"role": "system", "content": SYSTEM}]
    last: Message = {"role": "user", "content": ""}
    for number in count():
        turn = _turn(number)
        if len(_encode({**body, "messages": [*messages, *turn, last]})) > size - (SPOILT if repairs else 0):
            break
        messages += turn
    messages.append(last)
    body["messages"] = dirty(messages) if repairs else messages
    missing = size - len(_encode(body))
    last["content"] = (WORDS * (missing // len(WORDS) + 1))[: max(missing, 0)]
    encoded = _encode(body)
    if len(encoded) != size:
        raise ValueError(f"no chat body has only {size} bytes")
    return encoded


SPOILT = 256  # bytes that `dirty` adds at most


def dirty(messages: list[Message]) -> list[Message]:
    """Return the conversation with five messages that need a repair, the first four from its second quarter on.

    The objects of untouched messages stay, that of the last one too. Raises ValueError for one that is too short.
    """
    changed: list[Message] = list(messages)
    calls = [index for index, one in enumerate(messages) if "tool_calls" in one and index >= len(messages) // 4]
    if len(calls) < 4:
        raise ValueError("too short a conversation for five repairs")
    spoilt: list[Message] = [
        {"content": [{"type": "text", "text": "I read it."}]},
        {"content": None},
        {"reasoning_content": "It must be in the second file."},
        {"refusal": None},
    ]
    for index, change in zip(calls, spoilt, strict=False):
        changed[index] = {**messages[index], **change}
    changed[-1]["name"] = "bob"
    return changed


def _turn(number: int) -> list[Message]:
    call = {"name": "read_file", "arguments": json.dumps({"path": f"src/shape_{number}.py"})}
    text = f"# src/shape_{number}.py\n" + CODE * (TURN // len(CODE))
    return [
        {"role": "user", "content": f"What does src/shape_{number}.py do?"},
        {
            "role": "assistant",
            "content": "",
            "tool_calls": [{"id": f"call{number:05d}", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": f"call{number:05d}", "content": text},
        {"role": "assistant", "content": 'It computes the area of a "shape", and knows circles and rectangles.'},
    ]


def _encode(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
