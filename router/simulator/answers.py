"""An answer as it is worked out before anything is sent: bytes that lack only their id and their time.

An answer depends on nothing but the request's body and the settings, so it can be kept and sent again: only two marks
in its bytes are replaced each time. A streamed answer is events by moment: those sent at once, those of each step (one
token of every choice), those right after the last step.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import orjson

from router.simulator.prefixes import blocks_of
from router.simulator.settings import Settings

# Marks, long enough not to occur by chance. The one of time is a number, as the field is.
IDENT = "8c1f5e0ab7d94f63"
CREATED = 1800000000017
_IDENT = IDENT.encode()
_CREATED = str(CREATED).encode()
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer, whole. `body` is None for a streamed one."""

    prompt_tokens: int
    completion_tokens: int
    finish: str  # "stop", "length", "tool_calls"
    choices: int = 1
    body: bytes | None = None
    opening: tuple[bytes, ...] = ()  # sent as soon as the request is taken, even while it waits
    steps: tuple[tuple[bytes, ...], ...] = ()  # one element for each moment
    closing: tuple[bytes, ...] = ()  # right after the last step
    aborted: tuple[bytes, ...] = ()  # what ends it instead, when the server shuts down
    moments: int = 1  # how many tokens' time it takes
    blocks: tuple[int, ...] = ()  # of the prompt, where there is a prefix cache


def with_prompt(answer: Answer, prompt: Sequence[int], settings: Settings) -> Answer:
    """Return an answer that knows what of its prompt a prefix cache may hold."""
    return replace(answer, blocks=blocks_of(prompt)) if settings.prefix_cache else answer


def dress(data: bytes, ident: bytes, created: bytes) -> bytes:
    """Return an answer's bytes with id and time (Unix seconds) in place."""
    return data.replace(_IDENT, ident).replace(_CREATED, created)


def event(payload: Any) -> bytes:
    """Return an event without a name, as OpenAI's streams have them."""
    return b"data: " + orjson.dumps(payload) + b"\n\n"


def named_event(name: str, payload: Any) -> bytes:
    """Return an event with a name, as Anthropic's and the Responses API's streams have them."""
    return b"event: " + name.encode() + b"\ndata: " + orjson.dumps(payload) + b"\n\n"


def plain(payload: Any, *, prompt: int = 0, completion: int = 0, finish: str = "stop", moments: int = 1) -> Answer:
    """Return an answer that is one JSON object."""
    return Answer(prompt, completion, finish, body=orjson.dumps(payload), moments=moments)


def interleave(choices: Iterable[list[bytes]]) -> tuple[tuple[bytes, ...], ...]:
    """Return steps of which each has the next event of every choice that still has one."""
    rows = list(choices)
    longest = max((len(row) for row in rows), default=0)
    return tuple(tuple(row[step] for row in rows if step < len(row)) for step in range(longest))
