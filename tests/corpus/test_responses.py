"""Every case of tests/corpus/responses: what a client gets of it, and that the next client gets nothing of it."""

import asyncio
from collections.abc import Iterator

import orjson
import pytest
import uvloop

from tests.corpus import ResponseCase, responses
from tests.corpus.stand import ANSWERING, Answered, answer_once, stand


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Answered]]:
    """What came of each case."""

    async def run() -> dict[str, Answered]:
        async with stand(ANSWERING) as it:
            results = {case.name: await answer_once(it, case) for case in responses()}
            assert await it.is_alive()
            return results

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run(run())


def of(theme: str) -> pytest.MarkDecorator:
    """Run a test once for each case of a theme."""
    cases = [case for case in responses() if case.theme == theme]
    assert cases, theme
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def holds(case: ResponseCase, found: dict[str, Answered]) -> None:
    """Hold all that a case says."""
    came = found[case.name]
    assert came.status == case.client
    assert came.whole == case.whole
    assert [part for part in case.gets if part not in came.raw] == []
    assert [part for part in case.never if part in came.raw] == []
    assert came.clean, "the next client got something else than its own answer"
    assert came.pooled == case.pooled
    head, _, body = came.raw.partition(b"\r\n\r\n")
    assert all(name in head for name in (b"\r\nX-Request-Id: ", b"\r\nConnection: close"))
    if case.client >= 400:
        error = orjson.loads(body)["error"]
        assert error["message"]
        assert error["type"]
    assert not came.complaints


@pytest.mark.row(4, 5, 21, 24, 25, 26)
@of("framing")
def test_an_answer_has_one_end_or_it_is_none(case: ResponseCase, found: dict[str, Answered]) -> None:
    holds(case, found)


@pytest.mark.row(4, 5, 11, 19, 25, 29, 30, 51, 52, 53, 54, 70)
@of("heads")
def test_a_client_sees_no_head_that_a_backend_has_no_business_to_send(
    case: ResponseCase, found: dict[str, Answered]
) -> None:
    holds(case, found)


@pytest.mark.row(3, 4, 5, 12, 21, 22, 23, 24, 27, 28, 30, 54)
@of("streams")
def test_a_broken_stream_never_looks_whole(case: ResponseCase, found: dict[str, Answered]) -> None:
    holds(case, found)


def test_every_theme_is_tested_and_each_row_that_a_case_names_is_marked() -> None:
    marked = {}
    for name, test in globals().items():
        marks = getattr(test, "pytestmark", ()) if name.startswith("test_") else ()
        rows = {row for mark in marks if mark.name == "row" for row in mark.args}
        marked |= {mark.args[1][0].theme: rows for mark in marks if mark.name == "parametrize"}
    assert marked == {
        theme: {row for case in responses() if case.theme == theme for row in case.rows}
        for theme in {case.theme for case in responses()}
    }
    assert len(responses()) >= 90
