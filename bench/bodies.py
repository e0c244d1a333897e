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


def chat_body(size: int, *, model: str, stream: bool, max_tokens: int) -> bytes:
    """Return a chat request of exactly `size` bytes; raises ValueError below about 250.

    A small one is a question in prose. A large one is a coding agent's history: code, with its escapes, calls of
    tools and their results, filled up with prose in the last message.
    """
    body: dict[str, object] = {"model": model, "stream": stream, "temperature": 0.2, "max_tokens": max_tokens}
    messages: list[dict[str, object]] = [{"role": "system", "content": SYSTEM}]
    body["messages"] = messages
    last: dict[str, object] = {"role": "user", "content": ""}
    for number in count():
        turn = _turn(number)
        if len(_encode({**body, "messages": [*messages, *turn, last]})) > size:
            break
        messages += turn
    messages.append(last)
    missing = size - len(_encode(body))
    last["content"] = (WORDS * (missing // len(WORDS) + 1))[: max(missing, 0)]
    encoded = _encode(body)
    if len(encoded) != size:
        raise ValueError(f"no chat body has only {size} bytes")
    return encoded


def _turn(number: int) -> list[dict[str, object]]:
    call = {"name": "read_file", "arguments": json.dumps({"path": f"src/shape_{number}.py"})}
    text = f"# src/shape_{number}.py\n" + CODE * (TURN // len(CODE))
    return [
        {"role": "user", "content": f"What does src/shape_{number}.py do?"},
        {
            "role": "assistant",
            "content": None,
            "tool_calls": [{"id": f"call{number:05d}", "type": "function", "function": call}],
        },
        {"role": "tool", "tool_call_id": f"call{number:05d}", "content": text},
        {"role": "assistant", "content": 'It computes the area of a "shape", and knows circles and rectangles.'},
    ]


def _encode(body: dict[str, object]) -> bytes:
    return json.dumps(body, separators=(",", ":")).encode()
