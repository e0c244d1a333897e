"""What the parent and its workers say to each other.

Pickled: both ends are processes of one router, started from one program, and nobody else has the socket pair. Facts
have a frame of their own, so that the parent passes them on without reading them.
"""

import pickle
from collections.abc import Mapping
from dataclasses import dataclass

from router.config import Loaded
from router.exchange import AttemptOutcome
from router.observe.exposition import Families
from router.orders import Order
from router.process.sockets import Listening, Passed

# From the parent.


@dataclass(frozen=True, slots=True)
class Start:
    """The first message: all that a worker needs. Descriptors are those that it was born with."""

    version: str  # of the parent's code
    loaded: Loaded
    listening: Listening
    sockets: tuple[Passed, ...]
    slot: int  # its place among the workers
    counts: int | None  # descriptor of the table of counts
    places: Mapping[str, int]  # in that table, by backend
    orders: tuple[Order, ...]  # carried out since the configuration was read
    settle: float  # seconds that it may take to know its backends before it serves
    earlier: tuple[int, ...] = ()  # ids of the processes that handed over and still finish what they had at work


@dataclass(frozen=True, slots=True)
class Places:
    """Which backend has which place in the table of counts from now on."""

    places: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Carry:
    """Carry out an order and answer with a Report; with a configuration: take it up."""

    number: int
    order: Order
    loaded: Loaded | None


@dataclass(frozen=True, slots=True)
class Collect:
    """Answer with a dump of the metrics."""

    number: int


@dataclass(frozen=True, slots=True)
class CollectRecent:
    """Answer with what happened lately: a Told."""

    number: int


@dataclass(frozen=True, slots=True)
class Stop:
    """Finish what is at work and end."""

    delay: float  # seconds of not being ready before listening ends
    grace: float  # seconds for which an idle connection may still bring a request


@dataclass(frozen=True, slots=True)
class Hurry:
    """End now, in order."""


@dataclass(frozen=True, slots=True)
class Reopen:
    """Open the log files anew."""


# From a worker.


@dataclass(frozen=True, slots=True)
class Serving:
    """It accepts connections."""


@dataclass(frozen=True, slots=True)
class CannotStart:
    """It ends, and why."""

    reason: str


@dataclass(frozen=True, slots=True)
class Beat:
    """The loop turns, and this is what was counted so far."""

    dump: Families


@dataclass(frozen=True, slots=True)
class Ask:
    """An order from an operator; the answer is a Report."""

    number: int
    order: Order


@dataclass(frozen=True, slots=True)
class AskMetrics:
    """A scrape, with the asker's own dump; the answer is the merged one."""

    number: int
    dump: Families


@dataclass(frozen=True, slots=True)
class AskRecent:
    """What happened lately in the other workers; the answer is a list of what each has Told."""

    number: int


# From both.


@dataclass(frozen=True, slots=True)
class Answer:
    """To the question of that number."""

    number: int
    value: object


FromParent = Start | Places | Carry | Collect | CollectRecent | Stop | Hurry | Reopen
FromWorker = Serving | CannotStart | Beat | Ask | AskMetrics | AskRecent
Message = FromParent | FromWorker | Answer


@dataclass(frozen=True, slots=True)
class Fact:
    """So many attempts at a backend ended so."""

    backend: str
    outcome: AttemptOutcome
    retry_after: float | None
    count: int


def pack(message: Message) -> bytes:
    """Return a message's payload."""
    return pickle.dumps(message, pickle.HIGHEST_PROTOCOL)


def unpack(payload: bytes) -> Message:
    """Return the message. Raises what pickle does for one of other code than ours."""
    message: Message = pickle.loads(payload)  # noqa: S301  # from our own parent or worker, see the module's docstring
    return message


def pack_facts(facts: list[Fact]) -> bytes:
    """Return the payload of facts."""
    return pickle.dumps(facts, pickle.HIGHEST_PROTOCOL)


def unpack_facts(payload: bytes) -> list[Fact]:
    """Return the facts."""
    facts: list[Fact] = pickle.loads(payload)  # noqa: S301  # as above
    return facts
