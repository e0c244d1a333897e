"""`python -m bench.resume`: what it costs to keep streams, so that another backend could finish them; in this process.

An event's cost is that of keeping it, and its share of the fold that follows now and then; exact mode also cuts the
ids of its tokens out. A stream's cost is what stands at its beginning: the object that keeps it, and in exact mode the
look at its request, the wish for ids, and the ids of the prompt in its first event. Each figure is the fastest of many
rounds. Bytes are those that one stream holds after so many events. `--check` exits with 1 over a bar.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence

from bench.translation import LARGE, SMALL, Figure, body, event, fastest, history
from router.relay.kept import Kept, cut_ids
from router.relay.plain import NONE, learned
from router.relay.resume import asks_ids, wants_ids
from router.relay.splice import Splice
from router.wire.shortcut import MANY

ROUNDS = 200
EVENTS = 2000  # of a long answer
MAX_LENGTH = 1 << 20
HEAD = {"id": "chatcmpl-a", "object": "chat.completion.chunk", "created": 1, "model": "m"}


def events(extra: str) -> list[bytes]:
    """Return the events of an answer; `extra`: what only vLLM knows."""
    return [event(f" word{number % 97}", extra=extra) for number in range(EVENTS)]


def nothing() -> None:
    """Do nothing."""


def keeping(mode: str) -> float:
    """Return the microseconds that keeping one event takes, its share of the folds with it."""
    stream = events(',"token_ids":[31415]' if mode == "exact" else ',"token_ids":null')
    cut = cut_ids if mode == "exact" else None
    plain = learned(stream[0], is_chat=True) or NONE
    place = plain.place

    def run() -> None:
        kept = Kept(is_chat=True, max_length=MAX_LENGTH, hides_ids=mode == "exact")
        blocks = kept.blocks
        texts: list[bytes] = []
        for number, one in enumerate(stream):
            if cut is not None:
                blocks.append(one)
                cut(one)
            else:  # a plain event: its text was looked at anyway
                texts.append(one[place])
            if number % MANY == MANY - 1:
                if texts:
                    kept.add(texts)
                    texts = []
                kept.fold()

    def idle() -> None:
        for number, _ in enumerate(stream):
            if number % MANY == MANY - 1:
                nothing()

    best = [float("inf"), float("inf")]
    for _ in range(ROUNDS):
        for index, act in enumerate((run, idle)):
            started = time.perf_counter()
            act()
            best[index] = min(best[index], time.perf_counter() - started)
    return (best[0] - best[1]) / EVENTS * 1e6


def held(mode: str) -> int:
    """Return the bytes that one stream holds when all its events have come."""
    stream = events(',"token_ids":[31415]' if mode == "exact" else ',"token_ids":null')
    place = (learned(stream[0], is_chat=True) or NONE).place
    texts: list[bytes] = []
    tracemalloc.start()
    kept = Kept(is_chat=True, max_length=MAX_LENGTH, hides_ids=mode == "exact")
    before = tracemalloc.get_traced_memory()[0]
    for number, one in enumerate(stream):
        copy = bytes(bytearray(one))  # as a read makes one
        if mode == "exact":
            kept.blocks.append(copy)
        else:
            texts.append(copy[place])
        if number % MANY == MANY - 1:
            if texts:
                kept.add(texts)
                texts = []
            kept.fold()
    if texts:
        kept.add(texts)
    kept.fold()
    assert kept.transcript.text
    after = tracemalloc.get_traced_memory()[0]
    tracemalloc.stop()
    return after - before


def first_event(tokens: int) -> bytes:
    """Return the first event of a stream, with the ids of a prompt."""
    ids = ",".join(str(1000 + number % 100_000) for number in range(tokens))
    role = event("", extra="").replace(b'{"content":""}', b'{"role":"assistant","content":""}')
    return role.replace(b"}\n\n", b',"prompt_token_ids":[%b]}\n\n' % ids.encode())


def stream_figures() -> list[Figure]:
    """Return what a stream costs at its beginning, in microseconds."""

    def opened() -> object:
        return Kept(is_chat=True, max_length=MAX_LENGTH)

    figures = [Figure("text: stream", fastest(opened, nothing), 10.0)]
    for name, size, tokens, bar in (("2 KB", SMALL, 500, 150.0), ("128 KB", LARGE, 32_000, 4000.0)):
        request, first = body(history(size - 400), offered=0), first_event(tokens)
        figures.append(Figure(f"exact: stream, request of {name}", fastest(_exact(request, first), nothing), bar))
        figures.append(Figure(f"exact: more bytes from the backend, {name}", float(len(first)), float("inf")))
    return figures


def _exact(request: bytes, first: bytes) -> Callable[[], object]:
    def act() -> object:
        assert wants_ids(request)
        asks_ids(request)
        kept = Kept(is_chat=True, max_length=MAX_LENGTH, hides_ids=True)
        kept.blocks.append(first)
        cut_ids(first)
        kept.fold()
        return kept

    return act


def splicing() -> float:
    """Return the microseconds that an event of a continuation takes more than one of an unbroken stream."""
    splice = Splice(HEAD, is_chat=True)
    one = event(" word", extra=',"token_ids":null')
    splice.feed(one)
    return fastest(lambda: splice.feed(one), nothing)


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the figures; return 1 where `--check` was asked for and one is over its bar."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="fail over a bar")
    check = parser.parse_args(arguments).check
    figures = [Figure(f"{mode}: event", keeping(mode), bar) for mode, bar in (("text", 1.0), ("exact", 4.0))]
    figures += [Figure("continuation: event", splicing(), 3.0), *stream_figures()]
    for figure in figures:
        unit = "bytes" if "bytes" in figure.name else "us"
        print(f"{figure.name:45} {figure.added:10.2f} {unit}")
    for mode in ("text", "exact"):
        print(f"{mode}: bytes held after {EVENTS} events".ljust(45), f"{held(mode):10}")
    print("the same events as they came".ljust(45), f"{sum(map(len, events(''))):10}")
    return int(check and any(figure.added > figure.bar for figure in figures))


if __name__ == "__main__":
    sys.exit(main())
