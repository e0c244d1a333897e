"""How vLLM says no: the shapes and texts of its error answers, as recorded from vLLM 0.32.

Three shapes exist: vLLM's own object, FastAPI's `{"detail": ...}` and the bare string of a wrong key.
"""

from typing import Any

import orjson

_CLASSES = {
    400: "BadRequestError",
    404: "NotFoundError",
    429: "Too Many Requests",
    500: "InternalServerError",
    502: "Bad Gateway",
    503: "Service Unavailable",
    504: "Gateway Timeout",
}
BUSY = "The engine is currently busy and cannot accept new requests. Please try again later or on a different instance."
DEAD = "EngineCore encountered an issue. See stack trace (above) for the root cause."


class Refusal(Exception):
    """An answer that is an error: `status` and the body's bytes."""

    def __init__(self, status: int, body: bytes) -> None:
        super().__init__(f"{status} {body!r}")
        self.status = status
        self.body = body


def error_body(status: int, message: str, *, kind: str | None = None, param: str | None = None) -> dict[str, Any]:
    """Return vLLM's error object."""
    kind = kind or _CLASSES.get(status, "InternalServerError")
    return {"error": {"message": message, "type": kind, "param": param, "code": status}}


def refusal(status: int, message: str, *, kind: str | None = None, param: str | None = None) -> Refusal:
    """Return an error in vLLM's own shape."""
    return Refusal(status, orjson.dumps(error_body(status, message, kind=kind, param=param)))


def bad(message: str, *, param: str | None = None) -> Refusal:
    """Return a 400 that the server's own checks give."""
    return refusal(400, message, param=param)


def bad_value(message: str, *, param: str, value: Any = None) -> Refusal:
    """Return a 400 about one parameter, named at the end of the text (with its value, where there is one)."""
    named = f"parameter={param}" if value is None else f"parameter={param}, value={value}"
    return bad(f"{message} ({named})", param=param)


def invalid(kind: str, loc: str, message: str, *, given: str, context: str | None = None) -> Refusal:
    """Return a 400 that validation of the body gives (one fault, in pydantic's words)."""
    fault = f"{{'type': '{kind}', 'loc': '{loc}', 'msg': {message!r}, 'input': '{given}'"
    fault += f", 'ctx': {context}}}" if context else "}"
    return refusal(400, f"1 validation error:\n  {fault}", kind="Bad Request", param=loc)


def missing(name: str, body: dict[str, Any]) -> Refusal:
    """Return the 400 of a field that is not there."""
    return invalid("missing", f"body.{name}", "Field required", given=f"<dict of {len(body)} items>")


def unknown_model(model: str, models: tuple[str, ...]) -> Refusal:
    """Return the 404 of a model that is not served."""
    aliases = ", ".join(models)
    return refusal(404, f"The model `{model}` does not exist. Valid aliases: {aliases}.", param="model")


def detail(status: int, text: str) -> Refusal:
    """Return an error in FastAPI's shape."""
    return Refusal(status, orjson.dumps({"detail": text}))


UNAUTHORIZED = Refusal(401, b'{"error":"Unauthorized"}')
NOT_FOUND = detail(404, "Not Found")
NOT_ALLOWED = detail(405, "Method Not Allowed")


def anthropic(error: Refusal) -> Refusal:
    """Return the same error as Anthropic's API words it."""
    told = orjson.loads(error.body)
    inner = told.get("error")
    if not isinstance(inner, dict):
        return error
    body = {"type": "error", "error": {"type": inner["type"], "message": inner["message"]}}
    return Refusal(error.status, orjson.dumps(body))
