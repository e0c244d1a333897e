"""How the wire's reading and uvicorn's are told apart."""

from collections.abc import Iterator

import pytest

from tests.fuzz import requests
from tests.fuzz.bounds import bounded
from tests.fuzz.uvicorn_reads import READERS, Kind, Uvicorn, alike, compared, main, read_by_wire
from tests.wire.memory import Loop

POST = b"POST /x?y HTTP/1.1\r\nHost: a\r\n"
PLAIN = POST + b"Content-Length: 2\r\n\r\nhi"


@pytest.fixture
def readers() -> Iterator[dict[str, Uvicorn]]:
    with Loop() as loop:
        yield {name: Uvicorn(loop, name) for name in READERS}
    requests.KEPT.close()


@pytest.mark.parametrize(
    ("data", "kinds"),
    [
        (PLAIN, {"h11": Kind.SAME, "httptools": Kind.SAME}),
        (PLAIN * 3, {"h11": Kind.SAME, "httptools": Kind.SAME}),
        (POST + b"Transfer-Encoding: CHUNKED\r\n\r\n2\r\nhi\r\n0\r\n\r\n", {"h11": Kind.SAME, "httptools": Kind.SAME}),
        (b"POST //evil/x HTTP/1.1\r\n\r\n", {"h11": Kind.SAME, "httptools": Kind.MORE}),
        (
            POST + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\nHost: evil\r\n\r\n",
            {"h11": Kind.SAME, "httptools": Kind.TRAILERS},
        ),
        (
            POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
            {"h11": Kind.SAME, "httptools": Kind.UPGRADE},
        ),
    ],
)
def test_readings_are_compared(readers: dict[str, Uvicorn], data: bytes, kinds: dict[str, Kind]) -> None:
    wire = read_by_wire(data)
    assert {name: compared(wire, list(map(alike, reader.read(data)))) for name, reader in readers.items()} == kinds


def test_another_body_is_read_otherwise(readers: dict[str, Uvicorn]) -> None:
    other = readers["h11"].read(PLAIN.replace(b"hi", b"ho"))
    assert compared(read_by_wire(PLAIN), other) is Kind.OTHERWISE


def test_nothing_is_no_request_and_ends(readers: dict[str, Uvicorn]) -> None:
    """h11 takes it for the end of the client, which uvicorn then asks for again and again."""
    with bounded(1.0):
        assert [reader.read(b"") for reader in readers.values()] == [[], []]


def test_a_run_ends_well_where_nothing_is_read_otherwise(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(200, 1) == 0
    requests.KEPT.close()
    assert capsys.readouterr().out.count("200 cases") == len(READERS)
