"""Rules of router/backends_table.py: states in words, and a table that fits."""

from typing import Any

import pytest

from router.backends_table import RESET, Mood, clean, row, state_of, table

UP: dict[str, Any] = {
    "name": "gpu-1",
    "url": "http://10.0.0.11:8000",
    "models": ["mistralai/Devstral-Small-2507", "small"],
    "health": "up",
    "breaker": "closed",
    "standing": "ready",
    "in_flight": 3,
    "max_connections": 32,
    "weight": 2,
    "running": 5,
    "waiting": 1,
    "dialect": "mistral",
    "version": "0.11.0",
}


@pytest.mark.parametrize(
    ("fields", "state", "mood"),
    [
        ({}, "up", Mood.GOOD),
        ({"drained": True}, "draining, 3 at work", Mood.SO_SO),
        ({"drained": True, "in_flight": 0, "health": "down"}, "drained", Mood.SO_SO),
        ({"health": "down"}, "down", Mood.BAD),
        ({"health": "down", "held_for": 12.3}, "down, kept out for 12 s", Mood.BAD),
        ({"health": "down", "held_for": 0.4}, "down", Mood.BAD),
        ({"health": "unknown"}, "not asked yet", Mood.SO_SO),
        ({"breaker": "open"}, "left alone: it fails requests", Mood.BAD),
        ({"breaker": "open", "cause": "server_error"}, "left alone: it fails requests (server error)", Mood.BAD),
        ({"health": "down", "cause": "connect_failed", "held_for": 0.0}, "down (connect failed)", Mood.BAD),
        ({"health": "down", "cause": "\x1b[31m"}, "down (?[31m)", Mood.BAD),
        ({"breaker": "half_open"}, "on trial", Mood.SO_SO),
        ({"standing": "resting", "resting_for": 4.2}, "full, asks for 4 s", Mood.SO_SO),
        ({"standing": "full"}, "full", Mood.SO_SO),
        ({"busy": True}, "up, probes are late", Mood.SO_SO),
        ({"share": 0.4}, "up, at 40%", Mood.SO_SO),
    ],
)
def test_the_state_is_told_in_words(fields: dict[str, Any], state: str, mood: Mood) -> None:
    assert state_of({**UP, **fields}) == (state, mood)


def test_what_a_backend_told_before_it_went_down_is_not_shown() -> None:
    assert row(UP).cells["VLLM"] == "5 running, 1 waiting"
    assert row({**UP, "health": "down"}).cells["VLLM"] == "-"


def test_requests_of_an_earlier_process_are_told_of_and_drained_is_not_said_without_them() -> None:
    drained = {**UP, "drained": True, "in_flight": 0}
    line = "an earlier process (pid 4711) still finishes its requests; they are not counted here"

    assert state_of(drained, has_predecessor=True)[0] == "drained, but for the earlier process"
    lines = table([drained, UP], width=None, colour=False, predecessor=4711)
    assert "drained, but for the earlier process" in lines[1]
    assert lines[-1] == line
    narrow = table([drained], width=40, colour=False, predecessor=4711)
    assert all(len(each) <= 40 for each in narrow)
    assert " ".join(narrow[2:]) == line
    assert line not in table([drained], width=None, colour=False)


def test_columns_are_aligned() -> None:
    lines = table(
        [UP, {**UP, "name": "a-longer-name", "max_connections": None, "running": None}], width=None, colour=False
    )

    assert lines == [
        "NAME           STATE  IN FLIGHT  VLLM                  WEIGHT  MODELS                                "
        "DIALECT         URL",
        "gpu-1          up          3/32  5 running, 1 waiting       2  mistralai/Devstral-Small-2507, small  "
        "mistral 0.11.0  http://10.0.0.11:8000",
        "a-longer-name  up             3  -                          2  mistralai/Devstral-Small-2507, small  "
        "mistral 0.11.0  http://10.0.0.11:8000",
    ]


@pytest.mark.parametrize("width", range(30, 160, 5))
def test_no_line_is_longer_than_the_terminal(width: int) -> None:
    lines = table([UP, {**UP, "name": "gpu-2", "drained": True}], width=width, colour=False)

    assert all(len(line) <= width for line in lines)
    assert all("gpu-" in line for line in lines[1:]), "name and state stay"


def test_colour_is_for_the_state_alone_and_only_if_wanted() -> None:
    plain, coloured = (table([UP], width=None, colour=colour) for colour in (False, True))

    assert "\x1b" not in "".join(plain)
    assert f"{Mood.GOOD.value}up   {RESET}" in coloured[1]
    assert coloured[0] == plain[0]


def test_a_models_name_cannot_steer_the_terminal() -> None:
    (_, line) = table([{**UP, "models": ["evil\x1b[2J\n"]}], width=None, colour=True)

    assert "\x1b[2J" not in line
    assert "\n" not in line
    assert clean("a\x07b") == "a?b"


def test_what_is_not_known_is_a_dash() -> None:
    (_, line) = table([{"name": "x", "health": "up", "models": [], "listing": "failed"}], width=None, colour=False)

    assert "no list" in line
    assert table([], width=80, colour=False) == ["There are no backends."]
