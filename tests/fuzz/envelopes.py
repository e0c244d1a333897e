"""The envelope: what routing reads of a body is what the backend reads of the bytes that are sent, or it is refused.

The backend's readings: `json.loads`, as in vLLM, and Starlette's parser of forms. The first byte of a case chooses what
follows: a form (its boundary is `x`), a line with a Content-Type and its form, or JSON. Nothing but `InvalidRequest` is
raised.
"""

import json
import logging
from collections.abc import AsyncGenerator, Sequence
from typing import Any

from pydantic import TypeAdapter, ValidationError
from starlette.datastructures import Headers, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser

from router.errors import InvalidRequest
from router.relay.envelope import Envelope, fill_json_model, peek_json
from router.relay.forms import fill_multipart_model, peek_multipart
from router.relay.history import CONVERSATIONS, keys_of
from router.translate.mistral.request import read
from router.translate.mistral.surrogates import mend_surrogates
from tests.fuzz.seeds import envelope_seeds
from tests.fuzz.target import Target, no_errors

FORM, TYPED = b"F", b"T"
CONTENT_TYPE = "multipart/form-data; boundary=x"
SOLE = "the sole “model”"
BOOLEAN = TypeAdapter(bool)  # as vLLM declares the field of its forms
WORDS = (
    *(b'"model":', b'"model":"other"', b'"stream":', b'"stream":true', b'"stream":1', b"null", b"true", b"NaN"),
    *(b"Infinity", b"-0", b"1e999", b"1" * 400, b"[" * 100, b'{"a":' * 50, b'"\\u006dodel":"x"', b'"mod\\u0065l":"y"'),
    *(b"\\ud800", b"\\ud83d\\ude00", b"\\u0000", b"\xed\xa0\x80", b"\xc0\x80", b"\xef\xbb\xbf", b"\xff\xfe", b"\\x"),
    *(b"--x\r\n", b"--x--", b"\r\n--x", b'name="model"', b'name="stream"', b'filename="a"', b"name*=utf-8''model"),
    *(b"Content-Disposition: form-data; ", b"Content-Transfer-Encoding: base64\r\n", b"\r\n\r\n", b"; name=model"),
    *(
        b"; boundary=",
        b"; boundary*=utf-8''x",
        b"; boundary*0=x",
        b"; charset=utf-7",
        b"; charset*0=utf-7",
        b"; name*0=model",
    ),
    *(b"multipart/form-data", b'; boundary="x"', b'; boundary="\\x"', b"\\", b'"', b'\\\\"'),
)


def run(data: bytes) -> None:
    """See the module's docstring."""
    logging.getLogger("python_multipart").setLevel(logging.ERROR)
    with no_errors("router"):
        if data.startswith(FORM):
            check_form(data[1:], CONTENT_TYPE)
        elif data.startswith(TYPED):
            check_typed(data[1:])
        else:
            check_json(data[1:])


def check_json(body: bytes) -> None:
    """Hold our readings of a JSON body against `json.loads`; whose conversation it is, is found or not."""
    for path in CONVERSATIONS:
        keys_of(path, body, tenant=b"", model=None, ident=None)
    shape = read(body)
    if shape is not None:
        agree(Envelope(shape.model, shape.stream), loaded(body))
    try:
        envelope = peek_json(body)
    except InvalidRequest:
        assert shape is None, "the fast reader takes what the other refuses"
        mended = mend_surrogates(body)
        if mended is not body:
            check_json(mended)
        return
    agree(envelope, loaded(body))
    if envelope.model is None:
        filled = fill_json_model(body, SOLE)
        agree(Envelope(SOLE, envelope.stream), loaded(filled))
        before, after = loaded(body), loaded(filled)
        if isinstance(before, dict):
            assert {**before, "model": SOLE} == after or before != before, "more than the model has changed"


def loaded(body: bytes) -> object:
    """Return what vLLM reads, Unread where it can read nothing, or refuses it."""
    try:
        return json.loads(body)
    except RecursionError:
        return RecursionError
    except ValueError as error:
        return "digits" if "digits" in str(error) else error


def agree(envelope: Envelope, value: object) -> None:
    """See that routing has read what the backend reads."""
    if value is RecursionError or value == "digits":
        return  # bounds of Python's own: the backend refuses it
    assert isinstance(value, dict), f"taken, where the backend finds {value!r}"
    assert (value.get("model") or None) == envelope.model, (envelope, value.get("model"))
    assert bool(value.get("stream")) is envelope.stream, (envelope, value.get("stream"))


def check_typed(data: bytes) -> None:
    """Do as `check_form`, with a Content-Type as llhttp may let it through."""
    line, _, body = data.partition(b"\n")
    if not any(byte < 0x20 or byte == 0x7F for byte in line):
        check_form(body, line.decode("latin-1"))


def check_form(body: bytes, content_type: str) -> None:
    """Hold our reading of a form against Starlette's."""
    try:
        envelope = peek_multipart(body, content_type)
    except InvalidRequest:
        return
    agree_form(envelope, parsed(body, content_type))
    if envelope.model is None:
        filled = fill_multipart_model(body, content_type, SOLE)
        assert peek_multipart(filled, content_type) in (Envelope(SOLE, envelope.stream), envelope)
        agree_form(Envelope(SOLE, envelope.stream), parsed(filled, content_type))


def parsed(body: bytes, content_type: str) -> dict[str, Any] | None:
    """Return the fields that vLLM reads of a form, None where it refuses it."""
    try:
        return fields_of([body], content_type)
    except MultiPartException:
        return None


def fields_of(parts: Sequence[bytes], content_type: str) -> dict[str, Any]:
    """Return the fields that Starlette finds in a form that comes in these parts."""

    async def stream() -> AsyncGenerator[bytes, None]:
        for part in parts:
            yield part

    parsing = MultiPartParser(Headers({"content-type": content_type}), stream()).parse()
    try:
        parsing.send(None)
    except StopIteration as done:  # it waits for nothing
        return dict(done.value)
    raise AssertionError("it waits")


def agree_form(envelope: Envelope, fields: dict[str, Any] | None) -> None:
    """See that routing has read what the backend reads."""
    if fields is None:
        return  # the backend refuses it
    # A file is no text: the backend refuses a form in which one counts.
    model, stream = (None if isinstance(one, UploadFile) else one for one in map(fields.get, ("model", "stream")))
    assert (model or None) == envelope.model, (envelope, fields)
    try:
        streamed = bool(stream) and BOOLEAN.validate_python(stream)
    except ValidationError:
        return  # the backend refuses it
    assert streamed is envelope.stream, (envelope, fields)


TARGET = Target("envelopes", run, envelope_seeds, WORDS, cases=60_000)
