"""Every request of the corpus, translated, against real versions of mistral-common on every tokenizer.

T1: accepted as vLLM 0.11 and later build it (from_openai); T2: as 0.10 does (directly, no unknown key allowed);
T3: what was accepted as it came means the same; T5: nothing is lost; T6: translating twice is translating once.
"""

import json
from collections import Counter
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from router.errors import InvalidRequest
from router.translate.mistral.request import Translated, translate
from router.translate.notes import Rule
from tests.translate.corpus.case import ABSENT, Case
from tests.translate.corpus.requests import ACCEPTED, CASES, REFUSED
from tests.translate.kept import said
from tests.translate.real.workers import NEWEST, Fleet, Job
from tests.translate.targets import OWN, PROFILES, dump, has_text_beside_calls, refusals

# What these do is not seen by the model, if mistral-common had taken the request without them (R3: from v13 on).
UNSEEN = {
    *(Rule.R1, Rule.R2, Rule.R4, Rule.R5, Rule.R6, Rule.R8, Rule.R11, Rule.R13, Rule.R16, Rule.R24, Rule.R25),
    *(Rule.R27, Rule.R30, Rule.R31, Rule.R32, Rule.R34, Rule.R35),
}
IDS_UNSEEN = {"v13", "v13-think", "v13-text", "v15"}
by_case = pytest.mark.parametrize("case", ACCEPTED, ids=[case.name for case in ACCEPTED])


@dataclass(frozen=True, slots=True)
class Meant:
    """What one version makes of a case: raw, and translated."""

    case: Case
    raw: dict[str, Any]
    translated: dict[str, Any]

    @property
    def was_accepted(self) -> bool:
        """Return whether the case needed no translation."""
        return "error" not in self.raw

    @property
    def is_same(self) -> bool:
        """Return whether both are one prompt, token by token."""
        return all(self.raw[part] == self.translated.get(part) for part in ("tokens", "images"))


def tokenizer_of(profile: str) -> str:
    return profile.removesuffix("-modern")


@cache
def translated(name: str, profile: str) -> Translated:
    """The corpus' request of this name, translated once."""
    (case,) = (case for case in CASES if case.name == name)
    return translate(dump(case.request), PROFILES[profile])


def body_of(case: Case, profile: str) -> dict[str, Any]:
    body = json.loads(translated(case.name, profile).body)
    assert isinstance(body, dict)
    return body


def suits(case: Case, tokenizer: str, profile: str) -> bool:
    """Whether the tokenizer's model can serve the case at all, translated for this profile.

    A user's image needs vision. Where the version is not known, text beside calls is kept, which v3 does not take: to
    drop it everywhere would be the greater harm.
    """
    if case.picture and OWN[tokenizer].vision is False:
        return False
    unknown = (tokenizer, profile) == ("v3", "strictest")
    return not (unknown and has_text_beside_calls(body_of(case, profile)))


@pytest.fixture(scope="session")
def refused(fleet: Fleet) -> dict[tuple[str, str], list[str]]:
    """(case, profile) -> the refusals of its translation: by the tokenizer's own profile, and by the strictest."""
    wanted: dict[str, list[tuple[str, str]]] = {
        name: [
            (case.name, profile) for case in ACCEPTED for profile in (name, "strictest") if suits(case, name, profile)
        ]
        for name in OWN
    }
    bodies = {name: [translated(*each).body for each in wanted[name]] for name in OWN}
    found: dict[tuple[str, str], list[str]] = {}
    for name, errors in refusals(fleet, bodies).items():
        for number, error in errors.items():
            found.setdefault(wanted[name][number], []).append(error)
    return found


@by_case
def test_a_translated_request_is_accepted(refused: dict[tuple[str, str], list[str]], case: Case) -> None:
    """T1 and T2, by every version that knows the tokenizer, in modes test and serving."""
    for profile in (*OWN, "strictest"):
        assert not refused.get((case.name, profile)), json.dumps(body_of(case, profile), ensure_ascii=False)


@pytest.mark.parametrize("case", REFUSED, ids=[case.name for case in REFUSED])
def test_what_no_backend_could_take_is_refused_with_its_place(case: Case) -> None:
    """R37, and nothing else of the corpus."""
    for profile in PROFILES.values():
        with pytest.raises(InvalidRequest) as caught:
            translate(dump(case.request), profile)

        assert (caught.value.status, caught.value.param) == (400, case.refused)


@by_case
def test_no_rule_is_applied_that_the_case_does_not_name(case: Case) -> None:
    for profile in PROFILES:
        repaired = translated(case.name, profile).notes.repaired

        assert repaired <= case.may, f"{profile}: {sorted(rule.name for rule in repaired - case.may)}"


@by_case
def test_what_is_changed_is_noted_and_what_is_not_is_the_same_object(case: Case) -> None:
    sent = dump(case.request)
    for name, profile in PROFILES.items():
        done = translate(sent, profile)

        assert (done.body is sent) == (not done.notes.repaired), name


@by_case
def test_the_rules_of_the_case_are_applied_for_the_strictest_profile(case: Case) -> None:
    done = translated(case.name, "strictest")

    assert done.notes.repaired >= case.must, sorted(rule.name for rule in case.must - done.notes.repaired)
    if case.rules == "=":
        assert done.body == dump(case.request)


@by_case
def test_other_fields_become_what_the_case_says(case: Case) -> None:
    body = body_of(case, "strictest")

    for name, expected in case.gives.items():
        assert body.get(name, ABSENT) == expected


@by_case
def test_translating_twice_is_translating_once(case: Case) -> None:
    """T6: and the second time the very same bytes pass."""
    for name, profile in PROFILES.items():
        once = translated(case.name, name).body
        again = translate(once, profile)

        assert json.loads(again.body) == json.loads(once), name
        assert again.body is once, f"{name}: {sorted(rule.name for rule in again.notes.repaired)}"


@by_case
def test_everything_that_was_said_is_kept(case: Case) -> None:
    """T5: texts, calls and images; but reasoning, and what a lossy rule names."""
    before = said(case.body)
    for name, profile in PROFILES.items():
        done = translated(case.name, name)
        after = said(json.loads(done.body))

        assert not before.missing_in(after, but={"assistant"} if Rule.R23 in done.notes.lost else ()), name
        assert [made for _, made in after.calls] == [made for _, made in before.calls], name
        shown = {"user"} if profile.vision is False else {"user", "tool"}
        assert Counter(after.urls()) == Counter(before.urls(shown)), name


@by_case
def test_names_of_tools_lead_back_to_the_clients_own(case: Case) -> None:
    """R12: what a tool is called for the backend is found in the map, where it is not what the client calls it."""
    functions = [each.get("function", each) for each in case.body.get("tools") or () if isinstance(each, dict)]
    functions += case.body.get("functions", ())
    client = {each.get("name") for each in functions}
    for name in PROFILES:
        done = translated(case.name, name)
        sent = [each["function"]["name"] for each in json.loads(done.body).get("tools", ())]

        assert len(set(sent)) == len(sent), name
        assert {done.asked.names.get(each, each) for each in sent} <= client, name
        assert done.asked.tools == set(sent), name


@pytest.fixture(scope="session")
def meanings(fleet: Fleet) -> dict[str, list[Meant]]:
    """What the newest version makes of each case, as it came and translated, for each profile that is known."""
    fits = {
        profile: [case for case in ACCEPTED if suits(case, tokenizer_of(profile), profile)]
        for profile in PROFILES
        if tokenizer_of(profile) in OWN
    }
    jobs = [
        job
        for profile, cases in fits.items()
        for job in (
            Job(NEWEST, tokenizer_of(profile), "openai", "test", [case.request for case in cases]),
            Job(NEWEST, tokenizer_of(profile), "openai", "test", [body_of(case, profile) for case in cases]),
        )
    ]
    results = iter(fleet.encode(jobs))
    return {
        profile: [Meant(*each) for each in zip(cases, next(results), next(results), strict=True)]
        for profile, cases in fits.items()
    }


KNOWN = [profile for profile in PROFILES if tokenizer_of(profile) in OWN]


@pytest.mark.parametrize("profile", KNOWN)
def test_what_was_accepted_means_the_same_unless_a_rule_says_so(meanings: dict[str, list[Meant]], profile: str) -> None:
    """T3: no harm."""
    unseen = UNSEEN | ({Rule.R3} if tokenizer_of(profile) in IDS_UNSEEN else set())
    harmed = {
        each.case.name: (each.raw["text"], each.translated.get("text", each.translated))
        for each in meanings[profile]
        if each.was_accepted and not each.is_same and not translated(each.case.name, profile).notes.repaired - unseen
    }

    assert not harmed


@pytest.mark.parametrize(("profile", "share"), [("v13", 0.75), ("v13-modern", 0.85), ("v15-modern", 0.85)])
def test_most_of_what_was_accepted_is_the_same_prompt(
    meanings: dict[str, list[Meant]], profile: str, share: float
) -> None:
    """So that "no harm" is no empty word; the more is known of a backend, the less is changed."""
    accepted = [each for each in meanings[profile] if each.was_accepted]

    assert len(accepted) > 120
    assert sum(each.is_same for each in accepted) / len(accepted) > share


@pytest.mark.parametrize("profile", ["v13-modern", "v15-modern"])
def test_for_a_new_server_less_is_repaired_and_all_is_accepted(fleet: Fleet, profile: str) -> None:
    bodies = [translated(case.name, profile).body for case in ACCEPTED]

    found = refusals(fleet, {tokenizer_of(profile): bodies}, versions=[NEWEST])
    assert not {ACCEPTED[number].name: error for number, error in found[tokenizer_of(profile)].items()}
