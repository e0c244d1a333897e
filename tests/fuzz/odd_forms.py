"""Forms as nobody writes them, put together by chance: two of three keep the grammar, and are strange all the same."""

import random

WORDS = ("model", "stream", "x", "true", "a.wav", "utf-8")
WITHIN = (*WORDS, "; name=model; z=", "; name=model", "utf-8''model", *";= '<>/,é", "%22", "--x")
PAIRS = ("\\\\", '\\"')
PLAIN_BOUNDARIES = ("x", "x", "xyz", "----WebKitFormBoundary7MA4YWxkTrZu0gW")
BOUNDARIES = (*PLAIN_BOUNDARIES, "'x'", "-", "x-", "x--", "x;y", "x y", "x=y", "<x>")
LINES = ("Content-Type: text/plain", "Content-Transfer-Encoding: base64", "X: y", "content-type: a; charset=utf-16")
TEXTS = (b"model", b"other", b"", b"true", b"1", b"\r\n", b"\r\n--", b"\r\n-", b"--", b"\r", b"\n", b"-", b"\xc3\xa9")
LEGAL = ("filename", "x", "y", "filename*")  # and one name
ODD = ("name", "filename", "x", "X", "NAME", "name*", "charset")
MODEL = b'\r\nContent-Disposition: form-data; name="model"\r\n\r\nmodel\r\n'


def odd_form(dice: random.Random) -> tuple[str, bytes]:
    """Return a Content-Type and a body."""
    is_legal = dice.random() < 0.67
    boundary = dice.choice(BOUNDARIES)
    is_bare = boundary in PLAIN_BOUNDARIES if is_legal else dice.random() < 0.5
    given = {"boundary": boundary if is_bare else f'"{boundary}"'}
    line = _line("multipart/form-data", given, dice, is_legal=is_legal)
    delimiter = b"--" + boundary.encode()
    parts = [_part(dice, is_legal=is_legal) for _ in range(dice.choice((1, 2, 2, 3)))]
    if dice.random() < 0.6:
        parts.insert(0, MODEL)
    whole = delimiter + delimiter.join(parts) + delimiter
    if is_legal:
        return line, dice.choice((b"", b"", b"\r\n", b"preamble\r\n")) + whole + dice.choice((b"--\r\n", b"--\r\nmore"))
    before = dice.choice((b"", b"--\r\n", b"\r\n\r\n", delimiter[:-1] + b"\r\n", b"\n", b" "))
    return line, before + whole + dice.choice((b"--\r\n", b"--", b"--" + parts[0] + delimiter + b"--\r\n", b"-", b""))


def _part(dice: random.Random, *, is_legal: bool) -> bytes:
    given = {name: _value(dice) for name in dice.sample(LEGAL if is_legal else ODD, dice.choice((0, 1, 1, 2, 3)))}
    if is_legal or dice.random() < 0.9:
        given["name"] = dice.choice(("model", '"model"', "stream", _value(dice)))
    kind = dice.choice(("form-data", "form-data", "Form-Data", *(() if is_legal else ("attachment", "", "form-data;"))))
    shuffled = dict(dice.sample(list(given.items()), len(given)))
    lines = [_line(f"Content-Disposition: {kind}", shuffled, dice, is_legal=is_legal)]
    for _ in range(dice.choice((0, 0, 0, 1, 2))):
        lines.insert(dice.randrange(len(lines) + 1), dice.choice(LINES))
    text = b"".join(dice.choice(TEXTS) for _ in range(dice.choice((0, 1, 1, 2, 4))))
    return ("\r\n" + "\r\n".join(lines) + "\r\n\r\n").encode("latin-1") + text + b"\r\n"


def _value(dice: random.Random) -> str:
    if dice.random() < 0.2:
        return dice.choice(WORDS)
    signs = (dice.choice(PAIRS if dice.random() < 0.3 else WITHIN) for _ in range(dice.choice((0, 1, 1, 2, 3))))
    return '"' + "".join(signs) + '"'


def _line(value: str, given: dict[str, str], dice: random.Random, *, is_legal: bool) -> str:
    for name, text in given.items():
        value += dice.choice(("; ", "; ", ";", " ; ", ";\t")) + name + "=" + text
    return value + dice.choice(("", "", " ") if is_legal else ("", ";", " x", '"', "; ="))
