"""Whether what a hook has returned may take the place of what it was given. Pure; raises ValueError that says why."""

import re
from collections.abc import Callable

import msgspec

from router.middleware.interface import Request

_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")  # a token, RFC 9110 section 5.6.2
_VALUE = re.compile(r"[^\x00-\x08\x0a-\x1f\x7f]*")
MAX_HEADERS = 1000
_object = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_anything = msgspec.json.Decoder(msgspec.Raw).decode


def changed_request(before: Request, after: object, *, is_json: bool) -> Request:
    """Return `after` if it may be sent in the place of `before`. `is_json`: the route takes JSON."""
    if not isinstance(after, Request):
        raise ValueError(f"returned {type(after).__name__}, not a Request")
    if (after.method, after.path, after.query) != (before.method, before.path, before.query):
        raise ValueError("changed the method, path or query: only headers and body may be changed")
    if after.body != before.body:
        _check_body(after.body, is_json=is_json)
    if after.headers != before.headers:
        _check_headers(after.headers)
    return after


def _check_body(body: object, *, is_json: bool) -> None:
    if not isinstance(body, bytes):
        raise ValueError(f"made the body {type(body).__name__}, not bytes")
    if is_json and not is_object(body):
        raise ValueError("made the body something else than a JSON object")


def _check_headers(headers: object) -> None:
    if not isinstance(headers, tuple) or len(headers) > MAX_HEADERS:
        raise ValueError("made the headers something else than a tuple of pairs")
    for pair in headers:
        if not (isinstance(pair, tuple) and len(pair) == 2 and all(isinstance(text, str) for text in pair)):
            raise ValueError("made a header something else than a pair of texts")
        if not _NAME.fullmatch(pair[0]) or not _VALUE.fullmatch(pair[1]) or not _fits_latin_1(pair[1]):
            raise ValueError("made a header that cannot be sent")


def changed_body(after: object, *, is_json: bool) -> bytes:
    """Return `after` if it may be an answer's whole body."""
    if not isinstance(after, bytes):
        raise ValueError(f"returned {type(after).__name__}, not bytes")
    if is_json and not is_json_text(after):
        raise ValueError("made a JSON answer something that is no JSON")
    return after


def is_object(body: bytes) -> bool:
    """Return whether a body is a JSON object. Nothing is built of its values: it may be large."""
    return _is(body, _object)


def is_json_text(body: bytes) -> bool:
    """Return whether a body is JSON."""
    return _is(body, _anything)


def _is(body: bytes, decode: Callable[[bytes], object]) -> bool:
    try:
        decode(body)
        body.decode()  # what is passed over was not looked at so closely
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError):
        return False
    return True


def writable(text: str) -> str:
    """Return a text that JSON can hold: one that a client has said may have half of a surrogate pair in it."""
    return text.encode("utf-8", "backslashreplace").decode()


def _fits_latin_1(text: str) -> bool:
    return all(ord(sign) < 256 for sign in text)
