"""What the server tells of itself: its models and its load; and, beside vLLM's API, what it counted and received."""

import time
import zlib
from collections import deque
from dataclasses import dataclass
from typing import Any

import orjson

from router.simulator.metrics import Figures
from router.simulator.settings import Settings

KEPT_REQUESTS = 64  # the last ones, for tests to look at
KEPT_BODY = 64 * 1024  # bytes of each
_SHOWN_REQUESTS = 8  # over HTTP, unless more are asked for
_SHOWN_BODY = 4096


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came in."""

    method: str
    target: str  # path and query
    headers: tuple[tuple[bytes, bytes], ...]  # as they came, in order
    body: bytes  # its beginning, see KEPT_BODY

    def header(self, name: str) -> str | None:
        """Return the first value of a header, whatever the case of its name."""
        wanted = name.lower().encode("latin-1")
        return next((value.decode("latin-1") for key, value in self.headers if key.lower() == wanted), None)


def recent_requests() -> "deque[Seen]":
    """Return an empty list of what came in, which forgets what is older."""
    return deque(maxlen=KEPT_REQUESTS)


def models_body(settings: Settings, *, created: int) -> bytes:
    """Return the answer of /v1/models."""
    return orjson.dumps(
        {"object": "list", "data": [_model(settings, name, created=created) for name in settings.models]}
    )


def _model(settings: Settings, name: str, *, created: int) -> dict[str, Any]:
    permission = {
        "id": f"modelperm-{zlib.crc32(name.encode()):016x}",
        "object": "model_permission",
        "created": created,
        "allow_create_engine": False,
        "allow_sampling": True,
        "allow_logprobs": True,
        "allow_search_indices": False,
        "allow_view": True,
        "allow_fine_tuning": False,
        "organization": "*",
        "group": None,
        "is_blocking": False,
    }
    return {
        "id": name,
        "object": "model",
        "created": created,
        "owned_by": "vllm",
        "root": f"simulated/{settings.model}",
        "parent": None,
        "max_model_len": settings.max_model_len,
        "permission": [permission],
    }


def load_body(figures: Figures) -> bytes:
    """Return the answer of /load."""
    return orjson.dumps({"server_load": figures.running + figures.waiting})


def stats_body(figures: Figures, requests: "deque[Seen]", *, started: float, shown: str | None) -> bytes:
    """Return the answer of /simulator/stats; `shown`: how many of the last requests, as the query says it."""
    count = int(shown) if shown is not None and shown.isdigit() else _SHOWN_REQUESTS
    last = list(requests)[-count:] if count else []
    return orjson.dumps(
        {
            "served": figures.served,
            "aborted": figures.aborted,
            "refused": figures.refused,
            "rejected": figures.rejected,
            "struck": figures.struck,
            "running": figures.running,
            "waiting": figures.waiting,
            "in_flight": figures.running + figures.waiting,
            "uptime": round(time.time() - started, 3),
            "requests": [_shown(seen) for seen in last],
        }
    )


def _shown(seen: Seen) -> dict[str, Any]:
    return {
        "method": seen.method,
        "target": seen.target,
        "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in seen.headers],
        "body": seen.body[:_SHOWN_BODY].decode("utf-8", "replace"),
    }
