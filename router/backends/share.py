"""A backend's share: which part of its weight counts at the moment.

    slow start      10 % when it has come back, 100 % after `slow_start` seconds, in a straight line between
    failing         a half for each failure in a row, until it succeeds: who fails at once must not attract requests
    busy            a half while its probes are late but its streams go on
    after a rest    a half for a while after it was full

Shares are relative: where all backends of a pool have a small one, they share as if it were a whole one.
"""

STRIDE = 2**40  # between two turns of a whole weight of 1: the rounding error of a share is below 1e-10

RAMP_FLOOR = 0.1  # share with which a slow start begins
RAMP_STEP = 1.0  # seconds from one step of a slow start to the next; less where it is short
RAMP_STEPS = 10  # a slow start has so many steps, at least
BUSY_SHARE = 0.5
AFTER_FULL = 5.0  # seconds after its rest, for which a backend that was full has ...
AFTER_FULL_SHARE = 0.5
MAX_HALVINGS = 4
LEAST_SHARE = 0.5**MAX_HALVINGS  # of all rules together, so that a backend is heard of again soon


def ramp(elapsed: float, slow_start: float) -> float:
    """Return the share of a backend that came back `elapsed` seconds ago; 1.0 when it has started."""
    if elapsed >= slow_start:
        return 1.0
    return RAMP_FLOOR + (1.0 - RAMP_FLOOR) * max(0.0, elapsed) / slow_start


def ramp_step(slow_start: float) -> float:
    """Return the seconds from one step of a slow start to the next."""
    return min(RAMP_STEP, slow_start / RAMP_STEPS)


def share(ramped: float, *, failures: int, is_busy: bool, was_full: bool) -> float:
    """Return the share of a backend, LEAST_SHARE to 1.0. `ramped`: of its slow start; `failures`: in a row."""
    whole = ramped * 0.5 ** min(failures, MAX_HALVINGS)
    if is_busy:
        whole *= BUSY_SHARE
    if was_full:
        whole *= AFTER_FULL_SHARE
    return max(whole, LEAST_SHARE)


def stride(weight: int, of: float) -> int:
    """Return the distance between two turns of a backend that has the share `of` its weight."""
    return STRIDE // weight if of == 1.0 else int(STRIDE / (weight * of))
