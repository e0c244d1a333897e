"""Runs exchanges: each to exactly one end, whatever happens.

    pick a backend -> attempt -> its outcome to the registry -> retry.decide -> next attempt, or the end

The exchange is closed in one `finally`; in-flight slots and timers are given back there too.
What happens in between is `Course`'s.
"""

import asyncio

from router.backends.load import Answers
from router.errors import AnswerError, BackendTimeout, InternalFault, NoBackend, TooMuch
from router.exchange import Exchange, Outcome
from router.relay.answer import Answer
from router.relay.course import Course
from router.relay.route import Job
from router.relay.sessions import Sessions
from router.relay.shared import Shared

# Seconds that exchanges get to tell their clients that the router stops.
LAST_WORDS = 1.0
# Bound once: finding a member of an enum takes as long as eight attributes (Python 3.11).
_INTERNAL = Outcome.INTERNAL


class _DeadlinePassed(Exception):
    """The client's time is over. What else raises `TimeoutError`, as the system's calls may, is a fault."""


class Relay:
    """The one place where clients' exchanges and backends meet."""

    def __init__(self, shared: Shared) -> None:
        """`shared`: the backends, the world, the rules."""
        self._shared = shared
        self.loop = shared.outside.loop  # which asyncio tells no more cheaply than by a system call
        self._running: set[asyncio.Task[None]] = set()

    @property
    def live(self) -> int:
        """Return how many exchanges are under way here."""
        return len(self._running)

    @property
    def streams(self) -> int:
        """Return how many of them have asked for a stream."""
        return self._shared.streams

    @property
    def waiting(self) -> int:
        """Return how many of them wait for a free backend."""
        return len(self._shared.queue)

    def backend_down(self, name: str) -> None:
        """A backend went down: attempts there that are silent end, and their exchanges go on elsewhere."""
        self._shared.running.backend_down(name)

    @property
    def sessions(self) -> Sessions:
        """Return what is known of the conversations that exchanges belong to."""
        return self._shared.sessions

    @property
    def answers(self) -> Answers:
        """Return what is known of the answers under way, for those who judge backends."""
        running = self._shared.running
        return Answers(running.last_byte, running.awaited)

    async def stop(self) -> None:
        """End every exchange under way: its client is told so, in the way that is still open."""
        self._shared.is_stopping = True
        self._shared.running.close()
        tasks = list(self._running)
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=LAST_WORDS)

    async def run(self, exchange: Exchange, job: Job, answer: Answer, *, task: "asyncio.Task[None]") -> None:
        """Relay one exchange to its end. Raises `CancelledError` only, when the client has left.

        `task`: the one that runs this; cancelling it is how a client's leaving is told.
        """
        shared = self._shared
        course = Course(shared, exchange, job, answer)
        outcome = _INTERNAL
        self._running.add(task)
        shared.live += 1
        shared.streams += job.stream
        shared.budget.earn()
        try:
            if shared.is_stopping:
                raise shutting_down()
            limit = job.deadline
            outcome = await (course.attempts() if limit is None else self._within_deadline(course, limit))
        except _DeadlinePassed:
            outcome = Outcome.OK if answer.is_whole else Outcome.TIMEOUT
            answer.fail(BackendTimeout("The deadline of the request has passed."), final=True)
        except asyncio.CancelledError:
            if not shared.is_stopping:
                outcome = Outcome.CLIENT_GONE
                raise
            outcome = Outcome.OK if answer.is_whole else Outcome.SHUTDOWN
            task.uncancel()
            answer.fail(shutting_down())
        except AnswerError as error:
            is_ours = isinstance(error, TooMuch) or not isinstance(error, NoBackend)
            outcome = Outcome.REJECTED if is_ours else Outcome.NO_BACKEND
            answer.fail(error)
        except Exception:
            answer.fail(InternalFault("The router failed; its log says why."))
            raise
        finally:
            course.release()
            self._running.discard(task)
            shared.live -= 1
            shared.streams -= job.stream
            exchange.close(outcome, shared.outside.clock())

    async def _within_deadline(self, course: Course, deadline: float) -> Outcome:
        limit = course.limit = asyncio.timeout(max(0.0, deadline - self._shared.outside.clock()))
        try:
            async with limit:
                return await course.attempts()
        except TimeoutError as error:
            if limit.expired():
                raise _DeadlinePassed from error
            raise  # a fault of our own
        raise AssertionError("asyncio.timeout passes on or raises")


def shutting_down() -> NoBackend:
    """Return what a client is told when the router stops."""
    return NoBackend("The router is shutting down.", retry_after=1)
