"""Hooks for schemathesis: what it sends should often be what a backend takes, else only refusals are looked at."""

from typing import Any

import schemathesis

MODEL = "simulated-model"
DEADLINE = "X-Request-Timeout"
PATIENCE = 60.0  # seconds


@schemathesis.hook
def before_call(context: schemathesis.HookContext, case: Any, kwargs: dict[str, Any]) -> None:
    """Name the model that is served wherever one is named, and give time: a deadline that has passed is a 504."""
    if isinstance(case.body, dict) and isinstance(case.body.get("model"), str):
        case.body["model"] = MODEL
    asked = case.headers.get(DEADLINE) if case.headers else None
    if asked is not None and is_short(asked):
        case.headers[DEADLINE] = str(PATIENCE)


def is_short(asked: Any) -> bool:
    """Return whether a deadline is one, and a short one."""
    try:
        return 0 < float(asked) < PATIENCE
    except (TypeError, ValueError):
        return False
