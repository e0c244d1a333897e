"""What was changed, told for people: rule by rule, with the places, and with what became of ids and names.

What is told comes from clients and backends: it is cut, and fit for a terminal.
"""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import orjson

from router.translate.notes import Notes, Rule, Step
from router.translate.profile import PRESETS, STRICTEST, Profile, Renderer

SHOWN_PLACES = 20  # of one rule; a long conversation has the same change in every message
SHOWN_PATH = 120  # characters
_NOT_NAMED = "what it does not name counts as the strictest"


def told_profile(profile: Profile) -> list[str]:
    """Return what is known of a backend, and where more could be learned."""
    if profile == STRICTEST:
        return [
            "Profile strictest: nothing is known of the backend, so it gets what suits every one.",
            "A backend that was asked may need less: paste the `profile` that /health tells, as --profile TEXT.",
        ]
    told = "a chat template" if profile == Profile(Renderer.TEMPLATE) else profile.describe()
    name = next((name for name, preset in PRESETS.items() if preset == profile), None)
    return [f"Profile: {told}." if name is None else f"Profile {name}: {told}; {_NOT_NAMED}."]


def lines(notes: Notes, what: str, *, changes: Mapping[tuple[Rule, str], str] | None = None) -> list[str]:
    """Return the listing: rule by rule what was changed, where, and whether something of it got lost.

    `changes`: what became of what, as `changed` tells it.
    """
    if not notes.repaired:
        return [f"Nothing had to change in the {what}."]
    count = len(notes.repaired)
    lost = ", and something of it got lost (!)" if notes.lost else ""
    found = [f"{count} rule{'s' if count > 1 else ''} changed the {what}{lost}:"]
    for rule in Rule:
        if rule in notes.repaired:
            found += ["", f"{rule.name:4} {rule.value}{' (!)' if rule in notes.lost else ''}"]
            found += _places([step for step in notes.steps or () if step.rule is rule], changes or {})
    return found


def changed(before: bytes, after: bytes, *, names: Mapping[str, str]) -> dict[tuple[Rule, str], str]:
    """Return what became of ids (R3) and names (R12) of a request, by rule and place: "call_0 -> mupIKT56D".

    `names`: of tools, from the backend's to the client's. Calls stay in their order; where the request has some in
    other shapes (R11), so that they cannot be told apart here, nothing is said of calls.
    """
    own = {client: backend for backend, client in names.items()}
    told = {
        (Rule.R12, f"tools.{number}.function.name"): f"{name} -> {own[name]}"
        for number, tool in _objects(_object(before).get("tools"))
        if isinstance(name := _field(tool, "function", "name"), str) and name in own
    }
    sent = [call for _, _, call in _calls(after)]
    had = list(_calls(before))
    if len(had) != len(sent):
        return told
    ids: dict[str, list[str]] = {}
    for (message, number, old), new in zip(had, sent, strict=True):
        place = f"messages.{message}.tool_calls"
        if old.get("id") != new.get("id"):
            ids.setdefault(place, []).append(f"{_shown(old.get('id'))} -> {_shown(new.get('id'))}")
        was, is_now = _field(old, "function", "name"), _field(new, "function", "name")
        if was != is_now:
            told[Rule.R12, f"{place}.{number}.function.name"] = f"{_shown(was)} -> {_shown(is_now)}"
    return told | {(Rule.R3, place): ", ".join(pairs) for place, pairs in ids.items()}


def printable(text: str) -> str:
    """Return a text fit for a terminal, and not too long: names in it are the client's own."""
    if len(text) > SHOWN_PATH:
        text = text[: SHOWN_PATH - 1] + "…"
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def _places(steps: list[Step], changes: Mapping[tuple[Rule, str], str]) -> Iterator[str]:
    """Yield a line for each place, in a stable order, a few of them if there are many; losses are marked."""
    counted = Counter(sorted(steps, key=_order))
    for step, count in list(counted.items())[:SHOWN_PLACES]:
        times = f" ({count} times)" if count > 1 else ""
        note = changes.get((step.rule, step.where))
        told = "" if note is None else f": {printable(note)}"
        yield f"       {printable(step.where) or 'the whole'}{told}{times}{' (!)' if step.is_loss else ''}"
    if len(counted) > SHOWN_PLACES:
        yield f"       and {len(counted) - SHOWN_PLACES} more"


def _order(step: Step) -> list[tuple[bool, int, str]]:
    """Order places as a reader does: messages.2 before messages.10."""
    return [(not word.isdecimal(), len(word) if word.isdecimal() else 0, word) for word in f"{step.where}.".split(".")]


def _calls(body: bytes) -> Iterator[tuple[int, int, dict[str, Any]]]:
    """Yield the calls of a conversation, with the numbers of their message and of them in it."""
    for message, said in _objects(_object(body).get("messages")):
        for number, call in _objects(said.get("tool_calls")):
            yield message, number, call


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = orjson.loads(body)
    except orjson.JSONDecodeError:
        return {}
    return value if isinstance(value, dict) else {}


def _objects(values: object) -> Iterable[tuple[int, dict[str, Any]]]:
    if isinstance(values, list):
        yield from ((number, value) for number, value in enumerate(values) if isinstance(value, dict))


def _field(value: dict[str, Any], *keys: str) -> object:
    found: object = value
    for key in keys:
        found = found.get(key) if isinstance(found, dict) else None
    return found


def _shown(value: object) -> str:
    """Return an id or a name as its client wrote it; what is no text as JSON, "none" where there is none."""
    return value or "none" if isinstance(value, str) else "none" if value is None else orjson.dumps(value).decode()
