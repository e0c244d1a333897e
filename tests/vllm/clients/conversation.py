"""What every client program does: one conversation of two turns for each line that it reads.

A line of input is a JSON object:

    base_url, model, seed    whom to ask
    choice                   "auto", "required" or "named"
    is_streamed              whether both turns are streamed

The first turn offers a tool; its calls are answered with RESULT, and the second turn, which may call no tool, gets the
history as this SDK builds it. A line of output tells what the program's user has seen: {"turns": [{"text", "calls":
[{"id", "name", "arguments"}], "finish"}, ...]}, or {"error": the SDK's exception}.
"""

import json
import sys
import traceback
from collections.abc import Callable
from typing import Any

QUESTION = "What is the weather in Paris?"
NAME = "get_weather"
DESCRIPTION = "Current weather in a city"
PARAMETERS = {
    "type": "object",
    "properties": {"city": {"type": "string"}, "unit": {"type": "string", "enum": ["celsius", "fahrenheit"]}},
    "required": ["city", "unit"],
    "additionalProperties": False,
}
TOOL = {
    "type": "function",
    "function": {"name": NAME, "description": DESCRIPTION, "strict": True, "parameters": PARAMETERS},
}
RESULT = json.dumps({"temperature": 21, "sky": "clear"})
MOST_TOKENS = 1000  # of a turn: room for calls, and for text to end by itself
TIMEOUT = 60  # seconds

Json = dict[str, Any]


def tool_choice(choice: str) -> object:
    """Return OpenAI's form of it."""
    return {"type": "function", "function": {"name": NAME}} if choice == "named" else choice


def turn(text: str | None, *, calls: list[Json], finish: str | None) -> Json:
    """Return what is told of one turn."""
    return {"text": text or "", "calls": calls, "finish": finish}


def called(call_id: str, name: str, arguments: str) -> Json:
    """Return what is told of one call; its arguments must be JSON."""
    return {"id": call_id, "name": name, "arguments": json.loads(arguments)}


def serve(converse: Callable[[Json], list[Json]]) -> None:
    """Hold the conversations that standard input asks for. An exception is told, and the next one is held."""
    out, sys.stdout = sys.stdout, sys.stderr  # an SDK that prints must not spoil the answers
    for line in sys.stdin:
        try:
            told: Json = {"turns": converse(json.loads(line))}
        except Exception as error:
            told = {"error": f"{type(error).__name__}: {error}", "trace": traceback.format_exc()}
        print(json.dumps(told), file=out, flush=True)
