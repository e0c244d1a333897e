"""Every case of tests/corpus/requests against a router process and a backend that records each byte it gets."""

import asyncio
from collections.abc import Iterator

import orjson
import pytest
import uvloop

from tests.corpus import RequestCase, requests
from tests.corpus.stand import Found, play_all, stand


@pytest.fixture(scope="module")
def found() -> Iterator[dict[str, Found]]:
    """What came of each case."""

    async def run() -> dict[str, Found]:
        async with stand() as it:
            results = await play_all(it)
            assert not it.backend.strays
            return results

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        yield runner.run(run())


def of(*themes: str) -> pytest.MarkDecorator:
    """Run a test once for each case of these themes."""
    cases = [case for case in requests() if case.theme in themes]
    assert cases, themes
    return pytest.mark.parametrize("case", cases, ids=lambda case: case.name)


def holds(case: RequestCase, found: dict[str, Found]) -> None:
    """Hold all that a case says."""
    came = found[case.name]
    played = came.played
    assert played.statuses == case.answers
    assert came.seen == list(case.sees)
    assert played.rest == b""
    assert played.stayed == case.stays
    for answer in played.answers:
        if answer.status >= 400:
            error = orjson.loads(answer.body)["error"]
            assert error["message"]
            assert error["type"]
            assert "code" in error
    if played.answers and not case.stays:
        assert played.answers[-1].headers.get(b"connection") == b"close"
    assert came.alive
    assert not came.complaints


@pytest.mark.row(42, 43, 44, 45)
@of("framing")
def test_a_body_has_one_end_for_every_reader_or_the_request_is_refused(
    case: RequestCase, found: dict[str, Found]
) -> None:
    holds(case, found)
