"""Rules of router/wire/chunks.py: only one size line fits a chunk of so many bytes."""

import pytest

from router.wire.chunks import ContentLines, SizeLines, size_line


@pytest.mark.parametrize("size", [1, 9, 15, 16, 17, 254, 255, 256, 257, 4094, 4095])
def test_a_chunk_begins_with_the_line_that_its_length_tells(size: int) -> None:
    chunk = b"%x\r\n%b\r\n" % (size, b"a" * size)
    assert size_line(len(chunk)) == b"%x\r\n" % size


@pytest.mark.parametrize("total", [*range(6), 21, 262, 4103, 4104, 100_000])
def test_there_are_lengths_that_no_chunk_has_or_none_that_is_looked_for(total: int) -> None:
    assert size_line(total) is None


def test_what_is_remembered_is_bounded() -> None:
    lines = SizeLines()
    for total in range(10_000):
        assert lines[total] == size_line(total)
    assert len(lines) <= 4103
    assert lines[1 << 30] is None


@pytest.mark.parametrize("size", [0, 1, 15, 16, 255, 256, 4095, 4096, 100_000])
def test_a_line_is_known_by_the_content_too(size: int) -> None:
    assert ContentLines()[size + len(b"\r\n")] == b"%x\r\n" % size


def test_of_lines_by_content_too_a_bounded_number_is_remembered() -> None:
    lines = ContentLines()
    for size in range(2, 10_000):
        assert lines[size] == b"%x\r\n" % (size - 2)
    assert len(lines) <= 4103
