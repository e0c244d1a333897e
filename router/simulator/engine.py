"""The scheduler: so many requests run at a time, the others wait in order, and each answer goes out at its pace.

A streamed answer's head and first events go out as soon as it is taken, even while it waits, as vLLM does it.
Every run ends once, by `_leave`: sent whole, broken by a fault, or left by its client.
"""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Awaitable, Callable
from typing import Protocol

from router.simulator.answers import Answer, dress
from router.simulator.faults import Break, Faults
from router.simulator.metrics import Figures
from router.simulator.prefixes import PrefixCache
from router.simulator.settings import Settings
from router.simulator.wheel import TimerWheel


class Outlet(Protocol):
    """Where an answer goes: one request's place on a client's connection."""

    def head(self, length: int | None, data: bytes) -> None:
        """Send a 200's head, for a JSON body of `length` bytes or (None) for a stream, and the first bytes."""

    def send(self, data: bytes) -> Awaitable[None] | None:
        """Send one chunk; wait for what it returns, if anything, before the next one."""

    def finish(self) -> None:
        """Say that the answer is whole."""

    def refuse(self, status: int, body: bytes) -> None:
        """Send an error instead of an answer."""

    def end_badly(self, how: Break) -> None:
        """End a begun answer in a way that is no end."""


class Run:
    """One answer on its way."""

    __slots__ = (
        *("answer", "cached", "created", "faults", "first", "ident", "outlet", "state", "taken"),
        *("_counted", "_due", "_engine", "_position", "_sent"),
    )

    def __init__(
        self, engine: "Engine", answer: Answer, *, outlet: Outlet, ident: bytes, created: bytes, faults: Faults | None
    ) -> None:
        """`faults`: those that strike this answer; None: none."""
        self.answer = answer
        self.outlet = outlet
        self.ident = ident
        self.created = created
        self.faults = faults
        self.state: str = "new"  # "waiting", "running", "over"
        self.taken = 0.0
        self._engine = engine
        self._position = 0  # of the next step
        self._counted = 0  # steps that the metrics know of
        self._sent = 0  # events
        self._due = 0.0
        self.cached = 0  # tokens of its prompt
        self.first = 0.0  # seconds until its first token

    # ---- called by the engine

    def open(self) -> bool:
        """Send what goes out at once. Return whether the answer goes on."""
        if self.answer.body is not None:
            return True
        faults = self.faults
        if faults is not None and faults.break_as is not None and faults.break_after == 0:
            self.outlet.head(None, b"")
            self._break(faults.break_as)
            return False
        first = dress(self.answer.opening[0], self.ident, self.created) if self.answer.opening else b""
        self.outlet.head(None, first)
        self._sent = 1 if first else 0
        if self._is_broken():
            return False
        return all(self._send(data) for data in self.answer.opening[1:])

    def start(self, now: float) -> None:
        """Begin to generate."""
        self.state = "running"
        settings = self._engine.settings
        self.cached = self._engine.prefixes.take(self.answer.blocks) if self.answer.blocks else 0
        self.first = settings.ttft + settings.prefill * (self.answer.prompt_tokens - self.cached)
        first = self.first + (self.faults.ttft if self.faults else 0.0)
        if self.answer.body is not None:
            first += settings.itl * (self.answer.moments - 1)
        self._due = now + first
        if first <= 0:
            self.advance()
        else:
            self._engine.wheel.at(self._due, self.advance)

    def advance(self) -> None:
        """Send what is due."""
        if self.state != "running" or self._engine.holds(self):
            return
        if self.answer.body is not None:
            self._send_body(self.answer.body)
            return
        itl = self._engine.settings.itl
        steps = self.answer.steps
        while self._position < len(steps):
            step = steps[self._position]
            self._position += 1
            for data in step:
                if not self._send(data):
                    return
            if self._position == len(steps):
                break
            self._due += itl
            if self.state == "stalled":
                return  # _resume() goes on
            if itl > 0:
                self._engine.wheel.at(self._due, self.advance)
                return
        self._close_stream()

    def count_steps(self, now: float) -> None:
        """Tell the metrics of the steps since it did so last; a whole answer's are known by the time."""
        steps = self._position
        if self.answer.body is not None:
            if self._engine.is_frozen:
                return
            itl, left = self._engine.settings.itl, max(0.0, self._due - now)
            to_come = math.ceil(left / itl) if itl > 0 else self.answer.moments if left else 0
            steps = max(self._counted, self.answer.moments - to_come)
        self._engine.figures.iterations.observe(self.answer.choices, steps - self._counted)
        self._counted = steps

    def stop_short(self) -> None:
        """End now, as vLLM does when it shuts down: `finish_reason: "abort"`, or an error."""
        if self.answer.body is not None:
            self._engine.dead(self.outlet)
        else:
            for data in self.answer.aborted:
                self.outlet.send(dress(data, self.ident, self.created))
            self.outlet.finish()
        self._engine.leave(self, "abort")

    def go_on(self) -> None:
        """Go on after the engine stood still."""
        self._due = max(self._due, self._engine.wheel.time())
        self.advance()

    # ---- within

    def _send(self, data: bytes) -> bool:
        """Send one event. Return whether the answer goes on now."""
        waits = self.outlet.send(dress(data, self.ident, self.created))
        self._sent += 1
        if self.faults is not None and self._is_broken():
            return False
        if waits is not None and self.state == "running":
            self.state = "stalled"
            asyncio.ensure_future(_wait(waits)).add_done_callback(self._resume)
        return True

    def _resume(self, _: object) -> None:
        if self.state == "stalled":
            self.state = "running"
            self._engine.wheel.at(max(self._due, self._engine.wheel.time()), self.advance)

    def _is_broken(self) -> bool:
        faults = self.faults
        if faults is None or faults.break_as is None or self._sent != faults.break_after:
            return False
        self._break(faults.break_as)
        return True

    def _break(self, how: Break) -> None:
        if how is not Break.STALL:
            self.outlet.end_badly(how)
            self._engine.leave(self, "error")

    def _send_body(self, template: bytes) -> None:
        body = dress(template, self.ident, self.created)
        how = self.faults.break_as if self.faults else None
        if how is None:
            self.outlet.head(len(body), body)
            self.outlet.finish()
            self._engine.leave(self, self.answer.finish)
        elif how is Break.ERROR:
            self._engine.dead(self.outlet)
            self._engine.leave(self, "error")
        else:
            self.outlet.head(len(body), body if how is Break.GARBAGE else body[: len(body) // 2])
            self._break(how)

    def _close_stream(self) -> None:
        for data in self.answer.closing:
            if not self._send(data):
                return
        self.outlet.finish()
        self._engine.leave(self, self.answer.finish)


async def _wait(waits: Awaitable[None]) -> None:
    """Wait for a slow client; that it left is told elsewhere."""
    with contextlib.suppress(OSError):  # the connection's close callback ends the run
        await waits


class Engine:
    """Runs answers, as many at a time as the settings allow."""

    def __init__(
        self, settings: Settings, figures: Figures, *, wheel: TimerWheel, dead: Callable[[Outlet], None]
    ) -> None:
        """`dead` answers with the error of an engine that is gone."""
        self.settings = settings
        self.figures = figures
        self.wheel = wheel
        self.dead = dead
        self.prefixes = PrefixCache(settings.prefix_cache)
        self._waiting: deque[Run] = deque()
        self._running: set[Run] = set()
        self._held: list[Run] = []  # those that are due while the engine stands still
        self.is_frozen = False
        self._emptied: asyncio.Event | None = None  # set while somebody waits for the last run to end

    def submit(self, run: Run) -> bool:
        """Take a run, or return False because too many wait."""
        run.taken = now = self.wheel.time()
        figures = self.figures
        if figures.running < self.settings.max_num_seqs:
            figures.running += 1
            self._running.add(run)
            run.state = "running"
            figures.queued.observe(0.0)
            if run.open():
                run.start(now)
            return True
        limit = self.settings.max_num_queued_reqs
        if limit is not None and len(self._waiting) >= limit:
            figures.rejected += 1
            return False
        run.state = "waiting"
        self._waiting.append(run)
        figures.waiting += 1
        run.open()
        return True

    def freeze(self, is_frozen: bool) -> None:
        """Stand still, or go on: from then on, as an engine does whose step took that long."""
        self.is_frozen = is_frozen
        if not is_frozen:
            held, self._held = self._held, []
            for run in held:
                run.go_on()

    def holds(self, run: Run) -> bool:
        """Return whether the engine stands still, and keep the run until it goes on."""
        if self.is_frozen:
            self._held.append(run)
        return self.is_frozen

    def count_steps(self) -> None:
        """Bring the count of steps up to date. Steps are not counted one by one: that would cost as much as a token."""
        now = self.wheel.time()
        for run in self._running:
            run.count_steps(now)

    def leave(self, run: Run, finish: str) -> None:
        """End a run, why ever (a finish_reason, "abort", or "error"); more than once is harmless."""
        state, run.state = run.state, "over"
        figures = self.figures
        if state == "waiting":
            self._waiting.remove(run)
            figures.waiting -= 1
        elif run in self._running:
            self._running.discard(run)
            figures.running -= 1
            run.count_steps(self.wheel.time())
            if finish not in ("abort", "error"):
                self._count(run)
            if self._waiting:
                self._admit()
            elif self._emptied is not None and not self._running:
                self._emptied.set()

    def _admit(self) -> None:
        now = self.wheel.time()
        while self._waiting and self.figures.running < self.settings.max_num_seqs:
            run = self._waiting.popleft()
            self.figures.waiting -= 1
            self.figures.running += 1
            self._running.add(run)
            self.figures.queued.observe(now - run.taken)
            run.start(now)

    def _count(self, run: Run) -> None:
        """Count a whole answer; what its pace was is known from the settings."""
        figures, answer, settings = self.figures, run.answer, self.settings
        figures.served += 1
        counters = figures.counters
        counters["prompt_tokens"] += answer.prompt_tokens
        counters["prefix_cache_queries"] += answer.prompt_tokens
        counters["prefix_cache_hits"] += run.cached
        counters["prompt_tokens_cached"] += run.cached
        counters["generation_tokens"] += answer.completion_tokens
        figures.finished["stop" if answer.finish == "tool_calls" else answer.finish] += 1
        figures.prompts.observe(answer.prompt_tokens)
        figures.generations.observe(answer.completion_tokens)
        figures.first_token.observe(run.first)
        figures.between.observe(settings.itl, max(0, answer.moments - 1))
        figures.whole.observe(self.wheel.time() - run.taken)

    async def drain(self, seconds: float) -> None:
        """Let what runs and waits go on for some time, then end the rest short."""
        if seconds > 0 and (self._running or self._waiting):
            self._emptied = asyncio.Event()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._emptied.wait(), seconds)
        for run in [*self._waiting, *self._running]:
            if run.state != "over":
                run.stop_short()
