"""Rules of router/relay/hedge.py: of two attempts only one ever speaks to the client."""

import pytest

from router.exchange import AttemptOutcome, Exchange
from router.handlers.routes import RELAYED
from router.relay.answer import Answer
from router.relay.hedge import Claim, Contender, HedgeRules
from router.relay.outcomes import Ended
from router.wire.client import PooledHTTPClient
from tests.front import run
from tests.relay.pipe import MemoryTransport, Pipe

ROUTES = {route.path: route for route in RELAYED}


def pair() -> tuple[MemoryTransport, Answer, Contender, Contender, Claim]:
    """Two attempts at one client's answer, over a real connection whose transport collects what is written."""
    client = PooledHTTPClient(force_instance=True)
    transport = MemoryTransport()
    connection = Pipe(client).connect(transport)
    answer = Answer(connection, Exchange("id", "/v1/embeddings", "POST", 0.0), b"", named_events=False)
    claim = Claim()
    client.close()
    return transport, answer, Contender(answer, claim), Contender(answer, claim), claim


def test_the_first_write_claims_the_answer_and_tells_both() -> None:
    async def test() -> None:
        _, _, first, second, claim = pair()
        won: list[str] = []
        lost: list[Ended] = []
        second.on_won, first.on_lost = lambda: won.append("second"), lost.append
        first.on_won = lambda: won.append("first")
        second.whole(200, b"", b"second")

        assert claim.owner is second
        assert won == ["second"]
        assert [ended.outcome for ended in lost] == [AttemptOutcome.SUPERSEDED]

    run(test)


WRITES = ("whole", "begin", "write", "finish")


def write(contender: Contender, how: str, text: bytes) -> None:
    if how == "whole":
        contender.whole(200, b"", text)
    elif how == "begin":
        contender.begin(200, b"", text, is_stream=True)
    elif how == "write":
        contender.write(text)
    else:
        contender.finish(text)


@pytest.mark.parametrize(("mine", "theirs"), [("whole", how) for how in WRITES] + [("begin", how) for how in WRITES])
def test_nothing_of_the_other_one_reaches_the_client(mine: str, theirs: str) -> None:
    async def test() -> None:
        transport, answer, first, second, _ = pair()
        write(first, mine, b"mine")
        write(second, theirs, b"theirs")

        written = b"".join(transport.written)
        assert b"mine" in written
        assert b"theirs" not in written
        assert answer.finished == (mine == "whole")

    run(test)


def test_whoever_is_not_the_owner_is_never_blocked_by_the_client() -> None:
    async def test() -> None:
        _, answer, first, second, _ = pair()
        first.begin(200, b"", b"x", is_stream=True)

        assert first.started
        assert second.started
        assert not second.is_blocked
        assert first.is_blocked == answer.is_blocked

    run(test)


def test_nothing_is_known_of_anybody_once_it_is_over() -> None:
    async def test() -> None:
        _, _, first, second, claim = pair()
        first.on_won = second.on_lost = lambda *_: None
        claim.release()

        assert first.on_won is second.on_lost is None
        assert claim.owner is None

    run(test)


@pytest.mark.parametrize("after", [None, 1.0])
@pytest.mark.parametrize("chat", [False, True])
def test_what_changes_nothing_is_hedged_and_what_generates_where_it_is_configured(
    after: float | None, chat: bool
) -> None:
    rules = HedgeRules(after, chat)

    assert rules.wait_for(ROUTES["/v1/embeddings"]) == rules.after
    assert rules.wait_for(ROUTES["/v1/chat/completions"]) == (rules.after if rules.chat else None)
    assert rules.wait_for(ROUTES["/v1/responses"]) is None
    assert rules.wait_for(ROUTES["/v1/audio/transcriptions"]) is None


def test_every_short_route_is_known() -> None:
    short = {route.path for route in RELAYED if route.is_short}

    assert short == {
        *("/v1/embeddings", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score", "/classify", "/pooling"),
        *("/v2/embed", "/tokenize", "/detokenize", "/v1/messages/count_tokens"),
    }
