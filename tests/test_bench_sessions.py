"""Affinity earns its place: of what conversations say again, more is found in caches than where requests take turns."""

import uvloop

from bench.sessions import Seen, Size, measured

TINY = Size(backends=3, conversations=9, turns=5, words=60, prefill=0.0)


def test_with_sessions_caches_hold_more_of_what_is_said_again() -> None:
    async def both() -> tuple[Seen, Seen]:
        return await measured(TINY, sessions=False), await measured(TINY, sessions=True)

    off, on = uvloop.run(both())

    assert on.tokens == off.tokens
    assert on.hits > off.hits + 0.1
    assert len(on.first) == len(off.first) == TINY.conversations * (TINY.turns - 1)
