"""The figures themselves: that answers are judged rightly, and that one figure runs from end to end."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from tests.chaos.figures import __main__ as figures
from tests.chaos.figures.client import Answer, Ending, Stream, judge, unchunked
from tests.chaos.figures.rows import Row, table

STREAM = Stream({}, "one two", "stop", 2)
USAGE = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3}


def chunk(delta: dict[str, str] | None, *, finish: str | None = None, ident: str = "a") -> dict[str, Any]:
    choices = [] if delta is None else [{"index": 0, "delta": delta, "finish_reason": finish}]
    last = {} if delta is not None else {"usage": USAGE}
    return {"id": ident, "created": 1, "model": "m", "choices": choices, **last}


ROLE = chunk({"role": "assistant", "content": ""})
ONE, TWO, LAST = chunk({"content": "one"}), chunk({"content": " two"}), chunk({}, finish="stop")
WHOLE: tuple[Any, ...] = (ROLE, ONE, TWO, LAST, chunk(None), "[DONE]")


def answer(*events: Any, ended: bool = True) -> Answer:
    """Return what a client has got: the events, each as one chunk of the body, and the body's end."""
    told = [event if isinstance(event, str) else json.dumps(event) for event in events]
    raw = [f"data: {data}\n\n".encode() for data in told]
    framed = b"".join(b"%x\r\n%b\r\n" % (len(one), one) for one in raw) + (b"0\r\n\r\n" if ended else b"")
    head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
    return Answer(closed_at=1.0, raw=[head + framed], is_whole=ended)


@pytest.mark.parametrize(
    ("seen", "ending"),
    [
        (answer(*WHOLE), Ending.WHOLE),
        (answer(ROLE, ONE, TWO, LAST, "[DONE]"), Ending.WRONG),  # its usage is missing
        (answer(ROLE, ONE, LAST, chunk(None), "[DONE]"), Ending.WRONG),  # a word is missing
        (answer(ROLE, ONE, ONE, TWO, LAST, chunk(None), "[DONE]"), Ending.WRONG),  # a word came twice
        (answer(ROLE, ROLE, ONE, TWO, LAST, chunk(None), "[DONE]"), Ending.WRONG),  # begun twice
        (answer(ROLE, ONE, {**TWO, "id": "b"}, LAST, chunk(None), "[DONE]"), Ending.WRONG),  # of two answers
        (answer(ROLE, ONE, TWO, LAST), Ending.SILENT),
        (answer(*WHOLE, ended=False), Ending.SILENT),  # the body is cut short of its end
        (answer(ROLE, ONE, {"error": {"message": "gone"}}), Ending.TOLD),
        (answer(ROLE, ONE, {"error": {"message": "gone"}}, ended=False), Ending.TOLD),
        (Answer(closed_at=1.0), Ending.REFUSED),
        (Answer(), Ending.OPEN),
        (replace(answer(ROLE, ONE), closed_at=None), Ending.OPEN),
    ],
)
def test_a_stream_is_whole_only_if_it_is_what_an_unbroken_run_says(seen: Answer, ending: Ending) -> None:
    assert judge(seen, STREAM) is ending


@pytest.mark.parametrize("cut", range(len(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n") + 1))
def test_a_chunked_body_can_be_read_as_far_as_it_has_come(cut: int) -> None:
    assert b"abcde".startswith(unchunked(b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n"[:cut]))


def test_a_table_shows_medians_and_the_worst_run() -> None:
    row = Row("kill", "ours", [{"failed": 0, "whole": 200}, {"failed": 3, "whole": 198}, {"failed": 0, "whole": 200}])

    assert "0 (3)  200 (198)" in table([row])


def test_killing_a_backend_is_measured_from_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "figures.json"

    code = figures.main(["--only", "kill", "--fronts", "ours-text", "--runs", "1", "--quick", "--json", str(out)])

    (row,) = json.loads(out.read_text())["rows"]
    assert code == 0, row["note"]
    assert row["medians"]["streams"] == row["medians"]["whole"] == 30
    assert row["medians"]["resumed"] > 0, "the killed backend had streams"
    assert row["medians"]["failed"] == 0
    assert "ours-text" in capsys.readouterr().out


def test_a_figure_that_is_none_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="no such figure: kil1"):
        figures.main(["--only", "kil1"])
