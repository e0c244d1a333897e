"""One real completion before a backend is up: what is asked, and when again after it failed.

vLLM can be healthy and yet fail every request, where a library that answers need is missing; and the first answer of a
server that has just started can take as long as its kernels take to compile. Neither shall meet a client.
"""

import json

FIRST_PAUSE = 1.0  # seconds after the first failure; doubled each further time
LONGEST_PAUSE = 60.0
MAX_DOUBLINGS = 16
PROMPT = "Hi"

# Statuses of a server that does not know such a request, or not for this model: another form may work.
ANOTHER_FORM = frozenset({400, 404, 405})
# ... and of one that cannot be asked by us at all, which shows as well that it answers: only clients have its keys.
NOT_FOR_US = frozenset({*ANOTHER_FORM, 401, 403})


def questions(model: str) -> list[tuple[str, bytes]]:
    """Return what to ask of a model, the next where the one before is answered ANOTHER_FORM: (path, body).

    Paths come below the API's prefix. The last one is for models that generate nothing.
    """
    chat = [{"role": "user", "content": PROMPT}]
    forms = {
        "/completions": {"model": model, "prompt": PROMPT, "max_tokens": 1},
        "/chat/completions": {"model": model, "messages": chat, "max_tokens": 1},
        "/embeddings": {"model": model, "input": PROMPT},
    }
    return [(path, json.dumps(fields).encode()) for path, fields in forms.items()]


class Pauses:
    """When a backend may be asked again; the pauses grow. Times are those of its caller's clock."""

    __slots__ = ("_fails", "_until")

    def __init__(self) -> None:
        """It may be asked at once."""
        self._fails = 0  # in a row
        self._until = 0.0

    def is_due(self, now: float) -> bool:
        """Return whether the pause is over."""
        return not self._fails or now >= self._until

    def failed(self, now: float) -> None:
        """Begin a pause, longer than the last."""
        self._until = now + min(LONGEST_PAUSE, FIRST_PAUSE * 2.0 ** min(self._fails, MAX_DOUBLINGS))
        self._fails += 1

    def passed(self) -> None:
        """Forget all failures."""
        self._fails = 0
