"""Rules of router/wire/chunks.py: only one size line fits a chunk of so many bytes."""

import pytest

from router.wire.chunks import SizeLines, size_line


@pytest.mark.parametrize("size", [1, 9, 15, 16, 17, 254, 255, 256, 257, 4094, 4095])
def test_a_chunk_begins_with_the_line_that_its_length_tells(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)
    assert chunk.startswith(size_line(len(chunk)))
    assert size_line(len(chunk)) == b"%x\r\n" % size


@pytest.mark.parametrize("total", [*range(6), 21, 262, 4103, 4104, 100_000])
def test_there_are_lengths_that_no_chunk_has_or_none_that_is_looked_for(total: int) -> None:
    assert size_line(total) == b"?"


def test_what_is_remembered_is_bounded() -> None:
    lines = SizeLines()
    for total in range(10_000):
        assert lines[total] == size_line(total)
    assert len(lines) <= 4103
    assert lines[1 << 30] == b"?"
