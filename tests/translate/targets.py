"""Which tokenizers a translated request must suit, and bodies as clients send them."""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any

from router.translate.profile import PRESETS, STRICTEST, Profile
from tests.translate.real.tekken import TOKENIZERS
from tests.translate.real.workers import Fleet, Job, pinned_versions

# The profile that belongs to each tokenizer.
OWN: dict[str, Profile] = {
    name: replace(PRESETS[name.removesuffix("-text")], vision=takes_images)
    for name, (_, _, takes_images) in TOKENIZERS.items()
}
# What every profile is tried with: the tokenizers' own, the strictest, templates, and what probing a new server finds.
PROFILES: dict[str, Profile] = {
    **OWN,
    "strictest": STRICTEST,
    "template": PRESETS["template"],
    "template-text": replace(PRESETS["template"], vision=False),
    "v13-modern": replace(OWN["v13"], nine_ids=False, bridge=False, strict_tools=True),
    "v15-modern": replace(OWN["v15"], nine_ids=False, bridge=False, strict_tools=True, thinking=True),
}
HOWS = ("openai", "direct")
MODES = ("test", "serving")


def dump(body: dict[str, Any]) -> bytes:
    """Return a body as httpx and the browser send it: UTF-8, compact; escaped where UTF-8 cannot say it."""
    try:
        return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        return json.dumps(body, separators=(",", ":")).encode()


def has_text_beside_calls(body: dict[str, Any]) -> bool:
    """Whether a translated request has what v1 to v3 do not take."""
    return any(message.get("tool_calls") and message.get("content") for message in body["messages"])


def combinations(
    fleet: Fleet, tokenizers: Iterable[str] = TOKENIZERS, *, versions: Sequence[str] = ()
) -> list[tuple[str, str]]:
    """Return each of the versions of mistral-common (none: all) with each tokenizer that it knows."""
    return [
        (version, name)
        for version in versions or pinned_versions()
        for name in tokenizers
        if fleet.knows(version, TOKENIZERS[name][0])
    ]


ALL_WAYS = tuple((how, mode) for how in HOWS for mode in MODES)
BOTH_ENDS = (("openai", "test"), ("direct", "serving"))  # the most and the least forgiving way, for many bodies
SEEN = ("messages", "tools", "reasoning_effort", "continue_final_message")  # what reaches mistral-common


def refusals(
    fleet: Fleet,
    bodies: dict[str, list[bytes]],
    *,
    ways: Sequence[tuple[str, str]] = ALL_WAYS,
    versions: Sequence[str] = (),
) -> dict[str, dict[int, str]]:
    """Encode the bodies of each tokenizer in these versions: tokenizer -> number of the body -> the first refusal."""
    unique = {name: Unique(each) for name, each in bodies.items()}
    jobs = [
        Job(version, name, how, mode, unique[name].bodies, errors_only=True)
        for version, name in combinations(fleet, bodies, versions=versions)
        for how, mode in ways
    ]
    found: dict[str, dict[int, str]] = {name: {} for name in bodies}
    for job, results in zip(jobs, fleet.encode(jobs), strict=True):
        where = f"mistral-common {job.version}, {job.tokenizer}, {job.how}, {job.mode}"
        for number, place in enumerate(unique[job.tokenizer].places):
            if results[place] is not None:
                found[job.tokenizer].setdefault(number, f"{where}: {results[place]['error']}")
    return found


class Unique:
    """Many requests, but each that mistral-common would see only once."""

    def __init__(self, bodies: list[bytes]) -> None:
        """Sort them out."""
        self.bodies: list[dict[str, Any]] = []
        self.places: list[int] = []  # of each request in `bodies`
        known: dict[str, int] = {}
        for body in bodies:
            whole = json.loads(body)
            seen = {key: whole[key] for key in SEEN if key in whole}
            place = known.setdefault(json.dumps(seen), len(known))
            if place == len(self.bodies):
                self.bodies.append(seen)
            self.places.append(place)
