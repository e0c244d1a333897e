"""A tokenizer and a model that fit on one page: text to token ids and back, and which token comes next.

Two rules make answers reproducible, and continuable by another server that has the same settings:
- Every text is cut into tokens in one way only, and the ids can be turned back into the text: an id is a special token,
  a word of the model's own, or up to six bytes packed into a number.
- The next token depends on the ids alone: after a word of the model's own comes the next one of a closed round of
  words; after anything else a word chosen by a checksum of all ids. A seed changes the choice and the stride through
  the round. How much of an answer was already generated can therefore be read off the end of the prompt.
"""

import re
import zlib
from collections.abc import Iterator, Sequence

END = 2  # end of sequence
SPECIAL = {
    0: "<unk>",
    1: "<s>",
    END: "</s>",
    3: "[INST]",
    4: "[/INST]",
    5: "[AVAILABLE_TOOLS]",
    6: "[/AVAILABLE_TOOLS]",
    7: "[TOOL_RESULTS]",
    8: "[/TOOL_RESULTS]",
    9: "[TOOL_CALLS]",
    10: "[IMG]",
    17: "[SYSTEM_PROMPT]",
    18: "[/SYSTEM_PROMPT]",
}
BEGIN, INST, INST_END, TOOLS, TOOLS_END, RESULTS, RESULTS_END, CALLS, IMAGE = 1, 3, 4, 5, 6, 7, 8, 9, 10
SYSTEM, SYSTEM_END = 17, 18

# Latin, because prompts hardly ever end in these words: a prompt that does is taken for a half generated answer.
# A prime number of them, each once: so that every stride goes through all of them.
_TEXT = """
lorem ipsum dolor amet consectetur adipiscing elit eiusmod tempor incididunt labore dolore magna aliqua enim
veniam quis nostrud exercitation ullamco laboris nisi aliquip commodo consequat duis aute irure reprehenderit
voluptate velit esse cillum fugiat nulla pariatur excepteur sint occaecat cupidatat proident sunt culpa officia
deserunt mollit laborum curabitur pretium tincidunt lacus gravida orci odio nullam varius turpis pharetra eros
bibendum luctus felis sagittis vestibulum quisque porta aenean
"""
ROUND = tuple(" " + word for word in _TEXT.split())
FIRST_WORD = 32
_WORD_IDS = {word: FIRST_WORD + index for index, word in enumerate(ROUND)}
_LAST_WORD = FIRST_WORD + len(ROUND) - 1
_PACKED = 6  # bytes in one id at most: ids stay below 2**53, which every JSON reader can hold
# _BASES[n]: the first id of n + 1 packed bytes. Below lie 256 ids for special tokens and words.
_BASES: tuple[int, ...] = tuple(256 + sum(256**size for size in range(1, count)) for count in range(1, _PACKED + 2))
_PIECES = re.compile(r" ?\w+|\s+|[^\w\s]+")


def packed(data: bytes) -> int:
    """Return the id of up to six bytes."""
    return _BASES[len(data) - 1] + int.from_bytes(data, "big")


def _pack(piece: str) -> Iterator[int]:
    """Yield the ids of a text that is no word of ours, cut between characters."""
    held = b""
    for char in piece:
        data = char.encode("utf-8", "surrogatepass")
        if len(held) + len(data) > _PACKED:
            yield packed(held)
            held = b""
        held += data
    yield packed(held)


def encode(text: str) -> list[int]:
    """Return the ids of a text, without a beginning-of-sequence token."""
    ids: list[int] = []
    for piece in _PIECES.findall(text):
        word = _WORD_IDS.get(piece)
        if word is not None:
            ids.append(word)
        elif len(piece) <= _PACKED and piece.isascii():
            ids.append(packed(piece.encode()))
        else:
            ids.extend(_pack(piece))
    return ids


def token_bytes(token: int) -> bytes:
    """Return what one id stands for; unknown ids stand for nothing."""
    if FIRST_WORD <= token <= _LAST_WORD:
        return ROUND[token - FIRST_WORD].encode()
    if token in SPECIAL:
        return SPECIAL[token].encode()
    for size in range(1, _PACKED + 1):
        if _BASES[size - 1] <= token < _BASES[size]:
            return (token - _BASES[size - 1]).to_bytes(size, "big")
    return b""


def decode(ids: Sequence[int]) -> str:
    """Return the text of ids; bytes that are no text become U+FFFD."""
    return b"".join(map(token_bytes, ids)).decode("utf-8", "replace")


def _stride(seed: int | None) -> int:
    return 1 + (seed or 0) % (len(ROUND) - 1)


def generated(ids: Sequence[int], *, seed: int | None) -> int:
    """Return how many ids at the end are what the model would have put there: the part of an answer so far."""
    stride = _stride(seed)
    count = 0
    for position in range(len(ids) - 1, -1, -1):
        token = ids[position]
        if not FIRST_WORD <= token <= _LAST_WORD:
            break
        if count and (token - FIRST_WORD + stride) % len(ROUND) != ids[position + 1] - FIRST_WORD:
            break
        count += 1
    return count


def walk(ids: Sequence[int], *, seed: int | None, choice: int = 0) -> Iterator[int]:
    """Yield the words that follow a prompt, without end; `choice` tells the answers to one prompt apart."""
    stride = _stride(seed)
    last = ids[-1] if ids else END
    if FIRST_WORD <= last <= _LAST_WORD:
        at = last - FIRST_WORD + stride
    else:
        at = zlib.crc32(repr(list(ids)).encode(), (seed or 0) & 0xFFFFFFFF)
    at += choice * 7
    while True:
        at %= len(ROUND)
        yield FIRST_WORD + at
        at += stride
