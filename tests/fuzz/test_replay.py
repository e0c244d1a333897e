"""Every seed, and everything that has once broken a rule, through the targets: without atheris, as plain tests."""

from collections.abc import Iterator

import pytest

from tests.fuzz import answers, relayed, requests
from tests.fuzz.mutate import Mutations
from tests.fuzz.target import FOUND, Target
from tests.fuzz.targets import TARGETS

MUTATED = 150  # of each target: that mutations still work, not to find anything


@pytest.fixture(scope="module", autouse=True)
def _house() -> Iterator[None]:
    yield
    for module in (relayed, requests, answers):
        module.KEPT.close()


@pytest.fixture(params=TARGETS.values(), ids=TARGETS)
def target(request: pytest.FixtureRequest) -> Target:
    one: Target = request.param
    return one


def test_seeds_keep_the_rules(target: Target) -> None:
    seeds = target.seeds()
    assert len(seeds) >= 60
    for name, data in seeds.items():
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"seed {name}")
            raise


def test_what_once_broke_a_rule_keeps_it(target: Target) -> None:
    for name, data in target.found().items():
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"found/{target.name}/{name}")
            raise


def test_some_mutations_keep_the_rules(target: Target) -> None:
    """The same ones each time: what fails then is a change."""
    cases = Mutations(list(target.seeds().values()), target.words, seed=1)
    for _ in range(MUTATED):
        data = cases.next()
        try:
            target.run(data)
        except Exception as error:
            error.add_note(f"{data!r}")
            raise


def test_what_was_found_belongs_to_a_target() -> None:
    assert {path.name for path in FOUND.iterdir() if path.is_dir()} <= set(TARGETS)
