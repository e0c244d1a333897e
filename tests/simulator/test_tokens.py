import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.simulator.tokens import END, INST_END, ROUND, decode, encode, generated, walk

PROMPT = [1, 3, *encode("What is a router?"), INST_END]


@settings(max_examples=200, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_every_text_is_tokens_and_back(text: str) -> None:
    ids = encode(text)

    assert decode(ids) == text
    assert all(0 <= token < 2**53 for token in ids)  # what every JSON reader can hold


def test_each_token_is_text_by_itself() -> None:
    """A token never ends within a character: an event can always show it."""
    assert "".join(decode([token]) for token in encode("Größe 日本語 🙂🙂🙂")) == "Größe 日本語 🙂🙂🙂"


def test_the_round_is_of_a_prime_number_of_different_words() -> None:
    """Every stride then goes through all of them."""
    assert len(set(ROUND)) == len(ROUND)
    assert all(len(ROUND) % divisor for divisor in range(2, len(ROUND)))


def test_unknown_ids_stand_for_nothing() -> None:
    assert decode([255, 2**60, -1]) == ""


@pytest.mark.parametrize("seed", [None, 0, 1, 7, -3, 10**12])
def test_an_answer_can_be_continued_from_any_of_its_tokens(seed: int | None) -> None:
    whole = list(itertools.islice(walk(PROMPT, seed=seed), 100))

    for cut in range(1, len(whole)):
        so_far = PROMPT + whole[:cut]
        assert list(itertools.islice(walk(so_far, seed=seed), 100 - cut)) == whole[cut:]
        assert generated(so_far, seed=seed) == cut


def test_generated_text_is_cut_into_the_tokens_that_made_it() -> None:
    """So that an answer can be continued from its text as well."""
    ids = list(itertools.islice(walk(PROMPT, seed=3), 200))

    assert encode(decode(ids)) == ids


def test_prompts_seeds_and_choices_lead_to_different_answers() -> None:
    def start(prompt: list[int], seed: int | None = None, choice: int = 0) -> list[int]:
        return list(itertools.islice(walk(prompt, seed=seed, choice=choice), 3))

    starts = [start(PROMPT), start([*PROMPT, 5]), start(PROMPT, seed=1), start(PROMPT, choice=1)]
    assert len({tuple(found) for found in starts}) == len(starts)
    assert start(PROMPT) == start(PROMPT)


def test_nothing_is_generated_yet_after_a_plain_prompt() -> None:
    assert generated(PROMPT, seed=None) == generated([], seed=None) == generated([END], seed=5) == 0
