"""Rules of a fetch: settled once, stopped when it is cancelled; and of its response."""

import asyncio
from typing import Any

import pytest
from tornado.httpclient import HTTPError

from router.errors import BadResponse
from router.wire.client import Head, Request
from router.wire.fetch import Fetch
from tests.wire.upstream import on_uvloop


def make(*, raise_error: bool = True, max_body_size: int = 100, **settings: Any) -> Fetch:
    loop = asyncio.get_running_loop()
    return Fetch(Request(**settings), b"", loop=loop, raise_error=raise_error, max_body_size=max_body_size)


@on_uvloop
async def test_cancelling_stops_what_is_under_way_before_it_returns() -> None:
    fetch = make()
    stopped: list[bool] = []
    fetch.stop = lambda: stopped.append(fetch.cancelled())
    assert fetch.cancel()
    assert stopped == [True]
    assert not fetch.cancel()
    assert len(stopped) == 1


@on_uvloop
async def test_what_comes_after_the_end_is_dropped() -> None:
    fetch = make()
    fetch.begin(200, "OK", [])
    fetch.finish()
    fetch.fail(KeyError())
    fetch.finish()
    assert not fetch.cancel()
    assert fetch.result().code == 200
    cancelled = make()
    cancelled.cancel()
    cancelled.begin(200, "OK", [])
    cancelled.finish()
    cancelled.fail(KeyError())
    assert cancelled.cancelled()


@on_uvloop
async def test_an_answer_cannot_end_before_it_began() -> None:
    with pytest.raises(RuntimeError):
        make().finish()


@on_uvloop
async def test_a_collected_body_is_bounded() -> None:
    fetch = make(max_body_size=10)
    fetch.begin(200, "OK", [])
    fetch.collect(b"12345")
    fetch.collect(b"67890")
    with pytest.raises(BadResponse):
        fetch.collect(b"x")
    fetch.finish()
    response = fetch.result()
    assert (response.body, response.buffer.read()) == (b"1234567890", b"1234567890")


@on_uvloop
async def test_a_status_outside_2xx_is_an_error_only_when_asked_for() -> None:
    for raise_error in (True, False):
        fetch = make(raise_error=raise_error)
        fetch.begin(404, "Not Found", [(b"A", b"b")])
        fetch.finish()
        if raise_error:
            with pytest.raises(HTTPError) as failed:
                await fetch
            response = failed.value.response
            assert response is not None
        else:
            response = await fetch
            with pytest.raises(HTTPError):
                response.rethrow()
        assert (response.code, response.reason, response.headers["a"]) == (404, "Not Found", "b")


@on_uvloop
async def test_callbacks_see_the_head_as_received() -> None:
    heads: list[Head] = []
    lines: list[str] = []
    fetch = make(on_head=heads.append, header_callback=lines.append)
    fetch.begin(200, "OK", [(b"A", b"1"), (b"a", b"\xe9")])
    fetch.finish()
    assert heads == [Head(200, "OK", [(b"A", b"1"), (b"a", b"\xe9")])]
    assert lines == ["HTTP/1.1 200 OK\r\n", "A: 1\r\n", "a: \xe9\r\n", "\r\n"]
    assert list(fetch.result().headers) == []


@on_uvloop
async def test_headers_of_a_response_keep_repetitions() -> None:
    fetch = make()
    fetch.begin(200, "OK", [(b"Set-Cookie", b"a"), (b"set-cookie", b"b")])
    fetch.finish()
    response = fetch.result()
    assert response.headers.get_list("Set-Cookie") == ["a", "b"]
    assert response.request_time is not None
    assert response.request_time >= 0
    assert "code" in repr(response)
