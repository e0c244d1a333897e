"""What connections share."""

import asyncio
import logging

import pytest
import tornado.web

from router.wire.limits import ServerLimits
from router.wire.service import Context, Refused, plain_error
from tests.wire.served import GET, on_uvloop, serving


def test_an_error_is_one_line_of_text() -> None:
    refused = Refused(413, "too large", Context("127.0.0.1", "http"), own_lines=b"A: b\r\n")
    assert plain_error(refused) == (b"Content-Type: text/plain; charset=utf-8\r\nA: b\r\n", b"413 too large\n")


class Ok(tornado.web.RequestHandler):
    def get(self) -> None:
        self.write("ok")


async def answer_on(port: int) -> bytes:
    """Return what a new connection is told, b"" where it is reset."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(GET.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


@pytest.mark.parametrize("limits", [ServerLimits(descriptors=3), ServerLimits(connections=0)])
def test_a_connection_too_many_is_reset_and_told_of_once_a_second(
    limits: ServerLimits, caplog: pytest.LogCaptureFixture
) -> None:
    @on_uvloop
    async def test() -> None:
        async with serving(Ok, limits=limits) as served:
            assert [await answer_on(served.port) for _ in range(20)] == [b""] * 20
            served.server.set_limits(ServerLimits(descriptors=1 << 20))
            assert (await answer_on(served.port)).startswith(b"HTTP/1.1 200 ")

    caplog.set_level(logging.WARNING)
    test()
    assert len([record for record in caplog.records if record.name == "router.wire.service"]) == 1
