"""What routing must know of a request's body, read without parsing the rest of it.

The bytes are forwarded as they came unless a model has to be filled in, so what is checked is what is sent.
msgspec reads only the named fields and skips the others, but lets bad UTF-8 through in what it skips: that is
checked first. It gives up by itself (RecursionError) on nesting that no parser of a backend takes: over 1,000 levels
with Python 3.11, 10,000 with 3.12 and 3.13, as many as the stack holds with 3.14. Duplicate keys: the last one wins, as
in vLLM.
"""

import re
from typing import NamedTuple

import msgspec
import orjson

from router.errors import InvalidRequest


class Envelope(NamedTuple):
    """The part of a request that routing needs."""

    model: str | None  # None where the client named none
    stream: bool


class _Peek(msgspec.Struct):
    """Values of another type are refused where they begin: nothing is built of an object of a million keys."""

    model: str | None = None
    stream: bool | None = None


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
    except msgspec.ValidationError as error:
        raise _not_of_type(error) from None
    except msgspec.DecodeError as error:
        raise InvalidRequest(_why(body, error)) from None
    except RecursionError:
        raise InvalidRequest("The JSON body is nested too deeply.") from None
    return Envelope(model=peek.model or None, stream=bool(peek.stream))


def _not_of_type(error: msgspec.ValidationError) -> InvalidRequest:
    told = str(error)
    if told.endswith("`$.model`"):
        return InvalidRequest("'model' must be a string.", param="model")
    if told.endswith("`$.stream`"):
        return InvalidRequest("'stream' must be true or false.", param="stream")
    return InvalidRequest("The body must be a JSON object.")


def _why(body: bytes, error: msgspec.DecodeError) -> str:
    first = body.lstrip()[:1]
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
