"""`python -m bench.blind MODULE WORD...`: runs a module with a router that nobody can see anything of.

No metrics of exchanges, attempts and events, no lists of what happened lately, no access lines, no reading of what
answers tell of their tokens, no traces, no tenants. There is no such switch in the product: what is left out is left
out here, so that `bench.seeing` can tell what it costs. What the router needs for its own work stays: how many
exchanges are open, when the last byte of a stream came, and the record of the exchange itself.
"""

import inspect
import runpy
import sys
import textwrap
from collections.abc import Callable, Mapping

from router import app
from router.exchange import Attempt, AttemptOutcome, Exchange
from router.handlers.base import BaseHandler
from router.observer import Observer
from router.relay import course
from router.relay.flow import Flow
from router.relay.reading import Reading
from router.relay.usage import Tokens
from router.wire.connection import Connection

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


def go_blind() -> None:
    """Put everything that notes nothing in the place of what does."""
    app.Observer = Blind  # type: ignore[misc]
    course.tokens_of = no_tokens
    BaseHandler.initialize = rewritten(BaseHandler.initialize, UNNAMED)  # type: ignore[method-assign]
    Connection.data_received = rewritten(Connection.data_received, UNTIMED)  # type: ignore[method-assign]
    Reading.on_chunk = rewritten(Reading.on_chunk, UNTIMED_PARSED)  # type: ignore[method-assign]
    Flow._count_tokens = lambda self, answer: None  # type: ignore[method-assign]


if __name__ == "__main__":
    go_blind()
    del sys.argv[0]
    runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
