"""Answers in one piece made into streams (S16): openai-python joins them to the same message."""

import pytest

from router.translate.asked import Asked
from router.translate.mistral.answer import read_answer, translate_answer
from router.translate.mistral.emulate import as_stream
from router.translate.mistral.stream import StreamTranslator
from router.wire.sse import split_events
from tests.translate import cases, client
from tests.translate.cases import Case

ANSWERS = [case for case in cases.load("answer") if not case.form.call_index]


@pytest.fixture(scope="module")
def sdk() -> client.Sdk:
    return client.Sdk()


def asked_of(case: Case) -> Asked:
    """What the case asks, for a stream with usage, in the client's own names."""
    return cases.asked_back(case, stream=True, include_usage=True)


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_a_stream_made_of_an_answer_says_the_same(case: Case, sdk: client.Sdk) -> None:
    asked = asked_of(case)
    body, _ = translate_answer(case.answer, case.asked, form=case.form, new_id=cases.new_ids())
    stream = as_stream(read_answer(body), asked)
    of_answer = client.view_of_answer(body, case.asked, case.form)
    of_stream = client.view_of_stream(stream, asked, case.form)

    assert of_stream == of_answer
    client.assert_agrees(of_stream, sdk.view_of_stream(stream))


@pytest.mark.parametrize("case", ANSWERS, ids=str)
def test_a_stream_made_of_an_answer_needs_no_repair(case: Case) -> None:
    asked = asked_of(case)
    body, _ = translate_answer(case.answer, case.asked, form=case.form, new_id=cases.new_ids())
    translator = StreamTranslator(asked, form=case.form, new_id=cases.new_ids(), leaks=False)
    stream = as_stream(read_answer(body), asked)

    assert b"".join(map(translator.feed, split_events(stream))) + translator.finish() == stream
    assert not translator.notes.repaired
