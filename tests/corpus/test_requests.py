"""Every case of tests/corpus/requests against a router process and a backend that records each byte it gets."""

import asyncio

import orjson
import pytest
import uvloop

from tests.corpus import RequestCase, requests
from tests.corpus.stand import Found, play_all, stand


@pytest.fixture(scope="module")
def played() -> tuple[dict[str, Found], bytes]:
    """What came of each case, and the router's log of them."""

    async def run() -> tuple[dict[str, Found], bytes]:
        async with stand() as it:
            results = await play_all(it)
            assert not it.backend.strays
            return results, it.router.lines.read_bytes()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(run())


@pytest.fixture
def found(played: tuple[dict[str, Found], bytes]) -> dict[str, Found]:
    """What came of each case."""
    return played[0]


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
        assert b"set-cookie" not in answer.headers
        if answer.status >= 400 and not case.raw.startswith(b"HEAD "):
            error = orjson.loads(answer.body)["error"]
            assert error["message"]
            assert error["type"]
            assert "code" in error
    if case.answers and not case.stays and case.answers[-1] >= 400:
        assert played.answers[-1].headers.get(b"connection") == b"close"
    assert came.alive
    assert not came.complaints


@pytest.mark.row(42, 43, 44, 45, 53, 58)
@of("framing")
def test_a_body_has_one_end_for_every_reader_or_the_request_is_refused(
    case: RequestCase, found: dict[str, Found]
) -> None:
    holds(case, found)


@pytest.mark.row(42, 44, 45, 46, 53, 57)
@of("chunks")
def test_chunks_are_read_as_the_standard_has_them_and_never_sent_on(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(40, 44, 45, 46, 49, 51, 65)
@of("lines")
def test_a_head_is_lines_of_names_and_values_or_it_is_refused(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(46, 48, 49, 54)
@of("targets")
def test_a_target_is_a_path_that_is_served_byte_for_byte(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(44, 46, 47, 53, 65)
@of("hosts")
def test_there_is_one_host_that_could_be_a_name_and_it_decides_nothing(
    case: RequestCase, found: dict[str, Found]
) -> None:
    holds(case, found)


@pytest.mark.row(46, 56, 57, 58)
@of("sizes")
def test_what_is_too_much_is_refused_with_its_status_and_not_kept(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(44, 45, 46, 52, 53, 54, 58, 62, 65, 66)
@of("forwarding")
def test_a_backend_sees_no_line_that_a_client_has_no_business_to_send(
    case: RequestCase, found: dict[str, Found]
) -> None:
    holds(case, found)


@pytest.mark.row(45, 50, 51, 53, 65)
@of("protocols")
def test_nothing_is_tunnelled_or_upgraded(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(50)
@of("routes")
def test_nothing_is_served_that_is_not_listed(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(40, 45, 55, 57)
@of("timing")
def test_a_client_that_is_slow_leaves_or_waits_holds_nothing_for_long(
    case: RequestCase, found: dict[str, Found]
) -> None:
    holds(case, found)


@pytest.mark.row(45, 48, 56, 64, 65, 66)
@of("json")
def test_what_two_readers_could_read_differently_goes_nowhere(case: RequestCase, found: dict[str, Found]) -> None:
    holds(case, found)


@pytest.mark.row(65)
def test_whatever_comes_each_line_of_the_log_is_one_line_of_the_routers_own(
    played: tuple[dict[str, Found], bytes],
) -> None:
    lines = played[1].split(b"\n")
    assert lines.pop() == b""
    for raw in lines:
        assert raw.decode().isprintable()
        line = orjson.loads(raw)
        assert line["logger"].startswith("router.")
        assert line.get("level") in (None, "debug", "info", "warning")  # an access line has none
    models = {line.get("model") for line in map(orjson.loads, lines)}
    assert any("\r\n" in model for model in models if model), "what tries to break a line was not logged at all"


def test_every_theme_has_its_test() -> None:
    tested = {
        theme
        for name, test in globals().items()
        if name.startswith("test_")
        for mark in getattr(test, "pytestmark", ())
        if mark.name == "parametrize"
        for theme in {case.theme for case in mark.args[1]}
    }
    assert tested == {case.theme for case in requests()}


def test_the_corpus_has_cases_enough_and_each_row_that_a_case_names_is_marked_at_its_test() -> None:
    marked: dict[str, set[int]] = {}
    for name, test in globals().items():
        marks = getattr(test, "pytestmark", ()) if name.startswith("test_") else ()
        rows = {row for mark in marks if mark.name == "row" for row in mark.args}
        for mark in marks:
            if mark.name == "parametrize":
                marked[mark.args[1][0].theme] = rows
    assert len(requests()) >= 260
    for theme, rows in marked.items():
        ours = {row for case in requests() if case.theme == theme for row in case.rows if row >= 40}
        assert ours == rows, theme
