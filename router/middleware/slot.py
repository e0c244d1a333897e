"""One middleware at its place: every call of a hook goes through here, and none can do harm.

What a hook raises, whatever it is, ends here: counted, and told in the log once in a while. Its text is not told: it
may hold what a client has said. A hook that takes long holds everybody up, so that is told too.
"""

import logging
import os
import time
import traceback
from collections import defaultdict
from collections.abc import Callable
from functools import partial

from router.errors import StatusError
from router.middleware.fitness import writable
from router.middleware.interface import HOOKS, Middleware, Refusal

SLOW = 0.05  # seconds for one call of a hook; meanwhile nobody else is served
QUIET = 60.0  # seconds between two lines of the log about one hook
FRAMES = 3  # of a traceback that are told

log = logging.getLogger("router.middleware")


class Counts:
    """What has become of the calls of middlewares of one name, over reloads; by hook."""

    def __init__(self) -> None:
        """Nothing yet."""
        self.calls: defaultdict[str, int] = defaultdict(int)
        self.errors: defaultdict[str, int] = defaultdict(int)
        self.slow: defaultdict[str, int] = defaultdict(int)
        self.dropped = 0  # records that were never written


class Slot:
    """Calls the hooks of one middleware."""

    def __init__(
        self, name: str, middleware: object, counts: Counts, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        """`middleware`: has some of HOOKS, as methods. `name`: in metrics and log. `clock`: monotonic seconds."""
        self.name = name
        self.counts = counts
        self._middleware = middleware
        self._clock = clock
        self._hooks = {hook: getattr(middleware, hook) for hook in HOOKS if has_hook(type(middleware), hook)}
        self._told: dict[str, tuple[float, int]] = {}  # by what and hook: when, and how often since
        self._open = 0  # exchanges that have begun with it
        self._is_retired = False
        self._is_closed = False

    def __repr__(self) -> str:
        """Show what it is doing."""
        return f"<Slot {self.name} open={self._open}{' retired' if self._is_retired else ''}>"

    def wants(self, hook: str) -> bool:
        """Return whether it has a hook."""
        return hook in self._hooks

    def enter(self) -> None:
        """An exchange begins with it."""
        self._open += 1

    def leave(self) -> None:
        """An exchange that has begun with it is over."""
        self._open -= 1
        self._close_when_free()

    def retire(self) -> None:
        """Let no further exchange begin with it; it is closed with the last one that has."""
        self._is_retired = True
        self._close_when_free()

    def close(self) -> None:
        """Close it, whoever still has it; once."""
        if self._is_closed:
            return
        self._is_closed = True
        close = getattr(self._middleware, "close", None)
        if callable(close):
            self._guarded("close", close)

    def _close_when_free(self) -> None:
        if self._is_retired and self._open <= 0:
            self.close()

    def call(self, hook: str, *given: object) -> object:
        """Call a hook; return what it does, None where there is none or it fails.

        Raises `StatusError` where `on_request` refuses the request.
        """
        method = self._hooks.get(hook)
        if method is None:
            return None
        self.counts.calls[hook] += 1
        return self._guarded(hook, method, *given)

    def _guarded(self, hook: str, method: Callable[..., object], *given: object) -> object:
        refused: StatusError | None = None
        result: object = None
        began = self._clock()
        try:
            result = method(*given)
        except BaseException as error:  # SystemExit and CancelledError too: they are not the process' or the client's
            refused = _refusal(error) if hook == "on_request" else None
            if refused is None:
                self._fail(hook, partial(_raised, error))
        took = self._clock() - began
        if took > SLOW:
            self.counts.slow[hook] += 1
            self._tell("slow", hook, lambda: f"took {took * 1000:.0f} ms, in which nobody was served")
        if refused is not None:
            raise refused
        return result

    def failed(self, hook: str, what: str) -> None:
        """Count a failure. `what`: completes "on_request of trace"; made of our own words and of names in code."""
        self._fail(hook, lambda: what)

    def _fail(self, hook: str, what: Callable[[], str]) -> None:
        self.counts.errors[hook] += 1
        self._tell("error", hook, what)

    def _tell(self, kind: str, hook: str, what: Callable[[], str]) -> None:
        now = self._clock()
        key = f"{kind} {hook}"
        last, unsaid = self._told.get(key, (-QUIET, 0))
        if now - last < QUIET:
            self._told[key] = (last, unsaid + 1)
            return
        self._told[key] = (now, 0)
        more = f" (and {unsaid} times more since the last such line)" if unsaid else ""
        log.warning("middleware %s: %s %s%s; requests go on without it", self.name, hook, what(), more)


def has_hook(kind: type, hook: str) -> bool:
    """Return whether a class has a hook of its own, not only the empty one of `Middleware`."""
    method = getattr(kind, hook, None)
    return callable(method) and method is not getattr(Middleware, hook)


def _refusal(error: BaseException) -> StatusError | None:
    """Return what a client is told of a refusal; None of anything else, and of one that was not made whole."""
    if not isinstance(error, Refusal):
        return None
    try:
        told = Refusal(error.message, status=error.status, code=error.code, param=error.param)
    except (AttributeError, ValueError):  # of a class that does not call our constructor
        return None
    kind = "invalid_request_error" if told.status < 500 else "server_error"
    param, code = (None if text is None else writable(text) for text in (told.param, told.code))
    return StatusError(writable(told.message), status=told.status, kind=kind, param=param, code=code)


def _raised(error: BaseException) -> str:
    """Return of what type an error is and where in the code it was raised, nearest frame first."""
    walked = traceback.walk_tb(error.__traceback__)
    frames = traceback.StackSummary.extract(walked, limit=-FRAMES, lookup_lines=False)  # without reading sources
    where = "".join(f" at {os.path.basename(each.filename)}:{each.lineno} in {each.name}" for each in frames[:0:-1])
    return f"raised {type(error).__name__}{where}"
