"""The scene of most figures: three backends and a front, streams through it, a flow of new requests, and the harm."""

import asyncio
import contextlib
import itertools
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.processes import free_ports
from tests.chaos.figures.client import (
    Answer,
    Asking,
    Ending,
    Flow,
    Stream,
    ask,
    expected,
    judge,
    percentile,
    request_of,
)
from tests.chaos.figures.fronts import ONE_TOKEN, Front, Running
from tests.chaos.figures.rows import Numbers
from tests.chaos.figures.servers import Backend, running

TTFT, ITL = 0.1, 0.025  # seconds: of a request's first token, and between two of them


@dataclass(frozen=True, slots=True)
class Size:
    """How much is done; `quick` is about a tenth."""

    quick: bool
    streams: int = 200
    tokens: int = 160  # 4 s
    rate: float = 220.0  # new requests a second

    @classmethod
    def of(cls, *, quick: bool) -> "Size":
        """Return the full size or the quick one."""
        return cls(True, streams=30, tokens=80, rate=50.0) if quick else cls(False)


@dataclass(frozen=True, slots=True)
class Scene:
    """What a figure has to work with. The folder and all processes are gone after it."""

    front: Running
    backends: tuple[Backend, ...]
    streams: Sequence[Stream]


@contextlib.asynccontextmanager
async def scene(
    front: Front, *, size: Size, flags: dict[str, object] | None = None, count: int = 3
) -> AsyncIterator[Scene]:
    """Run backends and a front. `flags`: of the simulated servers, beside pace and room."""
    with tempfile.TemporaryDirectory(prefix="figures-") as folder:
        work = Path(folder)
        work.chmod(0o755)  # nginx gives up its rights, and must reach its folders
        pace = {"ttft": TTFT, "itl": ITL, "tokens": 4096, "max-num-seqs": 4096, **(flags or {})}
        ports = free_ports(count + 1)
        backends = tuple(
            Backend(f"backend{number}", pace, port=port, work=work) for number, port in enumerate(ports[:count])
        )
        oracle = Backend("oracle", {"tokens": 4096}, port=ports[-1], work=work)
        before = Running(front, ports[:count], work=work)
        with running(*backends, oracle):
            streams = await expected(oracle.port, size.streams, tokens=size.tokens)
            oracle.end()
            try:
                await asyncio.to_thread(before.start)
                yield Scene(before, backends, streams)
            except Exception as error:
                error.add_note(f"{front.name} said: {before.server.said()}")
                raise
            finally:
                before.end()


@dataclass(frozen=True, slots=True)
class Seen:
    """What the clients of one run saw. Times are those of time.monotonic()."""

    harmed_at: float
    answers: Sequence[Answer]  # of the streams
    endings: Sequence[Ending]
    flow: Flow

    def numbers(self) -> Numbers:
        """Return what there is to tell of it."""
        told = [
            (answer.last_at - self.harmed_at) * 1e3
            for answer, ending in zip(self.answers, self.endings, strict=True)
            if ending is Ending.TOLD and answer.last_at is not None
        ]
        count = self.endings.count
        waits = [answer.seconds for answer in self.flow.answers if answer.asked_at > self.harmed_at - TTFT]
        return {
            "requests": len(self.flow.answers),
            "failed": self.flow.failed,
            "streams": len(self.endings),
            "whole": count(Ending.WHOLE),
            "wrong": count(Ending.WRONG),
            "silent": count(Ending.SILENT),
            "told": len(told),
            "refused": count(Ending.REFUSED),
            "open": count(Ending.OPEN),
            "told p50 ms": percentile(told, 50),
            "told max ms": max(told, default=None),
            "new p99 s": percentile(waits, 99),
        }


async def under_load(
    scene: Scene,
    harm: Callable[[], Awaitable[None]],
    *,
    size: Size,
    after: float,
    within: float,
    port: int | None = None,
) -> Seen:
    """Start the streams and the flow, do harm once all streams have begun and `after` seconds, wait for all ends.

    `within`: seconds after the harm at which what is still open counts as open. `port`: where the clients go, if not
    to the front itself.
    """
    port = port or scene.front.port
    flow = Flow(port, request_of(port, ONE_TOKEN), size.rate)
    flowing = asyncio.create_task(flow.run(after + size.tokens * ITL + 2))
    asked = [await ask(port, request_of(port, stream.body), timed=True) for stream in scene.streams]
    await asyncio.wait([each.begun for each in asked], timeout=10)
    await asyncio.sleep(after)
    harmed_at = time.monotonic()
    await harm()
    await asyncio.wait([each.ended for each in asked], timeout=within)
    await asyncio.wait([flowing], timeout=max(1.0, within - (time.monotonic() - harmed_at)))
    endings = judged(asked, scene.streams)
    await _close(asked, flow, flowing)
    return Seen(harmed_at, [each.answer for each in asked], endings, flow)


def judged(asked: Sequence[Asking], streams: Sequence[Stream]) -> list[Ending]:
    """Return how each stream came out."""
    return [judge(each.answer, stream) for each, stream in zip(asked, streams, strict=True)]


async def _close(asked: Sequence[Asking], flow: Flow, flowing: "asyncio.Task[None]") -> None:
    for each in asked:
        each.leave()
    flowing.cancel()
    await asyncio.gather(flowing, return_exceptions=True)


def largest_gap(answer: Answer, since: float) -> float:
    """Return the seconds of the longest time without an event after a moment; to the end of the answer."""
    moments = [since, *(moment for moment in answer.moments if moment > since)]
    return max((late - early for early, late in itertools.pairwise(moments)), default=0.0)
