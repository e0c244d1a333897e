"""Any conversation translates to one that every mistral-common accepts, with nothing lost; and nothing makes it crash.

`make nightly` tries 20,000 of each, with other conversations every night.
"""

import contextlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from hypothesis import HealthCheck, given, settings

from router.errors import InvalidRequest
from router.translate.mistral.request import Translated, translate
from router.translate.notes import Rule
from router.translate.profile import Profile
from tests.translate.conversations import requests, spoilt
from tests.translate.corpus.case import Json
from tests.translate.kept import Said, said
from tests.translate.real.workers import Fleet
from tests.translate.targets import BOTH_ENDS, OWN, PROFILES, dump, has_text_beside_calls, refusals

NIGHTLY = os.environ.get("ROUTER_NIGHTLY") == "1"
EXAMPLES = int(os.environ.get("ROUTER_EXAMPLES", 20_000 if NIGHTLY else 150))
BATCH = 500  # conversations that go to the workers at once
bounded = settings(
    max_examples=EXAMPLES,
    deadline=None,
    derandomize=not NIGHTLY,  # by day the same ones every time: what fails then is a change
    database=None,
    suppress_health_check=list(HealthCheck),
)
BY_TOKENIZER = [name for name in OWN if OWN[name].vision]


@given(body=requests())
@bounded
def test_translating_twice_is_translating_once(body: Json) -> None:
    for profile in PROFILES.values():
        once = translate(dump(body), profile).body
        again = translate(once, profile)

        assert again.body is once, sorted(rule.name for rule in again.notes.repaired)


@given(body=requests())
@bounded
def test_everything_that_was_said_is_kept(body: Json) -> None:
    before = said(body)
    for profile in PROFILES.values():
        done = translate(dump(body), profile)
        after = said(json.loads(done.body))
        read = after.joined()

        lost = [text for role, text in before.texts if text not in read and may_not_go(role, done)]
        assert not lost
        assert len(after.calls) == len(before.calls)
        assert sorted(map(repr, (made for _, made in after.calls))) == sorted(
            map(repr, (made for _, made in before.calls))
        )
        if profile.vision is not False:
            assert len(after.images) == len(before.images)


def called(what: Said) -> list[str]:
    return sorted(repr(arguments) for _, arguments in what.calls)


def may_not_go(role: str, done: Translated) -> bool:
    """A v3 tokenizer cannot hold text beside calls."""
    return not (role == "assistant" and Rule.R23 in done.notes.lost)


def batches(made: list[Any]) -> Iterator[list[Any]]:
    """What goes to the workers at once."""
    return (made[start : start + BATCH] for start in range(0, len(made), BATCH))


def test_every_mistral_common_accepts_any_conversation(fleet: Fleet) -> None:
    """On each tokenizer, translated for it and for the strictest. All are made first, and sent in few batches."""
    made: list[Json] = []

    @given(body=requests())
    @bounded
    def collect(body: Json) -> None:
        made.append(body)

    collect()
    failed: dict[str, Refused] = {}
    for batch in batches(made):
        for each in refused(fleet, batch):
            failed[each.kind] = min(each, failed.get(each.kind, each), key=lambda one: one.size)
    assert not failed, "\n\n".join(map(str, failed.values()))


@dataclass(frozen=True, slots=True)
class Refused:
    """A conversation that some version does not accept; of each kind the shortest is shown."""

    error: str
    request: Json
    sent: bytes

    @property
    def kind(self) -> str:
        """Return what was said, without what differs."""
        return re.sub(r"\d|'.*?'", "", self.error.partition("Exception: ")[2] or self.error)[:60]

    @property
    def size(self) -> int:
        """Return how much there is to read."""
        return len(self.sent)

    def __str__(self) -> str:
        """Return everything that is needed to look into it."""
        return f"{self.error}\nrequest: {json.dumps(self.request)}\nsent: {self.sent.decode()}"


def refused(fleet: Fleet, batch: list[Json]) -> list[Refused]:
    sent: dict[str, dict[bytes, Json]] = {}
    for name in BY_TOKENIZER:
        sent[name] = {
            done: body
            for body in batch
            for profile in (OWN[name], PROFILES["strictest"])
            if is_for(name, done := translate(dump(body), profile).body, profile)
        }
    bodies = {name: list(each) for name, each in sent.items()}
    return [
        Refused(error, sent[name][bodies[name][number]], bodies[name][number])
        for name, errors in refusals(fleet, bodies, ways=BOTH_ENDS).items()
        for number, error in errors.items()
    ]


def is_for(tokenizer: str, done: bytes, profile: Profile) -> bool:
    """Where the version is not known, text beside calls is kept, which v3 does not take."""
    return profile.version is not None or tokenizer != "v3" or not has_text_beside_calls(json.loads(done))


@given(body=spoilt())
@bounded
def test_what_makes_no_sense_is_repaired_passed_on_or_refused(body: Json) -> None:
    """Never a crash; and what was let through once is let through unchanged."""
    for name in ("v3", "v13", "v15-modern", "strictest", "template"):
        with contextlib.suppress(InvalidRequest):
            once = translate(dump(body), PROFILES[name]).body
            assert translate(once, PROFILES[name]).body is once
