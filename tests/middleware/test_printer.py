"""Rules of router/middleware/printer.py: lines for people, harmless to the terminal, and nobody waits for it."""

import os
import pty
import re
import time
from collections.abc import Iterator

import pytest

from router.config.middlewares import PrinterOptions
from router.middleware.interface import Call, Ending, Request
from router.middleware.printer import Printer, has_colour

ENDING = Ending("ok", 200, None, 0.812, 0.101, (3, 4), (("b1", "cut"), ("b2", "ok")))


@pytest.fixture
def pipe() -> Iterator[tuple[int, int]]:
    ends = os.pipe()
    yield ends
    for end in ends:
        try:
            os.close(end)
        except OSError:
            continue


def told(
    ends: tuple[int, int], *, path: str = "/v1/chat/completions", body: bytes = b'{"a": 1}', **options: object
) -> str:
    one = Printer(PrinterOptions.model_validate(options), out=ends[1], environ={})
    call = Call("id-1", "/v1/chat/completions", "127.0.0.1", "http", 1769903999.5, model="m\x1b[31m")
    one.on_request(call, Request("POST", path, "", (("Authorization", "Bearer canary"),), body))
    one.on_event(call, b"data: answer\x1b]0;title\x07\n\n")
    one.on_event(call, b"data: more \xc2\x9b31m\n\n")
    one.on_end(call, ENDING)
    one.close()
    one.background.join()
    os.set_blocking(ends[0], False)
    try:
        return os.read(ends[0], 65536).decode()
    except BlockingIOError:
        return ""


def test_a_request_and_its_answer_have_a_line_each(pipe: tuple[int, int]) -> None:
    asked, answered = told(pipe).splitlines()

    assert re.fullmatch(r"2026-01-31T23:59:59\.500Z -> POST /v1/chat/completions 8 bytes id=id-1", asked)
    assert " <- 200 ok /v1/chat/completions 0.812s first=0.101s model=m" in answered
    assert answered.endswith(" tokens=3+4 via=b1:cut via=b2:ok id=id-1")


@pytest.mark.parametrize(
    ("options", "arrows"),
    [
        ({"log_requests": "off"}, ["<-"]),
        ({"log_responses": "off"}, ["->"]),
        ({"log_requests": "off", "log_responses": "off", "log_body": "on"}, []),
    ],
)
def test_what_is_not_wanted_is_not_printed(
    pipe: tuple[int, int], options: dict[str, object], arrows: list[str]
) -> None:
    assert re.findall("->|<-", told(pipe, **options)) == arrows


def test_bodies_are_printed_only_where_that_is_wanted(pipe: tuple[int, int]) -> None:
    assert "answer" not in told(pipe)
    assert "answer" in (text := told(pipe, log_body=True))
    assert '    {"a": 1}\n' in text


def test_bodies_are_cut_and_it_is_said_by_how_much(pipe: tuple[int, int]) -> None:
    text = told(pipe, body=b"x" * 50, log_body=True, max_body_size=20)

    assert f"    {'x' * 20}\n    ... 30 bytes more\n" in text
    assert re.search(r"\.\.\. \d+ bytes more\n$", text)


def test_no_header_and_no_secret_is_printed(pipe: tuple[int, int]) -> None:
    assert "canary" not in told(pipe, log_body=True)


def test_nothing_of_a_client_speaks_to_the_terminal(pipe: tuple[int, int]) -> None:
    hostile = b"\x1b[2J\x07\r\x00\xff \xe2\x80\xae\n\x9b"
    text = told(pipe, path="/v1/\x1b[31m\r\nfake line", body=hostile, log_body=True)

    assert all(sign.isprintable() for line in text.split("\n") for sign in line)
    assert "fake line" in text.splitlines()[0]


def test_colours_are_for_terminals_unless_somebody_wants_none() -> None:
    parent, child = pty.openpty()
    try:
        assert has_colour(child, {"TERM": "xterm"})
        assert not has_colour(child, {"NO_COLOR": "1"})
        assert has_colour(child, {"NO_COLOR": ""})  # as no-color.org has it
        assert not has_colour(child, {"TERM": "dumb"})
        one = Printer(PrinterOptions(), out=child, environ={"TERM": "xterm"})
        one.on_end(Call("a", "/v1", "c", "http", 0.0), ENDING)
        one.close()
        one.background.join()
        assert b"\x1b[32m200 ok" in os.read(parent, 4096)
    finally:
        os.close(parent)
        os.close(child)


def test_a_pipe_is_no_terminal(pipe: tuple[int, int]) -> None:
    assert not has_colour(pipe[1], {"TERM": "xterm"})


def test_a_broken_pipe_breaks_nothing_and_is_counted(pipe: tuple[int, int]) -> None:
    os.close(pipe[0])
    one = Printer(PrinterOptions(), out=pipe[1], environ={})
    for _ in range(3):
        one.on_end(Call("a", "/v1", "c", "http", 0.0), ENDING)
    one.close()
    one.background.join()

    assert one.background.dropped == 3


def test_a_console_that_nobody_reads_holds_nobody_up(pipe: tuple[int, int]) -> None:
    one = Printer(PrinterOptions(), out=pipe[1], environ={})
    began = time.monotonic()
    for _ in range(5000):  # far more than a pipe takes
        one.on_end(Call("a", "/v1", "c", "http", 0.0), ENDING)

    assert time.monotonic() - began < 10
    assert one.background.dropped > 0
    os.close(pipe[0])  # lets the thread go
    one.close()
    one.background.join(10)
    assert one.background.has_ended
