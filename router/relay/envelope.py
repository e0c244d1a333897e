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

# Bytes of a multipart body in which the model's part must stand complete: clients send it beside the file, and short.
MAX_MODEL_PART = 1024


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

    A `"model": null` or `""` that the client wrote stands earlier or later: then the object is written anew.
    """
    if b'"model"' in body:
        fields = orjson.loads(body)
        fields["model"] = model
        return orjson.dumps(fields)
    start = body.index(b"{") + 1
    rest = body[start:].lstrip()
    comma = b"" if rest.startswith(b"}") else b", "
    return body[:start] + b'"model": ' + orjson.dumps(model) + comma + rest


def _boundary(content_type: str) -> bytes:
    message = Message()
    message["content-type"] = content_type
    boundary = message.get_param("boundary")
    if not isinstance(boundary, str) or not boundary or len(boundary) > 200:
        raise InvalidRequest("The multipart Content-Type names no usable boundary.")
    return b"--" + boundary.encode("latin-1", "replace")


def _form_field(body: bytes, boundary: bytes, name: bytes) -> str | None:
    """Return the text of the last form part called `name`; parts themselves are never copied."""
    found = None
    label = re.compile(rb'form-data;[^\r\n]*\bname="?' + re.escape(name) + rb'"?(?:;|\r\n|$)', re.IGNORECASE)
    start = body.find(boundary)
    while start >= 0:
        start += len(boundary)
        head_end = body.find(b"\r\n\r\n", start, start + 4096)
        if head_end < 0:
            break
        end = body.find(b"\r\n" + boundary, head_end)
        if end < 0:
            raise InvalidRequest("The multipart body is cut short.")
        if label.search(body[start : head_end + 2]) and b"filename" not in body[start:head_end]:
            if end - head_end - 4 > MAX_MODEL_PART:
                raise InvalidRequest(f"The form field {name.decode()!r} is too long.", param=name.decode())
            found = body[head_end + 4 : end].decode("utf-8", "replace")
        start = end + 2
    return found


def peek_multipart(body: bytes, content_type: str) -> Envelope:
    """Read the envelope of a multipart form (audio). Raises `InvalidRequest`."""
    boundary = _boundary(content_type)
    if boundary not in body:
        raise InvalidRequest("The multipart body does not contain its boundary.")
    stream = (_form_field(body, boundary, b"stream") or "").strip().lower()
    return Envelope(model=_form_field(body, boundary, b"model") or None, stream=stream in ("true", "1"))


def fill_multipart_model(body: bytes, content_type: str, model: str) -> bytes:
    """Return the form with a part that names `model` put first."""
    part = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
    boundary = _boundary(content_type)
    start = body.index(boundary)
    return body[:start] + boundary + part + body[start:]
