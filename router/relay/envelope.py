"""What routing must know of a request's body, read without parsing the rest of it.

The bytes are forwarded as they came unless a model has to be filled in, so what is checked is what is sent.
msgspec reads only the named fields and skips the others, but lets bad UTF-8 through in what it skips: that is
checked first. It gives up by itself (RecursionError) on nesting that no parser of a backend takes. Duplicate keys:
the last one wins, as in vLLM.
"""

import re
from dataclasses import dataclass
from email.message import Message
from typing import Any

import msgspec
import orjson

from router.errors import InvalidRequest

# Bounds on a multipart body: parts (as in Starlette, which vLLM stands on), bytes of a part's head, of a field that
# routing reads, of the boundary (RFC 2046 allows 70).
MAX_PARTS = 1000
MAX_PART_HEAD = 4096
MAX_FIELD = 1024
MAX_BOUNDARY = 200
ROUTING_FIELDS = frozenset({"model", "stream"})
TRUE_WORDS = frozenset({"true", "1", "on", "yes", "t", "y"})  # as pydantic reads a form's booleans


@dataclass(frozen=True, slots=True)
class Envelope:
    """The part of a request that routing needs."""

    model: str | None  # None where the client named none
    stream: bool


class _Peek(msgspec.Struct):
    model: Any = None
    stream: Any = None


_peek = msgspec.json.Decoder(_Peek).decode
NO_BODY = Envelope(model=None, stream=False)


def peek_json(body: bytes) -> Envelope:
    """Read the envelope of a JSON body. Raises `InvalidRequest` for what no backend could take."""
    if not body:
        raise InvalidRequest("The request has no body; a JSON object was expected.")
    if not body.isascii():
        try:
            body.decode()
        except UnicodeDecodeError as error:
            raise InvalidRequest(f"The body is not valid UTF-8 (byte {error.start}).") from None
    try:
        peek = _peek(body)
    except msgspec.DecodeError as error:
        raise InvalidRequest(_why(body, error)) from None
    except RecursionError:
        raise InvalidRequest("The JSON body is nested too deeply.") from None
    model, stream = peek.model, peek.stream
    if model is not None and not isinstance(model, str):
        raise InvalidRequest("'model' must be a string.", param="model")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidRequest("'stream' must be true or false.", param="stream")
    return Envelope(model=model or None, stream=bool(stream))


def _why(body: bytes, error: msgspec.DecodeError) -> str:
    first = body.lstrip()[:1]
    if isinstance(error, msgspec.ValidationError):
        return "The body must be a JSON object."
    if first and first not in b'{["-0123456789tfn':
        return "The body is not JSON; is the Content-Type right?"
    if re.search(rb"\\u[dD][89abAB]", body):
        return "The body is not valid JSON: it may hold one half of a surrogate pair (a \\ud8xx escape)."
    return f"The body is not valid JSON: {str(error).removeprefix('JSON is malformed: ')}"


def fill_json_model(body: bytes, model: str) -> bytes:
    """Return the JSON object `body`, which names no model, with `model` in it.

    It is put at the end: where the client wrote `"model": null` or `""`, the last of two keys wins, with vLLM as here.
    Everything else stays the bytes it was.
    """
    rest = body.rstrip()[:-1].rstrip()
    comma = b"" if rest.endswith(b"{") else b", "
    return b'%b%b"model": %b}' % (rest, comma, orjson.dumps(model))


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary or len(boundary) > MAX_BOUNDARY:
        raise InvalidRequest("The multipart Content-Type names no usable boundary.")
    return b"--" + boundary.encode("latin-1", "replace")


def _form_fields(body: bytes, boundary: bytes) -> dict[str, str]:
    """Return the short text fields of a form that routing needs; the parts themselves are never copied."""
    found: dict[str, str] = {}
    start = body.find(boundary)
    for _ in range(MAX_PARTS + 1):  # the last delimiter ends the form
        start += len(boundary)
        if body.startswith(b"--", start):
            return found
        head_end = body.find(b"\r\n\r\n", start, start + MAX_PART_HEAD)
        end = body.find(b"\r\n" + boundary, head_end) if head_end >= 0 else -1
        if end < 0:
            raise InvalidRequest("The multipart body is cut short.")
        name = _text_field_name(body[start:head_end])
        if name in ROUTING_FIELDS:
            if end - head_end > MAX_FIELD:
                raise InvalidRequest(f"The form field {name!r} is too long.", param=name)
            found[name] = body[head_end + 4 : end].decode("utf-8", "replace")
        start = end + 2
    raise InvalidRequest(f"The multipart body has more than {MAX_PARTS} parts.")


def _text_field_name(head: bytes) -> str | None:
    """Return the name of a form part, None for a file."""
    for line in head.split(b"\r\n"):
        if line.lower().startswith(b"content-disposition:"):
            message = Message()
            message["content-disposition"] = line.partition(b":")[2].strip().decode("latin-1")
            name = message.get_param("name", header="content-disposition")
            is_file = message.get_param("filename", header="content-disposition") is not None
            return name if isinstance(name, str) and not is_file else None
    return None


def peek_multipart(body: bytes, content_type: str) -> Envelope:
    """Read the envelope of a multipart form (audio). Raises `InvalidRequest`."""
    boundary = _boundary(content_type)
    if boundary not in body:
        raise InvalidRequest("The multipart body does not contain its boundary.")
    fields = _form_fields(body, boundary)
    stream = fields.get("stream", "").strip().lower()
    return Envelope(model=fields.get("model") or None, stream=stream in TRUE_WORDS)


def fill_multipart_model(body: bytes, content_type: str, model: str) -> bytes:
    """Return the form with a part that names `model` put first."""
    part = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
    boundary = _boundary(content_type)
    start = body.index(boundary)
    return body[:start] + boundary + part + body[start:]
