"""From the texts of a configuration to typed values, and back. Pure.

Every scalar arrives as the text that was written, and the kind of its key gives it a type: a YAML 1.1 reader would
make `off` False, `0123` 83 and `1:30` 90 before anybody could ask what was meant. Parsers also take ready values, so
that a Config can be built from Python. A parser raises ValueError whose text completes "server.port: ..."; the value
itself is never in that text, for it may be a secret.
"""

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from pydantic import SecretStr
from pydantic_core import CoreSchema, core_schema

MAX_SECONDS = 30 * 86400.0  # a longer timer is a mistake in the unit, and event loops cannot wait much longer
MAX_SIZE = 1 << 40  # the same for sizes
MASK = "********"
AUTO = "auto"  # the router finds a value itself

_TIME = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(ms|s|m|h)?", re.ASCII)
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmg]?)(?:i?b)?", re.ASCII | re.IGNORECASE)
_SHARE = re.compile(r"(\d+(?:\.\d+)?|\.\d+)\s*(%)?", re.ASCII)
_TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+", re.ASCII)  # RFC 9110 section 5.6.2
_WHOLE = re.compile(r"[+-]?\d{1,18}", re.ASCII)
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}
_BINARY = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_WORDS = {"true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False}
_OFF = frozenset({"off", "none", "0"})

TIME_FORMS = "a time such as 2, 2s, 500ms, 1m or 1h"


@dataclass(frozen=True, slots=True)
class Kind:
    """How the values of a key are read and shown; stands in the annotation of a field."""

    parse: Callable[[object], Any]
    render: Callable[[Any], str]

    def __get_pydantic_core_schema__(self, _source: object, _handler: object) -> CoreSchema:
        """Let pydantic read the field with `parse` alone."""
        return core_schema.no_info_plain_validator_function(self.parse)


def parse_flag(value: object) -> bool:
    """Return true or false from the words that YAML and the environment use."""
    if isinstance(value, bool):
        return value
    found = _WORDS.get(str(value).strip().lower()) if isinstance(value, str | int) else None
    if found is None:
        raise ValueError("must be true or false")
    return found


def is_off(value: object) -> bool:
    """Tell whether a value says "none": off, none, 0, null."""
    if isinstance(value, str):
        return value.strip().lower() in _OFF
    return value is None or value is False or (value == 0 and isinstance(value, int | float))


def parse_seconds(value: object) -> float:
    """Return seconds, 0 or more."""
    seconds = -1.0
    if isinstance(value, str):
        found = _TIME.fullmatch(value.strip().lower())
        seconds = float(found[1]) * _UNITS[found[2]] if found else -1.0
    elif isinstance(value, int | float) and not isinstance(value, bool):
        seconds = float(value)
    if not 0 <= seconds <= MAX_SECONDS:  # nan fails both
        raise ValueError(f"must be {TIME_FORMS} (30 days at most)")
    return round(seconds, 6)


def parse_duration(value: object) -> float:
    """Return seconds, more than 0."""
    if is_off(value) or parse_seconds(value) == 0:
        raise ValueError(f"must be {TIME_FORMS}, and more than 0: this one cannot be switched off")
    return parse_seconds(value)


def parse_delay(value: object) -> float:
    """Return seconds; `off` is 0."""
    return 0.0 if is_off(value) else parse_seconds(value)


def parse_wait(value: object) -> float:
    """Return seconds, 0 included; `off` is refused, since it might be taken for "no limit"."""
    if is_off(value) and not str(value).strip().startswith("0"):
        raise ValueError("must be a time; 0 is none at all, and a large one is next to no limit")
    return 0.0 if is_off(value) else parse_seconds(value)


def parse_timeout(value: object) -> float | None:
    """Return seconds, or None for off."""
    if is_off(value):
        return None
    try:
        return parse_seconds(value) or None
    except ValueError as error:
        raise ValueError(f"must be {TIME_FORMS}, or off") from error


def parse_whole_seconds(value: object) -> int:
    """Return whole seconds: for what is sent as a number of them."""
    seconds = parse_delay(value)
    if seconds != int(seconds):
        raise ValueError("must be whole seconds")
    return int(seconds)


def parse_size(value: object) -> int:
    """Return bytes, more than 0; 1 KB = 1 KiB = 1024 bytes, as web servers and log rotation count."""
    size = 0.0
    if isinstance(value, str):
        found = _SIZE.fullmatch(value.strip())
        size = float(found[1]) * _BINARY[found[2].lower()] if found else 0.0
    elif isinstance(value, int) and not isinstance(value, bool):
        size = value
    if not 1 <= size <= MAX_SIZE:
        raise ValueError("must be a size such as 4096, 64KB, 64MB or 1GiB")
    return int(size)


def parse_size_or_off(value: object) -> int | None:
    """Return bytes, or None for off."""
    return None if is_off(value) else parse_size(value)


def parse_memory(value: object) -> int | str | None:
    """Return bytes, `auto`, or None for off."""
    if isinstance(value, str) and value.strip().lower() == AUTO:
        return AUTO
    try:
        return parse_size_or_off(value)
    except ValueError as error:
        raise ValueError(f"{error}, auto or off") from error


def parse_share(value: object) -> float:
    """Return a share from 0 to 1."""
    share = -1.0
    if isinstance(value, str):
        found = _SHARE.fullmatch(value.strip())
        if value.strip().lower() == "off":
            share = 0.0
        elif found:
            share = float(found[1]) / (100 if found[2] else 1)
    elif isinstance(value, int | float) and not isinstance(value, bool):
        share = float(value)
    if not 0 <= share <= 1:
        raise ValueError("must be a share such as 20% or 0.2 (100% at most)")
    return share


def parse_whole(value: object, low: int, high: int) -> int:
    """Return a whole number from `low` to `high`."""
    number: int | None = None
    if isinstance(value, str) and _WHOLE.fullmatch(value.strip()):
        number = int(value)
    elif isinstance(value, int) and not isinstance(value, bool):
        number = value
    if number is None or not low <= number <= high:
        raise ValueError(f"must be a whole number from {low} to {high}")
    return number


def parse_text(value: object) -> str:
    """Return text that is neither empty nor has control characters."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a text, and not empty")
    if not value.isprintable():
        raise ValueError("must be one line without control characters")
    return value.strip()


def parse_secret(value: object) -> SecretStr | None:
    """Return a key that a header can carry, or None for off or empty."""
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if value is None or (isinstance(value, str) and value.strip().lower() in {"", "off", "none"}):
        return None
    text = parse_text(value)
    if not text.isascii() or " " in text:
        raise ValueError("must be a key of ASCII letters, digits and signs, without spaces: a header carries it")
    return SecretStr(text)


def show(value: object) -> str:
    """Render a value that needs no unit."""
    if value is None:
        return "off"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, SecretStr):
        return MASK
    if isinstance(value, tuple):
        return "[" + ", ".join(show(item) for item in value) + "]"
    text = str(value)
    return text if text.isprintable() and text.strip() == text and text else json.dumps(text)


def show_seconds(value: float | None) -> str:
    """Render seconds as `2s` or `50ms`."""
    if value is None:
        return "off"
    return f"{value * 1000:g}ms" if 0 < value < 1 else f"{value:.12g}s"


def show_size(value: int | None) -> str:
    """Render bytes in the largest unit that divides them."""
    if value is None:
        return "off"
    for unit, factor in (("GB", 1 << 30), ("MB", 1 << 20), ("KB", 1 << 10)):
        if value >= factor and value % factor == 0:
            return f"{value // factor}{unit}"
    return str(value)


def show_memory(value: int | str | None) -> str:
    """Render bytes, `auto` or off."""
    return value if isinstance(value, str) else show_size(value)


def show_share(value: float) -> str:
    """Render a share as a percentage."""
    return f"{value * 100:.6g}%"


def whole(low: int, high: int) -> Kind:
    """Return the kind of whole numbers in a range."""
    return Kind(lambda value: parse_whole(value, low, high), show)


def whole_or_off(low: int, high: int) -> Kind:
    """Return the kind of whole numbers in a range that may be off."""

    def parse(value: object) -> int | None:
        return None if is_off(value) else parse_whole(value, low, high)

    return Kind(parse, show)


def whole_or_auto(low: int, high: int) -> Kind:
    """Return the kind of whole numbers in a range, or `auto`, which is 0."""

    def parse(value: object) -> int:
        if value == 0 or (isinstance(value, str) and value.strip().lower() == AUTO):
            return 0
        try:
            return parse_whole(value, low, high)
        except ValueError as error:
            raise ValueError(f"{error}, or auto") from error

    return Kind(parse, lambda value: AUTO if value == 0 else show(value))


def parse_header(value: object) -> str:
    """Return the name of a header, as it was written. One with a star is meant as a pattern, which nothing here is."""
    text = parse_text(value)
    if "*" in text:
        raise ValueError("must be the whole name of a header (patterns with * are not supported)")
    if not _TOKEN.fullmatch(text):
        raise ValueError("must be the name of a header (letters, digits and signs such as -, no blank, no colon)")
    return text


def parse_header_or_all(value: object) -> str:
    """Return the name of a header, or "*" for all."""
    return "*" if value == "*" else parse_header(value)


def matching(pattern: str, what: str) -> Kind:
    """Return the kind of texts that match a pattern; `what` completes "must be"."""
    compiled = re.compile(pattern, re.ASCII)

    def parse(value: object) -> str:
        text = parse_text(value)
        if not compiled.fullmatch(text):
            raise ValueError(f"must be {what}")
        return text

    return Kind(parse, show)


def text_or_off() -> Kind:
    """Return the kind of texts (names of files and sockets) that may be off or empty."""

    def parse(value: object) -> str | None:
        empty = isinstance(value, str) and value.strip().lower() in {"", "off", "none"}
        return None if value is None or empty else parse_text(value)

    return Kind(parse, show)


def choice(words: Sequence[str], *, same: dict[str, str] | None = None) -> Kind:
    """Return the kind of one word of a few, in any case; `same` gives other spellings."""

    def parse(value: object) -> str:
        word = value.strip().lower() if isinstance(value, str) else ""
        word = (same or {}).get(word, word)
        if word not in words:
            raise ValueError("must be " + " or ".join(words))
        return word

    return Kind(parse, show)


def list_of(item: Callable[[object], str]) -> Kind:
    """Return the kind of lists without repetitions; text with commas is one too, so that ${VAR} can give a list."""

    def parse(value: object) -> tuple[str, ...]:
        if value is None:
            return ()
        parts = [part for part in value.split(",") if part.strip()] if isinstance(value, str) else value
        if not isinstance(parts, list | tuple):
            raise ValueError("must be a list")
        items = []
        for number, part in enumerate(parts, 1):
            try:
                items.append(item(part))
            except ValueError as error:
                raise ValueError(f"item {number} {error}") from error
        return tuple(dict.fromkeys(items))

    return Kind(parse, show)


FLAG = Kind(parse_flag, show)
DURATION = Kind(parse_duration, show_seconds)  # float seconds > 0
DELAY = Kind(parse_delay, show_seconds)  # float seconds >= 0
WAIT = Kind(parse_wait, show_seconds)  # the same, where `off` could be misread
TIMEOUT = Kind(parse_timeout, show_seconds)  # float seconds, or None for off
WHOLE_SECONDS = Kind(parse_whole_seconds, show_seconds)  # int
SIZE = Kind(parse_size, show_size)  # int bytes > 0
SIZE_OR_OFF = Kind(parse_size_or_off, show_size)
SHARE = Kind(parse_share, show_share)
SECRET = Kind(parse_secret, show)
HEADER = Kind(parse_header, show)
