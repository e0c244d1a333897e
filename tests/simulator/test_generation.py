import pytest

from router.simulator.generation import Sampling, generate, logprob, read_sampling
from router.simulator.refusals import Refusal
from router.simulator.tokens import END, INST_END, encode

PROMPT = [1, 3, *encode("Hello"), INST_END]


def test_an_answer_ends_by_itself_with_a_token_of_its_own() -> None:
    whole = generate(PROMPT, Sampling(limit=100, natural=5))

    assert (len(whole.pieces), whole.finish, whole.ids[-1], whole.pieces[-1].text) == (5, "stop", END, "")


def test_an_answer_is_cut_at_its_limit() -> None:
    cut = generate(PROMPT, Sampling(limit=4, natural=5))

    assert (len(cut.pieces), cut.finish) == (4, "length")
    assert generate(PROMPT, Sampling(limit=100, natural=5)).text == cut.text


def test_min_tokens_and_ignore_eos_make_it_longer() -> None:
    assert len(generate(PROMPT, Sampling(limit=100, natural=5, least=20)).pieces) == 21
    assert generate(PROMPT, Sampling(limit=30, natural=5, ignore_end=True)).finish == "length"


@pytest.mark.parametrize("cut", range(1, 12))
def test_a_continued_answer_ends_where_the_whole_one_does(cut: int) -> None:
    whole = generate(PROMPT, Sampling(limit=100, natural=12, seed=4))
    rest = generate(PROMPT + whole.ids[:cut], Sampling(limit=100, natural=12, seed=4))

    assert whole.ids[:cut] + rest.ids == whole.ids


def test_a_stop_string_ends_it_before_the_string_even_across_tokens() -> None:
    text = generate(PROMPT, Sampling(limit=50, natural=20)).text
    stop = text[8:14]
    cut = generate(PROMPT, Sampling(limit=50, natural=20, stop=("nothing like it", stop)))

    assert cut.text == text[: text.index(stop)]
    assert (cut.finish, cut.stop_reason) == ("stop", stop)


def test_a_text_that_must_be_said_is_said() -> None:
    said = generate(PROMPT, Sampling(limit=50, natural=3), text='{"a": "ß"}')

    assert (said.text, said.finish) == ('{"a": "ß"}', "stop")
    assert generate(PROMPT, Sampling(limit=2, natural=3), text='{"a": "long enough"}').finish == "length"


def test_log_probabilities_have_the_bytes_of_the_token() -> None:
    piece = generate(PROMPT, Sampling(limit=1, natural=9)).pieces[0]
    shown = logprob(piece, 3)

    assert bytes(shown["bytes"]).decode() == shown["token"] == piece.text
    assert len(shown["top_logprobs"]) == 3
    assert logprob(piece, 0)["top_logprobs"] == []


@pytest.mark.parametrize(("body", "logprobs"), [({"n": 1000}, None), ({}, 21)])
def test_too_much_is_refused(body: dict[str, int], logprobs: int | None) -> None:
    with pytest.raises(Refusal):
        read_sampling(body, 10, natural=5, logprobs=logprobs)
