"""`python -m bench.translation`: what translating adds to a request and to an event of a stream, in this process.

Each figure is the fastest of many rounds, as noise only adds; what the plain relay does with the same bytes (reading
the envelope; nothing, for an event) is measured in turn with it and taken off. `--check` exits with 1 over a bar.
"""

import argparse
import json
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from bench.bodies import CODE, TURN, dirty
from router.relay.envelope import peek_json
from router.translate.asked import Asked
from router.translate.mistral.request import read, translate
from router.translate.mistral.stream import StreamTranslator
from router.translate.profile import PRESETS, STRICTEST, Profile

ROUNDS = 200
CALLS = 20  # in one round
SMALL, LARGE = 2 * 1024, 128 * 1024  # bytes of bodies
PROFILES = {"v13": PRESETS["v13"], "strictest": STRICTEST}
Field = dict[str, object]


@dataclass(frozen=True, slots=True)
class Figure:
    """What one case costs beyond the plain relay, in microseconds."""

    name: str
    added: float
    bar: float


def tools(count: int) -> list[Field]:
    """Return definitions of functions as coding agents send them."""
    schema = {
        "type": "object",
        "properties": {
            "path": {"type": "string", "description": "The path of the file, relative to the workspace."},
            "lines": {"type": "array", "items": {"type": "integer"}, "description": "First and last line."},
            "mode": {"type": "string", "enum": ["text", "bytes"]},
        },
        "required": ["path"],
    }
    function = {"description": "Work on a file of the workspace and return what came of it.", "parameters": schema}
    return [{"type": "function", "function": {"name": f"tool_{number}", **function}} for number in range(count)]


def history(size: int) -> list[Field]:
    """Return an agent's conversation of about `size` bytes, in the shape that needs no repair."""
    messages: list[Field] = [
        {"role": "system", "content": "You are a coding agent. " * 20},
        {"role": "user", "content": "Repair the tests."},
    ]
    while len(json.dumps(messages)) < size:
        ident = f"call{len(messages):05d}"
        call = {"name": "tool_1", "arguments": json.dumps({"path": f"src/part_{len(messages)}.py"})}
        messages += [
            {"role": "assistant", "content": "", "tool_calls": [{"id": ident, "type": "function", "function": call}]},
            {"role": "tool", "tool_call_id": ident, "content": CODE * (TURN // len(CODE))},
        ]
    return messages


def more() -> Field:
    """Return a question that goes on with a conversation."""
    return {"role": "user", "content": "And the others?"}


def body(messages: list[Field], *, offered: int) -> bytes:
    """Return the bytes of a request."""
    fields: Field = {"model": "devstral", "messages": messages, "stream": True, "temperature": 0.2}
    return json.dumps({**fields, "tools": tools(offered)} if offered else fields, separators=(",", ":")).encode()


def fastest(act: Callable[[], object], plain: Callable[[], object]) -> float:
    """Return the microseconds that one call of `act` takes beyond one of `plain`."""
    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, call in enumerate((act, plain)):
            started = time.perf_counter()
            for _ in range(CALLS):
                call()
            best[index] = min(best[index], (time.perf_counter() - started) / CALLS)
    return (best[0] - best[1]) * 1e6


def request_figures() -> list[Figure]:
    """Return what translating requests adds."""
    small, large = history(SMALL - 400), history(LARGE - 4000)
    cases = [
        ("2 KB, nothing to repair", body(small, offered=0), 15.0),
        ("128 KB, nothing to repair", body(large, offered=8), 60.0),
        ("128 KB, five messages to repair", body(dirty([*large, more()]), offered=8), 150.0),
    ]
    figures = []
    for name, raw, bar in cases:
        for label, profile in PROFILES.items():
            added = fastest(_translation(raw, profile), lambda raw=raw: peek_json(raw))  # type: ignore[misc]
            figures.append(Figure(f"request of {name}, {label}", added, bar))
    return figures


def _translation(raw: bytes, profile: Profile) -> Callable[[], object]:
    def act() -> object:
        shape = read(raw)
        if shape is None:
            peek_json(raw)
        return translate(raw, profile, shape=shape)

    return act


def event(text: str, *, extra: str) -> bytes:
    """Return an event as vLLM 0.32 writes it; `extra`: what only vLLM knows."""
    head = 'data: {"id":"chatcmpl-96984aa8fd307d97","object":"chat.completion.chunk","created":1795210401,"model":"m",'
    delta = json.dumps({"content": text}, ensure_ascii=False, separators=(",", ":"))
    tail = f'"choices":[{{"index":0,"delta":{delta},"logprobs":null,"finish_reason":null{extra}}}]}}\n\n'
    return (head + tail).encode()


def event_figures() -> list[Figure]:
    """Return what translating events adds, to the one after the beginning of its stream."""
    figures = []
    for name, extra, bar in (
        ("event without a repair", "", 0.5),
        ("event with token_ids (S1)", ',"token_ids":null', 2.0),
    ):
        for label, asked in (("", Asked()), (", tools", Asked(tools=frozenset({"tool_1"})))):
            translator = StreamTranslator(asked, new_id=lambda: "abcDEF123")
            start = event("", extra=extra).replace(b'"content":""', b'"role":"assistant","content":""')
            for one in (start, event("The", extra=extra), event(" first", extra=extra)):
                translator.feed(one)
            one = event(" words", extra=extra)
            added = fastest(lambda one=one, feed=translator.feed: feed(one), lambda: None)  # type: ignore[misc]
            figures.append(Figure(name + label, added, bar))
    return figures


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print, judge."""
    parser = argparse.ArgumentParser(prog="python -m bench.translation", description=__doc__)
    parser.add_argument("--check", action="store_true", help="exit with 1 over a bar")
    asked = parser.parse_args(argv)
    figures = request_figures() + event_figures()
    print(f"{'microseconds added':52} {'figure':>8} {'bar':>8}")
    for figure in figures:
        print(f"{figure.name:52} {figure.added:8.2f} {figure.bar:8.1f}{'' if figure.added <= figure.bar else '  over'}")
    return int(asked.check and any(figure.added > figure.bar for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
