"""Any conversation translates to one that every mistral-common accepts, with nothing lost; and nothing makes it crash.

`make nightly` tries 20,000 of each, with other conversations every night.
"""

import contextlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import dataclass

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis.strategies import SearchStrategy as Strategy

from router.errors import InvalidRequest
from router.translate.mistral.request import translate
from router.translate.notes import Rule
from router.translate.profile import Profile
from tests.translate.conversations import requests, spoilt
from tests.translate.corpus.case import PICTURE, Json
from tests.translate.kept import said
from tests.translate.real.workers import Fleet, Job, pinned_versions
from tests.translate.targets import BOTH_ENDS, OWN, PROFILES, dump, has_text_beside_calls, refusals

NIGHTLY = os.environ.get("ROUTER_NIGHTLY") == "1"
EXAMPLES = 20_000 if NIGHTLY else 150
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

        assert not before.missing_in(after, but={"assistant"} if Rule.R23 in done.notes.lost else ())
        assert sorted(repr(made) for _, made in after.calls) == sorted(repr(made) for _, made in before.calls)
        if profile.vision is not False:
            assert len(after.images) == len(before.images)


@pytest.mark.parametrize("strategy", [requests, spoilt])
def test_every_mistral_common_accepts_what_is_let_through(fleet: Fleet, strategy: Callable[[], Strategy]) -> None:
    """On each tokenizer, translated for it and for the strictest. All are made first, and sent in few batches."""
    made: list[Json] = []

    @given(body=strategy())
    @bounded
    def collect(body: Json) -> None:
        made.append(body)

    collect()
    failed: dict[str, Refused] = {}
    for start in range(0, len(made), BATCH):
        for each in refused(fleet, made[start : start + BATCH]):
            failed[each.kind] = min(each, failed.get(each.kind, each), key=lambda one: one.size)
    assert not failed, "\n\n".join(map(str, failed.values()))


def test_most_of_the_conversations_need_translation(fleet: Fleet) -> None:
    """Or nothing would be proven: the oldest version refuses nearly all of them as they are, the newest most."""
    made: list[Json] = []

    @given(body=requests())
    @settings(bounded, max_examples=100)
    def collect(body: Json) -> None:
        made.append(body)

    collect()
    jobs = [Job(version, "v13", "openai", "test", made, errors_only=True) for version in pinned_versions()]
    for results in fleet.encode(jobs):
        assert sum(result is not None for result in results) > len(made) / 2


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
    sent = {
        name: {
            done: body
            for body in batch
            for profile in (OWN[name], PROFILES["strictest"])
            if is_for(name, done := let_through(body, profile), profile)
        }
        for name in BY_TOKENIZER
    }
    bodies = {name: list(each) for name, each in sent.items()}
    return [
        Refused(error, sent[name][bodies[name][number]], bodies[name][number])
        for name, errors in refusals(fleet, bodies, ways=BOTH_ENDS).items()
        for number, error in errors.items()
    ]


def let_through(body: Json, profile: Profile) -> bytes:
    """The translated request; nothing where it is refused."""
    try:
        return translate(dump(body), profile).body
    except InvalidRequest:
        return b""


def is_for(tokenizer: str, done: bytes, profile: Profile) -> bool:
    """Where the version is not known, text beside calls is kept, which v3 does not take. No image: passed on."""
    if not done:
        return False
    body = json.loads(done)
    may_not = profile.version is None and tokenizer == "v3" and has_text_beside_calls(body)
    return not may_not and set(said(body).urls()) <= {PICTURE}


@given(body=spoilt())
@bounded
def test_what_makes_no_sense_is_repaired_passed_on_or_refused(body: Json) -> None:
    """Never a crash; and what was let through once is let through unchanged."""
    for name in ("v3", "v13", "v15-modern", "strictest", "template"):
        with contextlib.suppress(InvalidRequest):
            once = translate(dump(body), PROFILES[name]).body
            assert translate(once, PROFILES[name]).body is once
