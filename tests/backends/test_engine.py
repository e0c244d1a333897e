"""Rules of reading a server's figures, and of telling a hung engine."""

import math
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.backends.engine import MAX_ROWS, Engine, Figures, Verdict, read_figures
from router.simulator.metrics import no_figures, render
from router.simulator.settings import Settings
from tests.captures import FOLDER


def page(*rows: tuple[int, int], name: str = "m") -> bytes:
    """Return a page of engines: (running, iterations) of each."""
    lines = ["# HELP vllm:num_requests_running Number of requests in model execution batches."]
    for number, (running, iterations) in enumerate(rows):
        labels = f'{{engine="{number}",model_name="{name}"}}'
        lines.append(f"vllm:num_requests_running{labels} {float(running)}")
        lines.append(f"vllm:iteration_tokens_total_count{labels} {float(iterations)}")
    return ("\n".join(lines) + "\n").encode()


def verdicts(*looks: tuple[float, int | None, float | None], hung_after: float | None = 15.0) -> list[Verdict]:
    """Return what each look says: (time, running, iterations)."""
    engine = Engine()
    return [engine.observe(running, count, now, hung_after=hung_after) for now, running, count in looks]


# Reading


def test_the_page_of_a_real_server_is_read() -> None:
    recorded = (FOLDER / "tekken-v13" / "get-metrics-after.response").read_bytes()

    assert read_figures(recorded.partition(b"\r\n\r\n")[2]) == Figures(0, 0, 0.0, 2093.0)


def test_the_page_of_the_simulator_is_read() -> None:
    settings = Settings()
    figures = no_figures(settings)
    figures.running, figures.waiting = 3, 2
    figures.iterations.observe(5, 7)

    read = read_figures(render(figures, settings, started=0.0))
    assert (read.running, read.waiting, read.iterations) == (3, 2, 7)


def test_engines_are_summed_and_the_fullest_cache_counts() -> None:
    usage = b'vllm:kv_cache_usage_perc{engine="0"} 0.25\nvllm:kv_cache_usage_perc{engine="1"} 0.5\n'

    assert read_figures(page((1, 10), (2, 20)) + usage) == Figures(3, None, 0.5, 30)


def test_figures_of_longer_names_are_others() -> None:
    rows = b'vllm:num_requests_waiting_by_reason{reason="capacity"} 5\nvllm:num_requests_waiting{engine="0"} 2\n'

    assert read_figures(rows).waiting == 2


@pytest.mark.parametrize("name", ["a b", "}", "} 7", "\\n", 'vllm:num_requests_running{x=\\"1\\"} 9', "ü"])
def test_names_of_models_may_hold_anything(name: str) -> None:
    assert read_figures(page((4, 9), name=name)) == Figures(running=4, iterations=9)


@pytest.mark.parametrize(
    "row", [b"{", b"{}", b"{} ", b"{} NaN", b"{} +Inf", b"{} -1", b"{} x", b" ", b"", b"\x00", b"{} 1e999"]
)
def test_what_is_no_number_is_not_known(row: bytes) -> None:
    assert read_figures(b"vllm:num_requests_running" + row) == Figures()
    assert read_figures(b"\nvllm:num_requests_running" + row + b"\n" + page((2, 1))).running == 2


@given(st.binary(max_size=200), st.binary(max_size=200))
def test_no_bytes_make_reading_fail(before: bytes, after: bytes) -> None:
    figures = read_figures(before + b"\nvllm:num_requests_running" + after)

    assert figures.iterations is None
    assert figures.running is None or figures.running >= 0


def test_no_page_of_another_server_tells_anything() -> None:
    assert read_figures(b"") == read_figures(b"<html>") == read_figures(b"sglang:num_running_reqs 5\n") == Figures()


def test_a_page_without_end_is_not_summed_for_ever() -> None:
    rows = b"vllm:num_requests_running 1\n" * (MAX_ROWS * 300)  # 8 MB
    started = time.process_time()

    assert read_figures(rows).running == MAX_ROWS
    assert time.process_time() - started < 1


# Judging


def test_an_engine_that_has_requests_and_stands_still_for_long_is_hung() -> None:
    said = verdicts((0, 1, 100), (5, 1, 100), (10, 2, 100), (15, 1, 100), (20, 1, 100))

    assert said == [Verdict.MOVING, Verdict.STILL, Verdict.STILL, Verdict.HUNG, Verdict.HUNG]


def test_an_idle_engine_stands_still_for_ever_and_is_well() -> None:
    assert verdicts(*[(now, 0, 100) for now in range(0, 1000, 5)]) == [Verdict.MOVING] * 200


def test_a_request_that_has_just_begun_on_an_engine_long_idle_is_no_hang() -> None:
    assert verdicts((0, 0, 100), (60, 1, 100), (65, 1, 100))[-1] is Verdict.STILL


def test_each_piece_of_a_long_prompt_moves_the_engine() -> None:
    assert verdicts(*[(now, 1, 100 + now // 14) for now in range(0, 300, 5)])[-1] is not Verdict.HUNG
    assert Verdict.HUNG not in verdicts(*[(now, 1, 100 + now // 14) for now in range(0, 300, 5)])


def test_one_look_is_never_enough() -> None:
    assert verdicts((0, 9, 5), hung_after=0.0) == [Verdict.MOVING]
    assert verdicts((0, 9, 5), (0.1, 9, 5), hung_after=0.0)[-1] is Verdict.HUNG


def test_a_server_that_was_started_anew_has_moved() -> None:
    assert verdicts((0, 1, 100), (10, 1, 100), (20, 1, 3))[-1] is Verdict.MOVING


def test_a_hung_engine_that_moves_again_or_has_nothing_left_to_do_is_well() -> None:
    hung = ((0, 1, 100), (20, 1, 100))

    assert verdicts(*hung)[-1] is Verdict.HUNG
    assert verdicts(*hung, (25, 1, 101))[-1] is Verdict.MOVING
    assert verdicts(*hung, (25, 0, 100))[-1] is Verdict.MOVING


def test_bytes_of_answers_are_progress_too() -> None:
    engine = Engine()
    said = [engine.observe(1, 100, now, hung_after=15, progress=now - 1) for now in range(0, 100, 5)]
    assert Verdict.HUNG not in said
    said = [engine.observe(1, 100, now, hung_after=15, progress=94) for now in range(100, 130, 5)]

    assert said[-1] is Verdict.HUNG


def test_what_a_server_does_not_tell_is_no_hang_and_breaks_the_wait() -> None:
    assert verdicts((0, 1, 100), (10, None, None), (20, 1, 100), (30, 1, None), (60, 1, 100)) == [
        Verdict.MOVING, Verdict.UNKNOWN, Verdict.MOVING, Verdict.UNKNOWN, Verdict.MOVING,
    ]  # fmt: skip


def test_it_can_be_switched_off() -> None:
    assert verdicts((0, 1, 100), (math.inf, 1, 100), hung_after=None)[-1] is Verdict.STILL
