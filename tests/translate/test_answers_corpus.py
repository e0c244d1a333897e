"""The answers in one piece of tests/translate/answers: what servers send, and what exactly the client gets."""

import json

import pytest

from router.errors import AnswerError
from router.translate.mistral.answer import translate_answer
from router.translate.notes import Rule
from tests.translate import cases, client, judge
from tests.translate.cases import Case

ANSWERS = cases.load("answer")


@pytest.fixture(scope="module")
def sdk() -> client.Sdk:
    return client.Sdk()


def answered(case: Case) -> tuple[bytes, set[Rule]]:
    body, notes = translate_answer(case.answer, case.asked, form=case.form, new_id=cases.new_ids())
    return body, notes.repaired


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_an_answer_becomes_what_the_case_states(case: Case) -> None:
    body = case.answer
    out, rules = answered(case)

    view = client.view_of_answer(out, case.asked, case.form)
    if case.is_unchanged("answer to the client"):
        assert out == body
        assert not rules
    elif "answer to the client" in case.sections:
        assert json.loads(out) == json.loads(case.sections["answer to the client"])
    if (stated := case.view("view of the answer")) is not None:
        judge.assert_view(view, stated)


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_openai_python_reads_every_answer(case: Case, sdk: client.Sdk) -> None:
    out = answered(case)[0]

    client.assert_agrees(client.view_of_answer(out, case.asked, case.form), sdk.view_of_answer(out))


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_a_translated_answer_is_translated_to_itself(case: Case) -> None:
    out = answered(case)[0]
    again, notes = translate_answer(out, cases.asked_back(case), form=case.form, new_id=cases.new_ids())

    assert again is out
    assert not notes.repaired


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_the_rules_of_a_case_are_noted(case: Case) -> None:
    """A case with a stream too may name rules that only that one needs."""
    missing = case.rules - answered(case)[1]

    assert not missing or "stream" in case.sections


@pytest.mark.parametrize("reason", ["abort", "error"])
def test_an_answer_that_was_broken_off_does_not_look_whole(reason: str) -> None:
    case = next(case for case in ANSWERS if case.name == "121_finish_repetition")
    body = case.answer.replace(b'"repetition"', b'"%s"' % reason.encode())
    assert body != case.answer

    with pytest.raises(AnswerError) as refusal:
        translate_answer(body, case.asked, form=case.form, new_id=cases.new_ids())

    assert refusal.value.status in (500, 502)
    assert refusal.value.kind == "server_error"


def test_every_response_case_of_the_list_is_here() -> None:
    assert {int(case.name[:3]) for case in cases.load()} >= set(range(101, 138))
