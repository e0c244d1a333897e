"""A `.env` file: KEY=VALUE, `#` comments, single and double quotes (over several lines too), `export`. Pure.

Values are taken as they are: nothing is expanded in them. In double quotes \\n, \\t, \\", \\$ and \\\\ are escapes.
"""

import re

_KEY = r"[ \t]*(?:export[ \t]+)?([A-Za-z_][A-Za-z0-9_.]*)[ \t]*=[ \t]*"
_REST = r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)"
_LINE = re.compile(
    rf"""{_KEY}(?:'([^']*)'{_REST}|"((?:[^"\\]|\\.)*)"{_REST}|([^\n]*))""",
    re.ASCII | re.DOTALL,
)
_SKIP = re.compile(r"[ \t]*(?:#[^\n]*)?(?=\n|\Z)")
_ESCAPE = re.compile(r"\\(.)", re.DOTALL)
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", '"': '"', "$": "$", "\\": "\\"}


def parse_dotenv(text: str) -> tuple[dict[str, str], list[int]]:
    """Return the variables (the last of equal names wins) and the 1-based numbers of lines that were not understood."""
    text = text.removeprefix("\ufeff").replace("\r\n", "\n")
    found: dict[str, str] = {}
    bad: list[int] = []
    at = 0
    while at < len(text):
        match = _SKIP.match(text, at) or _LINE.match(text, at)
        if match is None:
            bad.append(text.count("\n", 0, at) + 1)
            end = text.find("\n", at)
            at = len(text) if end < 0 else end + 1
            continue
        if match.re is _LINE:
            found[match[1]] = _value(match)
        at = match.end() + 1
    return found, bad


def _value(match: re.Match[str]) -> str:
    """Return the value of one assignment."""
    if match[2] is not None:
        return match[2]
    if match[3] is not None:
        return _ESCAPE.sub(lambda escape: _ESCAPES.get(escape[1], escape[0]), match[3])
    bare: str = match[4]
    return re.split(r"(?:^|\s)#", bare, maxsplit=1)[0].strip()
