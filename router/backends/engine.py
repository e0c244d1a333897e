"""What a vLLM server tells of its engine, and whether that engine is at work, idle or hung.

`/health` of a server whose engine hangs still says 200: it looks at one flag. What shows a hang is a histogram that
counts the engine's iterations: with requests running it moves several times a second, with each piece of a long
prompt too. Where it stands still for long while requests run, and no byte came for us either, the engine is hung.

A page of figures has up to some hundred KB, of which a few lines matter: they are searched for, the rest is never
looked at. What is not there, or is no number, is not known.
"""

import enum
import math
from dataclasses import dataclass

MAX_ROWS = 1000  # of one figure: a row per engine and model; a page without end is not summed for ever

_RUNNING = b"vllm:num_requests_running"
_WAITING = b"vllm:num_requests_waiting"
_KV_USAGE = b"vllm:kv_cache_usage_perc"
_ITERATIONS = b"vllm:iteration_tokens_total_count"


@dataclass(frozen=True, slots=True)
class Figures:
    """What a server tells of its load, over all its engines; None: it does not tell."""

    running: int | None = None  # requests in the engines' batches
    waiting: int | None = None  # requests that wait for a place there
    kv_usage: float | None = None  # 0.0 to 1.0, of the fullest engine
    iterations: float | None = None  # steps of the engines since they started


NOTHING_KNOWN = Figures()


class Verdict(enum.Enum):
    """What a look at the figures says."""

    UNKNOWN = "unknown"  # the server does not tell
    MOVING = "moving"  # or idle
    STILL = "still"  # has requests and has not moved since the last look, but not for long enough
    HUNG = "hung"


def read_figures(page: bytes) -> Figures:
    """Return what a page in the text format of Prometheus tells; never raises."""
    running, waiting = _values(page, _RUNNING), _values(page, _WAITING)
    usage, iterations = _values(page, _KV_USAGE), _values(page, _ITERATIONS)
    return Figures(
        running=int(sum(running)) if running else None,
        waiting=int(sum(waiting)) if waiting else None,
        kv_usage=max(usage) if usage else None,
        iterations=sum(iterations) if iterations else None,
    )


class Engine:
    """Judges the figures of one backend, look after look. Times are those of its caller's clock."""

    __slots__ = ("_iterations", "_looks", "_still_since")

    def __init__(self) -> None:
        """Nothing was seen yet."""
        self._iterations = math.nan
        self._looks = 0  # at the same number of iterations, with requests running
        self._still_since = math.inf

    def observe(
        self,
        running: int | None,
        iterations: float | None,
        now: float,
        *,
        hung_after: float | None,
        progress: float = -math.inf,
    ) -> Verdict:
        """Return what a look at `now` says.

        `hung_after`: seconds of standing still, None for never; `progress`: when the last byte of an answer came.
        A number that fell moved too: the server is another one.
        """
        if running is None or iterations is None:
            self._looks = 0
            return Verdict.UNKNOWN
        moved = iterations != self._iterations or not self._looks or progress > self._still_since
        self._iterations = iterations
        if running <= 0:
            self._looks = 0
            return Verdict.MOVING
        if moved:
            self._looks, self._still_since = 1, now
            return Verdict.MOVING
        self._looks += 1
        is_hung = hung_after is not None and now - self._still_since >= hung_after
        return Verdict.HUNG if is_hung else Verdict.STILL


def _values(page: bytes, name: bytes) -> list[float]:
    """Return the values of the rows of one figure that are finite numbers."""
    values: list[float] = []
    at = 0 if page.startswith(name) else _next_row(page, name, 0)
    for _ in range(MAX_ROWS):
        if at < 0:
            break
        end = page.find(b"\n", at)
        rest = page[at + len(name) : end if end >= 0 else len(page)]
        if rest[:1] in (b"{", b" "):  # else it is another figure, of a longer name
            value = _number(rest.rpartition(b"}")[2])
            if value is not None:
                values.append(value)
        at = _next_row(page, name, at + len(name))
    return values


def _next_row(page: bytes, name: bytes, start: int) -> int:
    found = page.find(b"\n" + name, start)
    return found + 1 if found >= 0 else -1


def _number(text: bytes) -> float | None:
    words = text.split()
    try:
        value = float(words[0]) if words else math.nan
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None
