"""What an observation or an answer makes of a backend: where its health, its breaker and its hold-down meet.

A backend that comes back, from being down or from an open breaker, starts slowly; one that comes up for the first time
does not. One that keeps going down is held down, but never where no other one could do its work.
"""

from router.backends.backend import Backend, Change, ChangeKind
from router.backends.breaker import BreakerEvent, BreakerState
from router.backends.catalogue import Catalogue
from router.backends.health import HealthState, Seen


def is_held(backend: Backend, catalogue: Catalogue, *, now: float) -> bool:
    """Return whether a backend stays down although its probes pass: it flaps, and others can do without it."""
    return backend.hold.until > now and catalogue.others_work(backend, now)


def observe(backend: Backend, seen: Seen, catalogue: Catalogue, *, now: float, cause: str) -> Change | None:
    """Take in what was seen of a backend; return the change of its health."""
    health = backend.health
    before = health.state
    changed = health.observe(seen, held=seen is Seen.PASSED and is_held(backend, catalogue, now=now))
    if health.state is HealthState.DOWN and (changed or _tells_why(backend, seen)):
        backend.down_by = cause
    if not changed:
        return None
    if before is HealthState.DOWN:
        backend.breaker.hasten(now)
        backend.failing = 0
        backend.hold.rose(now)
        if backend.been_up:
            backend.start_slowly(now)
    elif before is HealthState.UP:
        backend.hold.fell(now, longest=health.rules.max_down_for)
    backend.been_up = backend.been_up or health.state is HealthState.UP
    return Change(backend.spec.name, ChangeKind.HEALTH, before.value, health.state.value, cause)


def _tells_why(backend: Backend, seen: Seen) -> bool:
    """Return whether `seen` shows anew why a backend is down: it may be absent, then load, then fail a completion.

    A probe that fails while its engine stands still shows no more than that.
    """
    return seen in (Seen.REFUSED, Seen.HUNG) or (seen is Seen.FAILED and not backend.health.is_hung)


def record(
    backend: Backend, event: BreakerEvent, catalogue: Catalogue, *, now: float, jitter: float, cause: str
) -> Change | None:
    """Take in what an answer says of a backend; return the change of its breaker. `jitter` is in [0, 1)."""
    breaker = backend.breaker
    if event is BreakerEvent.SUCCESS:
        backend.failing = 0
    elif event is BreakerEvent.FAILURE or event is BreakerEvent.LIMIT:
        backend.failing += 1
    before = breaker.state
    if not breaker.record(event, now=now, jitter=jitter, may_open=lambda: catalogue.others_work(backend, now)):
        return None
    if breaker.state is BreakerState.OPEN:
        backend.open_by = cause
    if breaker.state is BreakerState.CLOSED:
        backend.start_slowly(now)
    return Change(backend.spec.name, ChangeKind.BREAKER, before.value, breaker.state.value, cause)
