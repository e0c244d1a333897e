"""vLLM's prefix cache: which part of a prompt needs no computing, because an earlier one began alike. Pure.

As there, it is kept in blocks of 16 tokens, each known by all that comes before it, and the one unused for longest
makes room. Of answers nothing is kept.
"""

from collections import OrderedDict
from collections.abc import Sequence

BLOCK = 16  # tokens


def blocks_of(prompt: Sequence[int]) -> tuple[int, ...]:
    """Return the keys of a prompt's whole blocks."""
    keys, key = [], 0
    for start in range(0, len(prompt) - BLOCK + 1, BLOCK):
        key = hash((key, *prompt[start : start + BLOCK]))
        keys.append(key)
    return tuple(keys)


class PrefixCache:
    """The blocks that one server keeps."""

    def __init__(self, tokens: int) -> None:
        """`tokens`: how many fit in."""
        self._room = tokens // BLOCK
        self._blocks: OrderedDict[int, None] = OrderedDict()  # the one unused for longest first

    def take(self, keys: Sequence[int]) -> int:
        """Return how many tokens of a prompt are there; from now on all of them are."""
        blocks = self._blocks
        known = next((at for at, key in enumerate(keys) if key not in blocks), len(keys))
        for key in reversed(keys):  # the end of a prompt is the first to go
            blocks[key] = None
            blocks.move_to_end(key)
        while len(blocks) > self._room:
            blocks.popitem(last=False)
        return known * BLOCK
