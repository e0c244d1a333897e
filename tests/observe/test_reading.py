"""Rules of router/observe/reading.py."""

from typing import Any

import pytest

from router.observe.reading import Mood, for_people, mood_of

LINE: dict[str, Any] = {
    "time": "t", "logger": "router.access", "status": 502, "method": "POST", "route": "/v1/chat/completions",
    "outcome": "backend_error", "duration": 1.5,
    "attempts": [{"backend": "a", "outcome": "server_error", "status": 500}, {"backend": "b", "outcome": "refused"}],
}  # fmt: skip


def test_attempts_are_told_with_what_they_got() -> None:
    assert for_people(LINE) == (
        "t INFO router.access: 502 POST /v1/chat/completions outcome=backend_error duration=1.500s"
        " attempts=a:server_error(500),b:refused"
    )


def test_a_client_that_left_before_any_status_has_a_dash() -> None:
    assert " router.access: - POST " in for_people({**LINE, "status": 0})


def test_a_field_that_is_not_known_is_told_at_the_end() -> None:
    assert for_people({**LINE, "new thing": [1, "a b"]}).endswith(r' "new thing"="[1, \"a b\"]"')


def test_an_application_line_shows_its_traceback_below() -> None:
    fields = {"time": "t", "level": "error", "logger": "router.app", "message": "a\nb", "traceback": "c\n\x1bd"}
    line = for_people(fields)

    assert line == "t ERROR router.app: a\\nb\n    c\n    \\x1bd"


@pytest.mark.parametrize("outcome", ["ok", "client_gone", "broken", None])
def test_colours_follow_the_outcome(outcome: str | None) -> None:
    assert f"{mood_of(outcome).value}502 POST" in for_people({**LINE, "outcome": outcome}, colour=True)
    assert (mood_of("ok"), mood_of("rejected"), mood_of("broken")) == (Mood.GOOD, Mood.SO_SO, Mood.BAD)


HOSTILE = ["\x1b[2J", "\n", "\u2028", "\x9b", "\ud800", {"a": "\x1b"}, ["\x1b"], None, 1e999, -1, True]


@pytest.mark.parametrize("name", ["time", "logger", "worker", "status", "method", "attempts", "duration", "x\n"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_nothing_in_a_file_can_speak_to_the_terminal(name: str, value: object) -> None:
    assert for_people({**LINE, name: value}).isprintable()


@pytest.mark.parametrize("name", ["time", "level", "message", "logger", "worker"])
@pytest.mark.parametrize("value", HOSTILE, ids=repr)
def test_nothing_in_an_application_line_can_either(name: str, value: object) -> None:
    assert for_people({"message": "m", **LINE, name: value}).isprintable()
