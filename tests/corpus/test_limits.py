"""The table of limits in docs/security.md: each figure is the one that the code goes by, and the fixed ones hold."""

import re
from pathlib import Path

import pytest

from router.config import Config
from router.config.values import show_size
from router.errors import InvalidRequest
from router.handlers.dispatch import LONGEST_HOST
from router.relay.forms import MAX_BOUNDARY, MAX_PARTS, peek_multipart
from router.translate.mistral.limits import MAX_ANSWER_LISTS, MAX_ANSWER_VALUES, MAX_CALLS, MAX_REPEATED, MAX_VALUES
from router.wire.answer import AnswerLimits
from router.wire.limits import HELD_BYTES, MIN_BODY_RATE, PIPELINED_BYTES, ServerLimits
from router.wire.request_parser import FRAMING_RATIO, SLICE
from router.wire.sse import MAX_EVENT
from tests.fuzz import requests

DOCUMENT = Path(__file__).resolve().parents[2] / "docs" / "security.md"
CHUNKED = b"POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"


def limits() -> dict[str, tuple[str, str]]:
    """What is limited -> setting, as shipped."""
    section = DOCUMENT.read_text().partition("## Limits")[2].partition("\n## ")[0]
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in section.splitlines() if line.startswith("| ")]
    return {what: (setting, shipped) for what, setting, shipped, _ in rows[1:] if set(what) != {"-"}}


def test_what_has_a_setting_is_told_with_its_default() -> None:
    server, told = Config().server, limits()
    for what, (setting, shipped) in told.items():
        names = re.findall(r"`server\.(\w+)`", setting)
        if len(names) != 1 or "and" in setting:
            continue
        value = getattr(server, names[0])
        size = show_size(value) if isinstance(value, int) else f"{value:g}s"
        assert shipped.replace(" ", "").replace(",", "") in (size, str(value)), what
    assert sum("`server." in setting for setting, _ in told.values()) >= 10


def test_the_figures_of_fixed_limits_are_those_of_the_code() -> None:
    told = {what: shipped for what, (_, shipped) in limits().items()}
    answer = AnswerLimits()
    assert told["`Host`"] == f"{LONGEST_HOST} characters"
    assert told["chunk framing, trailers included"] == (
        f"{FRAMING_RATIO} bytes for each of the body, and {(ServerLimits().header_bytes + SLICE) >> 10} KB"
    )
    assert told["requests sent ahead on a connection"] == (
        f"{PIPELINED_BYTES >> 20} MiB; {HELD_BYTES >> 10} KB above the mark of memory"
    )
    assert told["parts of a form; its boundary"] == f"{MAX_PARTS:,}; {MAX_BOUNDARY} bytes"
    assert told["values of a body that is translated"].startswith(f"{MAX_VALUES:,};")
    assert told["values of an answer that is translated; its objects and arrays; its calls"] == (
        f"{MAX_ANSWER_VALUES:,}; {MAX_ANSWER_LISTS:,}; {MAX_CALLS:,}"
    )
    what = "`id`, `model` and what else stands in each event of a stream that is made of a whole answer"
    assert told[what] == f"{MAX_REPEATED} characters"
    assert told["head of a backend's answer"] == (
        f"{answer.header_bytes >> 10} KB, {answer.header_count} headers, {answer.informational} informational answers"
    )
    assert told["one event of a stream"] == f"{MAX_EVENT >> 20} MiB"
    assert f"time for a body; {MIN_BODY_RATE >> 10} KB/s earn more" in told


@pytest.mark.row(46, 57)
@pytest.mark.parametrize("size", [65536, 1000, 7])
@pytest.mark.parametrize(
    ("framing", "is_taken"),
    [
        (b"1\r\na\r\n" * 3000 + b"0\r\n\r\n", True),
        (b"0" * 60 + b"1\r\na\r\n0\r\n\r\n", True),
        (b"0\r\n" + b"a: b\r\n" * 4000 + b"\r\n", True),
        (b"0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n", False),
        ((b"0" * 100 + b"1\r\na\r\n") * 2000 + b"0\r\n\r\n", False),
        (b"1" + b";a=b" * 40_000 + b"\r\na\r\n0\r\n\r\n", False),
    ],
    ids=["chunks of a byte", "zeros", "trailers", "too many trailers", "too many zeros", "too many extensions"],
)
def test_what_frames_a_body_is_bounded_however_it_comes(framing: bytes, is_taken: bool, size: int) -> None:
    data = CHUNKED + framing
    seen = requests.served([data[start : start + size] for start in range(0, len(data), size)], ServerLimits())
    requests.KEPT.close()
    assert seen.is_refused is not is_taken
    assert is_taken or b"400 Too many bytes of chunk framing" in seen.answers


@pytest.mark.row(57)
def test_a_form_has_so_many_parts_and_so_long_a_boundary_and_no_more() -> None:
    def form(parts: int, boundary: str) -> tuple[bytes, str]:
        part = f'--{boundary}\r\nContent-Disposition: form-data; name="a"\r\n\r\nb\r\n'
        return f"{part * parts}--{boundary}--\r\n".encode(), f"multipart/form-data; boundary={boundary}"

    for parts, boundary in ((MAX_PARTS, "x"), (1, "x" * MAX_BOUNDARY)):
        assert peek_multipart(*form(parts, boundary)).model is None
    for parts, boundary in ((MAX_PARTS + 1, "x"), (1, "x" * (MAX_BOUNDARY + 1))):
        with pytest.raises(InvalidRequest):
            peek_multipart(*form(parts, boundary))
