"""Rules of router/exchange.py."""

from router.exchange import Exchange, Outcome


def test_an_exchange_is_closed_exactly_once() -> None:
    closed: list[Exchange] = []
    exchange = Exchange("id", "/v1/models", "GET", 1.0)
    exchange.on_close += (closed.append,)

    assert exchange.close(Outcome.OK, 2.0)
    assert not exchange.close(Outcome.CLIENT_GONE, 3.0)
    assert (exchange.outcome, exchange.closed, closed) == (Outcome.OK, 2.0, [exchange])
