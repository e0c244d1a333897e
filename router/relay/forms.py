"""What routing must know of a multipart form (audio), and a model put into one that names none. Pure.

Readers of forms differ in what they make of odd ones, so only those are taken that all of them read alike: every
boundary a line of its own, one Content-Disposition for each part, every parameter once and properly written, text in
UTF-8. The parts themselves are never copied. Of fields with the same name the last one counts, as in vLLM.
"""

import re

from router.errors import InvalidRequest
from router.relay.envelope import Envelope

# Bounds: parts (as in Starlette, which vLLM stands on), bytes of a part's head, of a field that routing reads, of the
# boundary (RFC 2046 allows 70).
MAX_PARTS = 1000
MAX_PART_HEAD = 4096
MAX_FIELD = 1024
MAX_BOUNDARY = 200
ROUTING_FIELDS = frozenset({"model", "stream"})
TRUE_WORDS = frozenset({"true", "1", "on", "yes", "t", "y"})  # as pydantic reads a form's booleans
UTF_8 = ("utf-8", "utf8")

_WORD = r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+"
_LINE = re.compile(rf"({_WORD}):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)")
_KIND = re.compile(rf"[ \t]*({_WORD}(?:/{_WORD})?)[ \t]*")
# Of quoted pairs only those that every reader takes back: some leave the backslash before other characters. Nor may one
# of a backslash stand last: Python's `email` takes it for one of the quotation mark behind it, and reads on.
_PARAMETER = re.compile(rf';[ \t]*({_WORD})=(?:"((?:[^"\\\x00-\x1f\x7f]|\\["\\])*)(?<!\\)"|({_WORD}))[ \t]*')


def peek_multipart(body: bytes, content_type: str) -> Envelope:
    """Read the envelope of a form. Raises `InvalidRequest` for one that cannot be read, or that readers differ on."""
    fields, _ = _read(body, _boundary(content_type))
    stream = fields.get("stream", "").strip().lower()
    return Envelope(model=fields.get("model") or None, stream=stream in TRUE_WORDS)


def fill_multipart_model(body: bytes, content_type: str, model: str) -> bytes:
    """Return the form, which `peek_multipart` has read, with a part that names `model` put last."""
    boundary = _boundary(content_type)
    _, end = _read(body, boundary)
    part = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + model.encode() + b"\r\n"
    return body[:end] + boundary + part + body[end:]


def _read(body: bytes, boundary: bytes) -> tuple[dict[str, str], int]:
    """Return the short text fields that routing needs, and where the last boundary begins."""
    found: dict[str, str] = {}
    start = body.find(boundary)
    if start < 0 or (start > 0 and not body.endswith(b"\r\n", 0, start)):
        raise InvalidRequest("The multipart body does not contain its boundary at the beginning of a line.")
    for _ in range(MAX_PARTS + 1):  # the last boundary ends the form
        behind = start + len(boundary)
        if body.startswith(b"--", behind):
            return found, start
        if not body.startswith(b"\r\n", behind):
            raise InvalidRequest("A boundary of the multipart body does not end its line.")
        head_end = body.find(b"\r\n\r\n", behind, behind + MAX_PART_HEAD)
        end = body.find(b"\r\n" + boundary, head_end + 4) if head_end >= 0 else -1
        if end < 0:
            raise InvalidRequest("The multipart body is cut short, or a part of it is too odd to be read.")
        name, is_file = _field(body[behind + 2 : head_end].decode("latin-1"))
        if name in ROUTING_FIELDS:
            found.pop(name, None)  # a file, which is no text, counts as well where it is the last one
            if not is_file:
                found[name] = _text(body, head_end + 4, end, name=name)
        start = end + 2
    raise InvalidRequest(f"The multipart body has more than {MAX_PARTS} parts.")


def _field(head: str) -> tuple[str, bool]:
    """Return the name of a part, and whether it is a file."""
    lines = [_LINE.fullmatch(line) for line in head.split("\r\n")]
    told = [line[2] for line in lines if line is not None and line[1].lower() == "content-disposition"]
    kind, parameters = _parted(told[0]) if len(told) == 1 and None not in lines else ("", {})
    name = parameters.get("name")
    if kind != "form-data" or name is None or ("filename*" in parameters and name in ROUTING_FIELDS):
        raise InvalidRequest("Each part of a form needs one Content-Disposition: form-data that has one plain name.")
    return name, "filename" in parameters


def _text(body: bytes, start: int, end: int, *, name: str) -> str:
    if end - start > MAX_FIELD:
        raise InvalidRequest(f"The form field {name!r} is too long.", param=name)
    try:
        return body[start:end].decode()
    except UnicodeDecodeError:
        raise InvalidRequest(f"The form field {name!r} is not valid UTF-8.", param=name) from None


def _boundary(content_type: str) -> bytes:
    _, parameters = _parted(content_type)
    boundary = parameters.get("boundary", "")
    if not boundary or len(boundary) > MAX_BOUNDARY or "\\" in boundary:
        raise InvalidRequest("The multipart Content-Type names no usable boundary.")
    if parameters.get("charset", "utf-8").lower() not in UTF_8:
        raise InvalidRequest("The fields of a form must be in UTF-8.")
    return b"--" + boundary.encode("latin-1", "replace")


def _is_disputed(name: str) -> bool:
    """Return whether some readers take a parameter for a part, or another spelling, of one with a plain name (RFC 2231:
    `name*0`, `boundary*`). What a file is called means nothing to anybody."""
    return "*" in name and name != "filename*"


def _parted(value: str) -> tuple[str, dict[str, str]]:
    """Return a header's value and its parameters, nothing of one that is written badly or says something twice."""
    kind = _KIND.match(value)
    at = 0 if kind is None else kind.end()
    parameters: dict[str, str] = {}
    while kind is not None and at < len(value):
        match = _PARAMETER.match(value, at)
        if match is None or match[1].lower() in parameters or _is_disputed(match[1].lower()):
            return "", {}
        parameters[match[1].lower()] = match[3] if match[2] is None else match[2]
        at = match.end()
    return ("" if kind is None else kind[1].lower()), parameters
