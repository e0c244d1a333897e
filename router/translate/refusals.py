"""What a backend says when it refuses or fails, whatever the form -> OpenAI's error object, and our status for it.

The table is `_BY_STATUS`; a 400 is told apart further by its text. vLLM before 0.10.1 sends a flat object, newer ones
`{"error": {...}}` with a number as `code`, its key check a bare text, FastAPI `{"detail": ...}`, proxies HTML. The
backend's own words are kept, up to a bound.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Any

import orjson

from router.errors import error_object

MAX_MESSAGE = 2000  # characters; vLLM 0.12 repeats the whole input in what pydantic says of it
MAX_BODY = 4 * 1024 * 1024  # bytes of an error that are looked at, for the same reason
INVALID, SERVER = "invalid_request_error", "server_error"


@dataclass(frozen=True, slots=True)
class Told:
    """What a client is told."""

    status: int
    kind: str  # the field `type`
    code: str | None
    param: str | None
    message: str


@dataclass(frozen=True, slots=True)
class _Said:
    """What the backend said, whatever the form."""

    message: str
    kind: str = ""
    code: str | None = None
    param: str | None = None


# Status of the backend -> ours, `type`, `code`. Others: see `_told`.
_BY_STATUS: dict[int, tuple[int, str, str | None]] = {
    400: (400, INVALID, None),
    401: (401, INVALID, "invalid_api_key"),
    403: (403, INVALID, None),
    404: (404, INVALID, None),
    405: (405, INVALID, None),
    408: (504, SERVER, "timeout"),
    413: (413, INVALID, None),
    422: (422, INVALID, None),
    429: (429, "rate_limit_error", "rate_limit_exceeded"),
    500: (500, SERVER, None),
    501: (501, INVALID, "unsupported"),
    502: (502, SERVER, "upstream_unavailable"),
    503: (503, SERVER, "overloaded"),
    504: (504, SERVER, "timeout"),
}

_TOO_LONG = re.compile(r"maximum context length|longer than the maximum model length", re.IGNORECASE)
# The limit that was asked for and the model's length: "max_tokens=5000 cannot be greater than max_model_len=1024",
# "'max_tokens' or 'max_completion_tokens' is too large: 5000. This model's maximum context length is 1024 tokens".
_LIMIT_TOO_LARGE = re.compile(
    r"max_(?:completion_)?tokens'?(?: is too large: |=)(?P<asked>\d{1,18})"
    r"(?: cannot be greater than \w{1,40}=|\. This model's maximum context length is )(?P<length>\d{1,18})"
)
_ABOUT_TOOLS = re.compile(r"Invalid tool schema|Function name was")
# mistral_common and chat templates on the order of messages, their roles, their calls and their ids.
_ABOUT_MESSAGES = re.compile(
    r"Unexpected role|Expected last role|Unknown message role|Unexpected tool call id|Duplicate tool call id"
    r"|Tool call (?:id was|IDs should)|Not the same number of function calls|[Aa]ssistant message|roles must alternate"
    r"|Only user, (?:system, )?assistant and tool roles|content chunk types|is not a multimodal model"
    r"|think tokens are not available|Think not implemented|add_generation_prompt|continue_final_message"
    r"|tool_call_id|Conversation must"
)
_NO_MODEL = re.compile(r"model .{1,500} does not exist", re.DOTALL)
_TITLE = re.compile(r"<title>([^<]{1,200})</title>", re.IGNORECASE)


def told(status: int, body: bytes, *, we_hold_key: bool) -> Told:
    """Return what a client is told of a backend's answer with `status` (400 or more) and `body`, in any form.

    `we_hold_key`: the router presents a key of its own to the backend, so a client can do nothing about a 401.
    """
    return _told(status, _said(body[:MAX_BODY], status), we_hold_key=we_hold_key)


def told_of_event(payload: object) -> Told:
    """Return what a client is told of an error inside of a stream (S18); its status stands in `code`, or it is 500."""
    status = _status_in(payload)
    return _told(status, _said_in(payload, status), we_hold_key=True)


def envelope(told: Told) -> dict[str, dict[str, str | None]]:
    """Return OpenAI's error object."""
    return error_object(told.message, told.kind, param=told.param, code=told.code)


def _told(status: int, said: _Said, *, we_hold_key: bool) -> Told:
    if status == 401 and we_hold_key:
        return Told(502, SERVER, "upstream_auth", None, "The backend refused the router's own key.")
    if status in _BY_STATUS:
        ours, kind, code = _BY_STATUS[status]
    elif 400 <= status <= 599:
        ours, kind, code = status, INVALID if status < 500 else SERVER, None
    else:
        ours, kind, code = 502, SERVER, "upstream_unavailable"  # no error at all, where one was to be expected
    general = Told(ours, kind, said.code or code, None, _bounded(said.message) or _phrase(status))
    if status == 400:
        return _told_of_400(general, said)
    if status == 404 and (said.kind == "NotFoundError" or _NO_MODEL.search(general.message)):
        return replace(general, code="model_not_found", param="model")
    return replace(general, param=said.param) if status in (422, 404) else general


def _told_of_400(general: Told, said: _Said) -> Told:
    """Return a 400 with its `param`, and with the one code that agents act on: they compact the conversation."""
    message = general.message
    limit = _LIMIT_TOO_LARGE.search(message)
    if limit and int(limit["asked"]) >= int(limit["length"]):
        return replace(general, param="max_tokens")  # no shorter conversation would help
    if _TOO_LONG.search(message):
        return replace(general, code="context_length_exceeded", param="messages")
    if said.param is not None:
        return replace(general, param=said.param)
    if _ABOUT_TOOLS.search(message):
        return replace(general, param="tools")
    return replace(general, param="messages") if _ABOUT_MESSAGES.search(message) else general


def _said(body: bytes, status: int) -> _Said:
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return _Said(_plain(body.decode("utf-8", "replace"), status))
    return _said_in(payload, status)


def _said_in(payload: object, status: int) -> _Said:
    """Return what stands in JSON of any form."""
    if isinstance(payload, str):
        return _Said(_plain(payload, status))
    if not isinstance(payload, dict):
        return _Said("")
    error = payload.get("error")
    if isinstance(error, str):
        return _Said(error)
    fields = error if isinstance(error, dict) else payload
    message = fields.get("message", fields.get("detail"))
    code, kind, param = fields.get("code"), fields.get("type"), fields.get("param")
    if isinstance(message, list):
        found = list(_pydantic(message))
        return _Said("\n".join(text for _, text in found), param=found[0][0] if found else None)
    return _Said(
        message if isinstance(message, str) else "",
        kind=kind if isinstance(kind, str) else "",
        code=code if isinstance(code, str) and not code.isdigit() and len(code) <= 64 else None,
        param=_path(param) if isinstance(param, str) else None,
    )


def _pydantic(errors: list[Any]) -> Iterator[tuple[str | None, str]]:
    """Yield path and text of each of pydantic's errors, as FastAPI lists them; a few say enough."""
    for error in errors[:20]:
        if isinstance(error, dict) and isinstance(error.get("msg"), str):
            location = error.get("loc")
            words = [str(word) for word in location[:20] if word is not None] if isinstance(location, list) else None
            path = None if words is None else _path(".".join(words))
            yield path, f"{path}: {error['msg']}" if path else error["msg"]


def _path(param: str) -> str | None:
    """Return a parameter's path as the client would write it: FastAPI puts "body." in front."""
    path = param.removeprefix("body.")[:200]
    return path if path and path != "body" else None


def _status_in(payload: object) -> int:
    fields = payload.get("error", payload) if isinstance(payload, dict) else None
    code = fields.get("code") if isinstance(fields, dict) else None
    if isinstance(code, str) and code.isascii() and code.isdigit() and len(code) == 3:
        code = int(code)
    return code if type(code) is int and 400 <= code <= 599 else 500


def _plain(text: str, status: int) -> str:
    """Return what a text says that is no JSON; of a page only its title."""
    if text.lstrip().startswith("<"):
        title = _TITLE.search(text[:4096])
        return title[1].strip() if title else _phrase(status)
    return text


def _bounded(text: str) -> str:
    text = text.strip()
    return text if len(text) <= MAX_MESSAGE else text[: MAX_MESSAGE - 1] + "…"


def _phrase(status: int) -> str:
    """Return a sentence for a status of which nobody said any more."""
    try:
        return f"The backend answered {status} {HTTPStatus(status).phrase}."
    except ValueError:
        return f"The backend answered {status}."
