"""Middlewares for tests, loaded by import path as users' own are: tests.middleware.samples:Recorder."""

import asyncio
import time
from dataclasses import replace
from typing import Any

from router.middleware import Call, Ending, Failure, Head, Middleware, Refusal, Request

RAISED: dict[str, type[BaseException]] = {
    "ValueError": ValueError,
    "SystemExit": SystemExit,
    "KeyboardInterrupt": KeyboardInterrupt,
    "CancelledError": asyncio.CancelledError,
    "GeneratorExit": GeneratorExit,
    "MemoryError": MemoryError,
    "StopIteration": StopIteration,
    "RecursionError": RecursionError,
}


class Recorder(Middleware):
    """Keeps all that it is shown, in order."""

    def __init__(self) -> None:
        self.seen: list[tuple[str, Any]] = []
        self.sessions: list[tuple[str, str | None]] = []  # by hook
        self.closed = 0

    def on_request(self, call: Call, request: Request) -> None:
        self.seen.append(("on_request", request))
        self.sessions.append(("on_request", call.session))
        call.state["mine"] = len(self.seen)

    def on_response(self, call: Call, head: Head) -> None:
        assert "mine" in call.state
        self.seen.append(("on_response", head))
        self.sessions.append(("on_response", call.session))

    def on_event(self, call: Call, data: bytes) -> None:
        self.seen.append(("on_event", data))

    def on_error(self, call: Call, failure: Failure) -> None:
        self.seen.append(("on_error", failure))

    def on_end(self, call: Call, ending: Ending) -> None:
        self.seen.append(("on_end", (ending, call.model, call.is_stream)))
        self.sessions.append(("on_end", call.session))

    def close(self) -> None:
        self.closed += 1

    def of(self, hook: str) -> list[Any]:
        """Return what one hook was shown."""
        return [given for each, given in self.seen if each == hook]


class Raising(Middleware):
    """Raises in every hook, with a text that no log may tell."""

    def __init__(self, what: str = "ValueError") -> None:
        self.error = RAISED[what]
        self.calls = 0

    def _raise(self) -> None:
        self.calls += 1
        if self.error is RecursionError:
            return self._raise()
        raise self.error("canary-of-the-text")

    def on_request(self, call: Call, request: Request) -> Request | None:
        return self._raise()

    def on_response(self, call: Call, head: Head) -> None:
        self._raise()

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        return self._raise()

    def on_error(self, call: Call, failure: Failure) -> None:
        self._raise()

    def on_end(self, call: Call, ending: Ending) -> None:
        self._raise()

    def close(self) -> None:
        self._raise()


class Garbage(Middleware):
    """Returns what is of no use from every hook."""

    def __init__(self, given: object = 7) -> None:
        self.given = given

    def on_request(self, call: Call, request: Request) -> Any:
        return self.given

    on_response = on_event = on_error = on_end = on_request  # type: ignore[assignment]


class Hiding(Middleware):
    """Leaves out all that goes out, errors and ends too, if it could."""

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        return b""


class Slow(Middleware):
    """Holds everybody up."""

    def __init__(self, seconds: float = 0.06) -> None:
        self.seconds = seconds

    def on_response(self, call: Call, head: Head) -> None:
        time.sleep(self.seconds)


class Changing(Middleware):
    """Marks what passes, so that the order shows; refuses what asks for it."""

    def __init__(self, mark: str) -> None:
        self.mark = mark.encode()

    def on_request(self, call: Call, request: Request) -> Request | None:
        if b"refuse me" in request.body:
            raise Refusal("No.", status=422, code="no", param="messages")
        body = request.body.replace(b"Say hello", b"Say hello" + self.mark)
        return replace(request, body=body, headers=(*request.headers, ("X-Mark", self.mark.decode())))

    def on_event(self, call: Call, data: bytes) -> bytes | None:
        return data.replace(b'"content":"', b'"content":"' + self.mark)


class Knowing(Middleware):
    """Knows whose a request is, whatever key it came with."""

    def on_request(self, call: Call, request: Request) -> Request:
        headers = [each for each in request.headers if each[0] != "Authorization"]
        return replace(request, headers=(*headers, ("X-Api-Key", "the owner")))


class Strict(Middleware):
    """Has options of every kind, and keeps what it gets."""

    def __init__(
        self,
        word: str,
        count: int = 3,
        share: float = 0.5,
        flag: bool = False,
        names: list[str] | None = None,
        api_key: str = "",
    ) -> None:
        self.given = (word, count, share, flag, names, api_key)
        if word == "bad":
            raise ValueError(f"no such word; the key is {api_key}")

    def on_end(self, call: Call, ending: Ending) -> None:
        """Nothing."""


class Hookless:
    """No middleware."""


class Waiting(Middleware):
    """A hook that waits."""

    async def on_request(self, call: Call, request: Request) -> None:  # type: ignore[override]
        """Nothing."""


class Sloppy(Middleware):
    """Takes whatever comes."""

    def __init__(self, **options: str) -> None:
        self.options = options

    def on_end(self, call: Call, ending: Ending) -> None:
        """Nothing."""


class Odd(Middleware):
    """An option that no text can give."""

    def __init__(self, when: dict[str, int]) -> None:
        self.when = when

    def on_end(self, call: Call, ending: Ending) -> None:
        """Nothing."""
