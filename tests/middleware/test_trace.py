"""Rules of router/middleware/trace.py: each exchange becomes one file, and the loop never waits for it."""

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest

from router.config.middlewares import TraceOptions
from router.middleware.interface import Call, Ending, Head, Request
from router.middleware.trace import Trace

REQUEST = Request("POST", "/v1/chat/completions", "", (("Host", "h"),), b'{"model": "m"}')
ENDING = Ending("ok", 200, None, 0.1, 0.05, None, (("b", "ok"),))
NAME = re.compile(r"trace-\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d-\d{3}Z-[0-9a-f]{32}\.json")


def trace(path: Path, **options: object) -> Trace:
    return Trace(TraceOptions.model_validate({"directory": str(path), **options}))


def call(ident: str = "a") -> Call:
    return Call(ident, "/v1/chat/completions", "127.0.0.1", "http", 1769903999.5, model="m")


def exchange(
    one: Trace, ident: str = "a", *, events: tuple[bytes, ...] = (b"data: 1\n\n",), stream: bool = True
) -> None:
    its = call(ident)
    one.on_request(its, REQUEST)
    one.on_response(its, Head(200, (("Content-Type", "text/event-stream"),), stream))
    for event in events:
        one.on_event(its, event)
    one.on_end(its, ENDING)


def written(one: Trace, path: Path) -> list[dict[str, Any]]:
    one.close()
    one.background.join()
    return [json.loads(each.read_bytes()) for each in sorted(path.iterdir())]


def test_an_exchange_becomes_a_file(tmp_path: Path) -> None:
    exchange(one := trace(tmp_path / "t"))

    (found,) = written(one, tmp_path / "t")
    assert found["request"]["body"] == {"model": "m"}
    assert found["response"]["chunks"] == ["data: 1\n\n"]
    assert found["outcome"] == "ok"


@pytest.mark.row(66)
@pytest.mark.parametrize("ident", ["../../x", "a/b", "a\0b", "x" * 10_000, ".", ""])
def test_no_name_is_made_of_what_a_client_says(tmp_path: Path, ident: str) -> None:
    exchange(one := trace(tmp_path / "t"), ident)

    (found,) = written(one, tmp_path / "t")
    assert found["request_id"] == ident
    (path,) = (tmp_path / "t").iterdir()
    assert NAME.fullmatch(path.name)
    assert list(tmp_path.iterdir()) == [tmp_path / "t"]


def test_exchanges_of_one_millisecond_have_a_file_each(tmp_path: Path) -> None:
    one = trace(tmp_path / "t")
    for number in range(200):
        exchange(one, str(number))

    found = written(one, tmp_path / "t")
    assert sorted(int(each["request_id"]) for each in found) == list(range(200))
    assert len({each["trace_id"] for each in found}) == 200


def test_a_client_that_left_has_a_file_too(tmp_path: Path) -> None:
    one, its = trace(tmp_path / "t"), call()
    one.on_request(its, REQUEST)
    one.on_end(its, Ending("client_gone", 0, None, 0.1, None, None, ()))

    (found,) = written(one, tmp_path / "t")
    assert (found["response"], found["outcome"]) == (None, "client_gone")


def test_bodies_are_neither_kept_nor_written_where_they_are_not_wanted(tmp_path: Path) -> None:
    one = trace(tmp_path / "t", include_body="false")
    exchange(one, events=(b'{"answer": "canary"}',), stream=False)

    (found,) = written(one, tmp_path / "t")
    assert (found["request"]["body"], found["response"]["body"], found["response"]["chunks"]) == (None, None, [])
    assert "canary" not in json.dumps(found)
    assert "truncated" not in json.dumps(found)


def test_what_is_written_is_bounded_by_the_size_of_bodies(tmp_path: Path) -> None:
    one = trace(tmp_path / "t", max_body_size=100)
    exchange(one, events=(b"data: x\n\n",) * 1000)

    (found,) = written(one, tmp_path / "t")
    assert len(found["response"]["chunks"]) == 11
    assert found["response"]["truncated"]


def test_a_folder_that_is_gone_costs_the_files_and_nothing_else(tmp_path: Path) -> None:
    one = trace(tmp_path / "t")
    (tmp_path / "t").rmdir()
    began = time.monotonic()
    for number in range(500):
        exchange(one, str(number))

    assert time.monotonic() - began < 5
    one.close()
    one.background.join()
    assert one.background.dropped == 500


def test_a_folder_that_others_may_look_into_is_told_of(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "t").mkdir(mode=0o755)
    os.chmod(tmp_path / "t", 0o755)

    trace(tmp_path / "t")

    assert "chmod 700" in caplog.text
