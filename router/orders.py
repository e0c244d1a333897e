"""What an operator may order of a running router, and the report on it. One process or many: the words are the same.

An order is carried out whole or not at all, on every process of the router; the report says so in words.
"""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Protocol

from router.recent import Told


class OrderKind(enum.Enum):
    """What may be ordered."""

    RELOAD = "reload"  # read the configuration anew; drops what was added and removed by order
    ADD = "add"  # a backend, by its `fields`
    REMOVE = "remove"  # a backend, by its name: gone from sight at once, what it has at work is finished
    DRAIN = "drain"  # send a backend nothing new
    UNDRAIN = "undrain"  # send it requests again


@dataclass(frozen=True, slots=True)
class Order:
    """One order."""

    kind: OrderKind
    name: str | None = None  # of the backend; None for RELOAD and ADD
    fields: Mapping[str, object] | None = None  # of ADD: as an entry of `backends` in the configuration
    is_forced: bool = False  # of REMOVE: also the last one


class Problem(enum.Enum):
    """Why an order was not carried out."""

    INVALID = "invalid"  # what was given is wrong, or the configuration's file is: `faults` has every reason
    UNKNOWN = "unknown"  # there is no such backend
    CONFLICT = "conflict"  # it cannot be done as things are
    FAILED = "failed"  # the router could not do it, or not in time


@dataclass(frozen=True, slots=True)
class Report:
    """What became of an order."""

    ok: bool
    message: str  # one sentence
    faults: tuple[str, ...] = ()  # why not, each in a line
    changes: tuple[str, ...] = ()  # what is different now, each in a line
    problem: Problem | None = None  # None where it was carried out
    name: str | None = None  # of the backend that it was about
    in_flight: int = 0  # of REMOVE and DRAIN: requests of all processes that finish at the backend


class Control(Protocol):
    """Who carries out orders for the whole router, and knows what all its processes have counted."""

    async def carry_out(self, order: Order) -> Report:
        """Carry out an order in every process. Never raises; what went wrong is in the report."""

    async def metrics(self, accept: str) -> tuple[str, bytes]:
        """Return (content type, body) of the metrics of all processes, in the form that an Accept header asks for."""

    async def recent(self) -> Told:
        """Return what happened lately in all processes; of one that does not answer in time nothing is told."""


def together(reports: list[Report]) -> Report:
    """Return the reports of several processes on one order as one.

    All do the same, so the first one speaks for them; a failure anywhere is the whole's. What is at work each has
    counted over all of them, at moments of its own. Raise ValueError for none.
    """
    if not reports:
        raise ValueError("no report")
    failed = next((report for report in reports if not report.ok), None)
    if failed is not None:
        return failed
    return replace(reports[0], in_flight=max(report.in_flight for report in reports))
