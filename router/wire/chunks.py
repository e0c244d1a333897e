"""Chunks (RFC 9112 section 7.1) as nearly every server writes them: a size without zeros in front, nothing behind it.

A read that is exactly one such chunk, which is what each event of a stream comes as, is told by its length alone: only
one size line fits it. Such a read can go on as it came, without being parsed and framed anew.
"""

MOST_DIGITS = 3  # of a size: chunks under 4 KiB; larger ones are parsed, which costs little per byte
_FRAMING = 4  # bytes around the size and the content: two line ends


class SizeLines(dict[int, bytes | None]):
    """The size line of a chunk by the bytes of all of it; None where there is no such chunk.

    Made as they are asked for; there are no more than some thousands.
    """

    def __missing__(self, total: int) -> bytes | None:
        line = size_line(total)
        if total <= _most(MOST_DIGITS):
            self[total] = line
        return line


class ContentLines(dict[int, bytes]):
    """The size line of a chunk by the bytes of its content and the line end behind that."""

    def __missing__(self, size: int) -> bytes:
        line = b"%x\r\n" % (size - 2)
        if len(self) < _most(MOST_DIGITS):
            self[size] = line
        return line


def size_line(total: int) -> bytes | None:
    """Return the line that a chunk of so many bytes, framing included, begins with; None where it has another form."""
    for digits in range(1, MOST_DIGITS + 1):
        size = total - _FRAMING - digits
        if int(f"1{'0' * (digits - 1)}", 16) <= size <= int("f" * digits, 16):
            return b"%x\r\n" % size
    return None


def _most(digits: int) -> int:
    return _FRAMING + digits + int("f" * digits, 16)
