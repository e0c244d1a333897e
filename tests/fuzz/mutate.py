"""Our own mutations: seeded, so that a run can be repeated; they know lines, numbers and words of what they change."""

import random
import re
from collections.abc import Callable, Sequence

SPECIAL = [b"\r\n", *(bytes([byte]) for byte in b'\r\n\0\t\x0b\x7f\x85\xff\xa0 :;,"')]
LONGEST = 40_000  # bytes of a mutated case
MOST_STEPS = 5
NUMBERS = (b"0", b"1", b"-1", b"+1", b"00", b"0x10", b"1e1", b"4294967296", b"18446744073709551616", b"9" * 30, b"")

Step = Callable[[bytes, random.Random, "Mutations"], bytes]


class Mutations:
    """Makes one case after the other out of seeds."""

    def __init__(self, seeds: Sequence[bytes], words: Sequence[bytes], *, seed: int) -> None:
        """`words` are put in; the same `seed` makes the same cases."""
        self.seeds = seeds
        self.words = [*words, *SPECIAL]
        self._dice = random.Random(seed)

    def next(self) -> bytes:
        """Return the next case."""
        dice = self._dice
        data = dice.choice(self.seeds)
        if dice.random() < 0.15:
            data += dice.choice(self.seeds)
        for _ in range(dice.randint(1, MOST_STEPS)):
            data = dice.choice(STEPS)(data, dice, self)
        return data[:LONGEST]


def _change_byte(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    if not data:
        return data
    at = dice.randrange(len(data))
    return data[:at] + bytes([dice.randrange(256)]) + data[at + 1 :]


def _put_word(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    at = dice.randrange(len(data) + 1)
    return data[:at] + dice.choice(made.words) + data[at:]


def _put_word_at_edge(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    """Before or behind something that means something."""
    edges = [place for match in re.finditer(rb'[:;,\r\n "{}\[\]]+', data[:4000]) for place in match.span()]
    at = dice.choice(edges or [0])
    return data[:at] + dice.choice(made.words) + data[at:]


def _cut_out(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    start = dice.randrange(len(data) + 1)
    return data[:start] + data[start + dice.choice((1, 1, 1, 2, 4, 16, 64)) :]


def _cut_off(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    return data[: dice.randrange(len(data) + 1)] if dice.random() < 0.3 else data


def _repeat(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    start = dice.randrange(len(data) + 1)
    end = start + dice.choice((1, 2, 8, 32, 128))
    times = dice.choice((1, 1, 1, 2, 200))
    return data[:end] + data[start:end] * times + data[end:]


def _change_lines(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    """Repeat, swap, drop or fold a line."""
    lines = data.split(b"\n")
    one, other = dice.randrange(len(lines)), dice.randrange(len(lines))
    what = dice.randrange(4)
    if what == 0:
        lines.insert(other, lines[one])
    elif what == 1:
        lines[one], lines[other] = lines[other], lines[one]
    elif what == 2:
        del lines[one]
    else:
        lines[one] = b" " + lines[one]
    return b"\n".join(lines)


def _change_number(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    numbers = list(re.finditer(rb"[0-9]+", data[:4000]))
    if not numbers:
        return data
    at = dice.choice(numbers)
    new = dice.choice(NUMBERS) if dice.random() < 0.5 else b"%d" % max(0, int(at[0][:9]) + dice.randint(-3, 3))
    return data[: at.start()] + new + data[at.end() :]


def _change_case(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    start = dice.randrange(len(data) + 1)
    end = start + dice.randrange(20)
    return data[:start] + data[start:end].swapcase() + data[end:]


def _change_line_ends(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    at = data.find(b"\r\n", dice.randrange(len(data) + 1))
    return data if at < 0 else data[:at] + dice.choice((b"\n", b"\r", b"\r\r\n", b"\n\r", b"\r\n\r\n")) + data[at + 2 :]


def _put_part(data: bytes, dice: random.Random, made: Mutations) -> bytes:
    """A part of another seed in the place of a part."""
    other = dice.choice(made.seeds)
    start, take = dice.randrange(len(data) + 1), dice.randrange(len(other) + 1)
    return data[:start] + other[take : take + dice.randrange(200)] + data[start + dice.randrange(50) :]


STEPS: tuple[Step, ...] = (
    *(_change_byte, _put_word, _put_word_at_edge, _put_word_at_edge, _cut_out, _cut_off, _repeat, _change_lines),
    *(_change_number, _change_case, _change_line_ends, _put_part),
)
