"""Values of a request's top level, which arrive as they came (`msgspec.Raw`) or parsed."""

import msgspec

from router.errors import InvalidRequest

UNSUPPORTED = "unsupported_value"  # the code of what is refused here
UNREADABLE = (msgspec.MsgspecError, ValueError, RecursionError)  # what decoding hostile bytes may raise


def value_of(value: object, where: str) -> object:
    """Return the parsed value; `where` is its dotted path. Raises InvalidRequest where its bytes are no JSON."""
    if not isinstance(value, msgspec.Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except UNREADABLE:
        raise refusal(f"{where} is not JSON that can be read", where) from None


def refusal(message: str, param: str) -> InvalidRequest:
    """Return our own 400 (R37): what no backend could take."""
    return InvalidRequest(message, param=param, code=UNSUPPORTED)


def text_of(value: object) -> str:
    """Return a JSON text of the value, "" where it has none."""
    try:
        return msgspec.json.encode(value).decode()
    except UNREADABLE:
        return ""


def is_number(value: object) -> bool:
    """Return whether it is a number of JSON; true and false are none."""
    return isinstance(value, int | float) and not isinstance(value, bool)
