"""Rules of router/simulator/prefixes.py, and what becomes of a request's time by it."""

import time

import pytest

from router.simulator.prefixes import BLOCK, PrefixCache, blocks_of
from router.simulator.settings import Settings
from tests.front import CHAT, front, run

LONG = " ".join(f"word{number}" for number in range(60))


def test_a_block_is_known_by_all_that_comes_before_it() -> None:
    one = blocks_of(range(4 * BLOCK))
    other = blocks_of([99, *range(1, 4 * BLOCK)])

    assert len(one) == 4
    assert not set(one) & set(other)
    assert blocks_of(range(3 * BLOCK)) == one[:3]


def test_a_part_of_a_block_is_none() -> None:
    assert blocks_of(range(BLOCK - 1)) == ()
    assert len(blocks_of(range(2 * BLOCK - 1))) == 1


def test_what_was_said_before_needs_no_computing() -> None:
    cache = PrefixCache(1000)

    assert cache.take(blocks_of(range(50))) == 0
    assert cache.take(blocks_of(range(100))) == 48
    assert cache.take(blocks_of(range(100))) == 96
    assert cache.take(blocks_of([7, *range(100)])) == 0


def test_it_holds_no_more_than_fits_and_the_ends_of_old_prompts_go_first() -> None:
    cache = PrefixCache(6 * BLOCK)
    old, new = blocks_of(range(4 * BLOCK)), blocks_of(range(1000, 1000 + 4 * BLOCK))
    cache.take(old)
    cache.take(new)

    assert cache.take(new) == 4 * BLOCK
    assert cache.take(old[:2]) == 2 * BLOCK
    assert cache.take(old) == 2 * BLOCK


def test_without_room_nothing_is_known() -> None:
    cache = PrefixCache(0)

    assert [cache.take(blocks_of(range(64))) for _ in range(2)] == [0, 0]


@pytest.mark.parametrize("is_stream", [False, True])
def test_a_prompt_takes_the_time_of_what_is_not_known(is_stream: bool) -> None:
    async def test() -> None:
        async with front(Settings(prefill=0.002, prefix_cache=4096, tokens=2)) as it:
            took = []
            for _ in range(2):
                begun = time.monotonic()
                messages = [{"role": "user", "content": LONG}]
                answer = await it.ask("/v1/chat/completions", {**CHAT, "messages": messages, "stream": is_stream})
                took.append(time.monotonic() - begun)
                assert answer.code == 200
            counters = it.backends[0].figures.counters
            tokens = counters["prefix_cache_queries"] // 2
            assert counters["prefix_cache_hits"] == counters["prompt_tokens_cached"] == tokens // BLOCK * BLOCK
            assert took[0] >= tokens * 0.002
            assert took[1] < took[0]

    run(test)
