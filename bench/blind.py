"""`python -m bench.blind MODULE WORD...`: runs a module with a router that nobody can see anything of.

It begins blind; the signal SEE lets it see, as it does as shipped, and BLIND makes it blind again: so that both are
measured in one process, whose memory lies as it does.

No metrics of exchanges, attempts and events, no lists of what happened lately, no access lines, no reading of what
answers tell of their tokens, no traces, no tenants. There is no such switch in the product: what is left out is left
out here, so that `bench.seeing` can tell what it costs. What the router needs for its own work stays: how many
exchanges are open, when the last byte of a stream came, and the record of the exchange itself.
"""

import inspect
import runpy
import signal
import sys
import textwrap
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any, cast

from router.exchange import Attempt, AttemptOutcome, Exchange
from router.handlers.base import BaseHandler
from router.observer import Observer
from router.relay.flow import Flow
from router.relay.reading import Reading
from router.relay.usage import Tokens, tokens_of
from router.wire.connection import Connection

BLIND, SEE = signal.SIGRTMIN, signal.SIGRTMIN + 1

# How the time of each read of a stream is noted.
UNTIMED = {
    "gaps = cut.gaps": "",
    "gaps.append(now - cut.last)": "",
}

# The same where a read was parsed.
UNTIMED_PARSED = {
    "gaps = self.gaps": "",
    "gaps.append(now - self.last)": "",
}

# Whose a request is, and whether its client has named a trace.
UNNAMED = {
    'self.exchange.credentials = credentials_of(fields) if context.has_tenants else ""': "",
    'named = fields.get("Traceparent")': "named = None",
}


class Blind(Observer):
    """Is told everything, and notes nothing but how many exchanges are open."""

    def _exchange_closed(self, exchange: Exchange) -> None:
        self._metrics.in_flight -= 1

    def attempt_closed(self, attempt: Attempt, exchange: Exchange) -> None:
        """Note nothing."""

    def retried(self, cause: AttemptOutcome) -> None:
        """Note nothing."""


def rewritten(function: Callable[..., object], changes: Mapping[str, str]) -> Callable[..., object]:
    """Return a function with some of its lines replaced, "" for without. Raises LookupError where it has no such line.

    So it stays what it is in the product but for these lines, however the rest of it changes.
    """
    lines = textwrap.dedent(inspect.getsource(function)).splitlines()
    for line, other in changes.items():
        (number,) = [at for at, each in enumerate(lines) if each.strip() == line] or [None]
        if number is None:
            raise LookupError(f"{function.__qualname__} has no line {line!r}")
        lines[number] = lines[number].replace(line, other)
    made: dict[str, Callable[..., object]] = {}
    exec(compile("\n".join(lines), inspect.getfile(function), "exec"), function.__globals__, made)
    return made[function.__name__]


def no_tokens(answer: bytes, before: Tokens | None = None) -> Tokens | None:
    """Read nothing."""
    return None


def count_nothing(self: Flow, answer: bytes) -> None:
    """Put nothing down."""


class Sight:
    """Whether the router can be seen. What does the noting, and what notes nothing, are codes of the same functions, so
    that whoever has a function at hand has that which is in force."""

    def __init__(self) -> None:
        """It can."""
        pairs: list[tuple[Callable[..., Any], Callable[..., Any]]] = [
            (Observer._exchange_closed, Blind._exchange_closed),
            (Observer.attempt_closed, Blind.attempt_closed),
            (Observer.retried, Blind.retried),
            (Flow._count_tokens, count_nothing),
            (tokens_of, no_tokens),
            (BaseHandler.initialize, rewritten(BaseHandler.initialize, UNNAMED)),
            (Connection.data_received, rewritten(Connection.data_received, UNTIMED)),
            (Reading.on_chunk, rewritten(Reading.on_chunk, UNTIMED_PARSED)),
        ]
        self._codes: list[tuple[FunctionType, CodeType, CodeType]] = []
        for seeing, blind in pairs:
            function = cast(FunctionType, seeing)
            self._codes.append((function, function.__code__, cast(FunctionType, blind).__code__))

    def turn(self, *, is_blind: bool) -> None:
        """Put what notes nothing in the place of what does, or back."""
        for function, seeing, blind in self._codes:
            function.__code__ = blind if is_blind else seeing


def main() -> None:
    """Begin blind, and run the module."""
    sight = Sight()
    sight.turn(is_blind=True)
    signal.signal(BLIND, lambda *_: sight.turn(is_blind=True))
    signal.signal(SEE, lambda *_: sight.turn(is_blind=False))
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main()
