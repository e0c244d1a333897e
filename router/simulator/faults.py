"""What goes wrong on purpose: read from configuration and from the control endpoint, by one table of fields.

A `Faults` is a value: to change what goes wrong, put another one in its place. Faults of answers strike requests
that would generate something (chat, completions, embeddings ...); probes have their own (`health_*`), and the control
endpoint is never struck, but by `refuse`, which closes the listening socket for everybody.
"""

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


class Break(enum.Enum):
    """How an answer ends before its end."""

    CUT = "cut"  # the connection is closed without the last chunk
    RESET = "reset"  # the connection is reset
    ERROR = "error"  # one event with an error, then [DONE], as vLLM does when its engine dies
    STALL = "stall"  # nothing more comes, and the connection stays open
    GARBAGE = "garbage"  # bytes that are no chunk


class FaultError(ValueError):
    """A description of faults that cannot be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong. The default: nothing."""

    refuse: bool = False  # the listening socket is closed, and so are idle connections
    refuse_for: float | None = None  # seconds until it listens again; None: until told so
    status: int | None = None  # answered instead of an answer
    message: str | None = None  # of the error that goes with `status`; None: one that fits it
    retry_after: str | None = None  # the header that goes with `status`; None: no such header
    hang: bool = False  # the request is read and nothing is ever answered
    garbage: bool = False  # bytes that are not HTTP instead of an answer
    reset: bool = False  # the connection is reset instead of an answer
    close: bool = False  # the connection is closed instead of an answer
    break_as: Break | None = None  # how an answer ends before its end ...
    break_after: int = 1  # ... after so many events (0: the head only; a plain answer: after half its body)
    ttft: float = 0.0  # seconds more until the first token
    health_delay: float = 0.0  # seconds until /health answers
    health_status: int | None = None  # what /health answers
    health_hang: bool = False  # /health never answers
    freeze: bool = False  # the engine stands still: nothing is generated for anybody, while /health and /metrics go on
    count: int | None = None  # so many requests are struck, then all is well; None: all of them
    rate: float = 1.0  # the share of requests that is struck

    @property
    def strikes_answers(self) -> bool:
        """Whether any answer is struck."""
        return (
            self.hang
            or self.garbage
            or self.reset
            or self.close
            or self.status is not None
            or self.break_as is not None
            or self.ttft > 0
        )


def _check(value: Any, *kinds: type, name: str) -> Any:
    if isinstance(value, bool) and bool not in kinds:
        raise FaultError(f"{name}: a boolean is not possible here")
    if not isinstance(value, kinds):
        raise FaultError(f"{name}: {type(value).__name__} is not possible here")
    return value


_KINDS: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("refuse", "hang", "garbage", "reset", "close", "health_hang", "freeze"), (bool,)),
    **dict.fromkeys(("refuse_for", "ttft", "health_delay", "rate"), (int, float)),
    **dict.fromkeys(("status", "break_after", "health_status", "count"), (int,)),
    "message": (str,),
    "retry_after": (str, int, float),
    "break_as": (str,),
}
_STATUSES = range(400, 600)


def read_faults(described: Mapping[str, Any]) -> Faults:
    """Return what a JSON object describes; fields that it leaves out (or null) are as in `Faults()`.

    Raises FaultError for an unknown field, a wrong type or an impossible value.
    """
    known = {field.name for field in dataclasses.fields(Faults)}
    values: dict[str, Any] = {}
    for name, value in described.items():
        if name not in known:
            raise FaultError(f"{name}: no such fault; there are {', '.join(sorted(known))}")
        if value is not None:
            values[name] = _check(value, *_KINDS[name], name=name)
    if "retry_after" in values:
        values["retry_after"] = str(values["retry_after"])
        if any(not " " <= char <= "~" for char in values["retry_after"]):
            raise FaultError("retry_after: not a header's value")
    if "break_as" in values:
        try:
            values["break_as"] = Break(values["break_as"])
        except ValueError:
            raise FaultError(f"break_as: one of {', '.join(kind.value for kind in Break)}") from None
    for name in ("status", "health_status"):
        if name in values and values[name] not in _STATUSES:
            raise FaultError(f"{name}: a status from 400 to 599")
    for name in ("refuse_for", "ttft", "health_delay", "count", "break_after", "rate"):
        if values.get(name, 0) < 0:
            raise FaultError(f"{name}: not below 0")
    return Faults(**values)


def describe_faults(faults: Faults) -> dict[str, Any]:
    """Return the JSON object that `read_faults` reads back."""
    described = dataclasses.asdict(faults)
    described["break_as"] = faults.break_as.value if faults.break_as else None
    return described
