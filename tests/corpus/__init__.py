"""Hostile bytes as data: what clients may send, what backends may answer, and what the router has to make of it.

The files in requests/ and responses/ are the corpus, a file per theme; notation.py says how bytes are written there.
`requests()` and `responses()` read them. docs/security.md tells what the router promises; test_requests.py and
test_responses.py hold it case by case, and compare.py puts the same requests to other servers.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from tests.corpus.notation import Step, steps, written

FOLDER = Path(__file__).resolve().parent
MUST = frozenset({"name", "rows", "rule", "send"})
MAY = frozenset({"answers", "stays", "sees"})
RESPONSE_MUST = frozenset({"name", "rows", "rule", "answer"})
RESPONSE_MAY = frozenset({"ask", "client", "gets", "never", "whole", "pooled", "own"})


@dataclass(frozen=True, slots=True)
class RequestCase:
    """What one client sends on one connection, and what has to come of it."""

    name: str
    theme: str  # its file's name
    raw: bytes  # all that is written; what is written for ever stands there once
    steps: tuple[Step, ...]
    answers: tuple[int, ...]  # the statuses in their order; empty: the connection ends without any
    stays: bool  # the connection is good for another request afterwards
    sees: tuple[bytes, ...]  # what the backend gets: whole requests, its name as BACKEND and the request's id as ID
    rows: tuple[int, ...]  # of docs/security.md
    rule: str  # why


@dataclass(frozen=True, slots=True)
class ResponseCase:
    """What one backend answers to one request, and what has to come of it."""

    name: str
    theme: str
    raw: bytes
    steps: tuple[Step, ...]
    ask: str  # what the client asks for: `plain`, `stream` or `models`
    client: int  # the status that the client gets; 0: none
    gets: tuple[bytes, ...]  # must be in the client's answer, head and body
    never: tuple[bytes, ...]  # must not be there
    whole: bool  # the client's answer says of itself that it is whole
    pooled: bool  # the backend's connection is used again
    own: bool  # what comes of it is a rule of the router's own: by HTTP's, others may do otherwise
    rows: tuple[int, ...]
    rule: str


@cache
def requests() -> list[RequestCase]:
    """Return all cases of requests, in the order of their files. Raises ValueError for a case that is written wrong."""
    return [_request(theme, case) for theme, case in _cases("requests", MUST, MAY)]


@cache
def responses() -> list[ResponseCase]:
    """Return all cases of backends' answers, likewise."""
    return [_response(theme, case) for theme, case in _cases("responses", RESPONSE_MUST, RESPONSE_MAY)]


def _cases(kind: str, must: frozenset[str], may: frozenset[str]) -> Iterator[tuple[str, dict[str, Any]]]:
    seen: set[str] = set()
    for path in sorted((FOLDER / kind).glob("*.yaml")):
        for case in yaml.load(path.read_text(), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            name = case.get("name")
            if not must <= case.keys() or not case.keys() <= must | may:
                raise ValueError(f"{path.name}: {name}: keys {sorted(case)}")
            if name in seen:
                raise ValueError(f"{path.name}: {name}: a case before it has this name")
            seen.add(name)
            yield path.stem, case


def _request(theme: str, case: dict[str, Any]) -> RequestCase:
    done = steps(case["send"])
    answers = case.get("answers", [400])
    return RequestCase(
        name=case["name"],
        theme=theme,
        raw=written(done),
        steps=done,
        answers=tuple(answers if isinstance(answers, list) else [answers]),
        stays=case.get("stays", False),
        sees=tuple(written(steps(each)) for each in case.get("sees", ())),
        rows=tuple(case["rows"]),
        rule=case["rule"],
    )


def _response(theme: str, case: dict[str, Any]) -> ResponseCase:
    done = steps(case["answer"])
    return ResponseCase(
        name=case["name"],
        theme=theme,
        raw=written(done),
        steps=done,
        ask=case.get("ask", "plain"),
        client=case.get("client", 502),
        gets=tuple(written(steps(each)) for each in case.get("gets", ())),
        never=tuple(written(steps(each)) for each in case.get("never", ())),
        whole=case.get("whole", True),
        pooled=case.get("pooled", False),
        own=case.get("own", False),
        rows=tuple(case["rows"]),
        rule=case["rule"],
    )
