"""Reads the cases of tests/translate/answers: what a backend sends, and what its client is to see.

A file has a head (a sentence, and lines `rules:`, `asked:`, `form:`) and sections that begin with `=== NAME`:

    stream                what the backend streams, byte for byte
    stream to the client  what becomes of it, one JSON object or [DONE] or comment a line; `unchanged`: the same bytes
    view of the stream    where more than one way of cutting it into chunks is right: what a client has at its end
    answer, answer to the client, view of the answer   the same for an answer in one piece

Ids that the translator makes are new000001, new000002 ... in the order in which they are needed.
"""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Any

from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.notes import Rule

FOLDER = Path(__file__).resolve().parent / "answers"
UNCHANGED = "unchanged"


@dataclass(frozen=True, slots=True, eq=False)
class Case:
    """One file."""

    name: str
    rules: frozenset[Rule]  # that have to be noted, be it for the stream or for the answer
    asked: Asked
    form: AnswerForm
    sections: dict[str, str]

    def __str__(self) -> str:
        """Name it for pytest."""
        return self.name

    @property
    def stream(self) -> bytes:
        """What the backend streams."""
        return self.sections["stream"].encode()

    @property
    def answer(self) -> bytes:
        """What the backend answers in one piece."""
        return self.sections["answer"].removesuffix("\n").encode()

    def lines(self, section: str) -> list[str]:
        """Return a section's lines."""
        return self.sections[section].splitlines()

    def is_unchanged(self, section: str) -> bool:
        """Return whether the section says that nothing changes."""
        return self.sections.get(section, "").strip() == UNCHANGED

    def view(self, section: str) -> dict[str, Any] | None:
        """Return the view that a section states, None where there is none."""
        return json.loads(self.sections[section]) if section in self.sections else None


def asked_from(fields: dict[str, Any]) -> Asked:
    """Return what the line `asked:` says."""
    fields = dict(fields)
    for name in ("tools", "extras"):
        fields[name] = frozenset(fields.get(name, ()))
    return Asked(**{**fields, "tool_choice": ToolChoice(fields.get("tool_choice", "auto"))})


def form_from(fields: dict[str, Any]) -> AnswerForm:
    """Return what the line `form:` says."""
    reasoning = ReasoningField(fields.get("reasoning", "reasoning_content"))
    return AnswerForm(**{**fields, "reasoning": reasoning})


def read(path: Path) -> Case:
    """Return the case of one file."""
    head, *sections = re.split(r"^=== ", path.read_bytes().decode(), flags=re.MULTILINE)
    told = dict(line.split(": ", 1) for line in head.split("\n")[1:] if ": " in line)
    texts = dict(section.split("\n", 1) for section in sections)
    return Case(
        name=path.stem,
        rules=frozenset(Rule[name] for name in told.get("rules", "").split()),
        asked=asked_from(json.loads(told.get("asked", "{}"))),
        form=form_from(json.loads(told.get("form", "{}"))),
        sections=texts,
    )


@cache
def load(section: str = "") -> tuple[Case, ...]:
    """Return all cases that have a section."""
    cases = map(read, sorted(FOLDER.glob("*.txt")))
    return tuple(case for case in cases if not section or section in case.sections)


def new_ids() -> Callable[[], str]:
    """Return what makes the ids new000001, new000002 ..."""
    count = 0

    def new_id() -> str:
        nonlocal count
        count += 1
        return f"new{count:06d}"

    return new_id


def asked_back(case: Case, **changes: bool) -> Asked:
    """What was asked, with the client's own names where the translation has brought them back."""
    tools = frozenset(case.asked.names.get(name, name) for name in case.asked.tools)
    return replace(case.asked, tools=tools, names={}, **changes)
