"""The headers of a request, built without checking again what llhttp has checked.

llhttp has already refused bad names, control characters, folding and bare LF, so Tornado's own `add()`, which
matches every name and value against a pattern, would only repeat that at ten times the cost.
"""

from tornado.httputil import HTTPHeaders

KNOWN_NAMES = 1024  # spellings remembered; clients send a few dozen
LONGEST_KNOWN = 64  # bytes; a client could make up others of 32 KB each, and those would stay


def normalised(name: bytes) -> str:
    """Return a header's name as Tornado spells it (`Http-Header-Case`)."""
    return "-".join(word.capitalize() for word in name.decode("latin-1").split("-"))


class Spellings(dict[bytes, str]):
    """Names that llhttp has accepted, each with Tornado's spelling of it. Looked up, a new one is learned."""

    def __missing__(self, name: bytes) -> str:
        """Learn a name, unless it is long; when there are too many, all are learned anew."""
        spelling = normalised(name)
        if len(name) <= LONGEST_KNOWN:
            if len(self) >= KNOWN_NAMES:
                self.clear()
            self[name] = spelling
        return spelling


spellings = Spellings()


class RequestHeaders(HTTPHeaders):
    """Tornado's `HTTPHeaders` over what the parser delivered.

    `raw` keeps names and values as they came, in their order and spelling, for forwarding; a value may have white space
    behind it, which means nothing. `fields` maps each name, normalised, to its values, for reading by a name that is
    known to be in Tornado's spelling.
    """

    def __init__(self, raw: list[tuple[bytes, bytes]]) -> None:
        """`raw`: pairs that llhttp accepted."""
        # The base's __init__ is left out on purpose: it would validate and normalise line by line.
        self.raw = raw
        self._combined_cache: dict[str, str] = {}
        self._fields: dict[str, list[str]] | None = None  # read when somebody asks

    @property
    def fields(self) -> dict[str, list[str]]:
        """Return the values of each header."""
        fields = self._fields
        if fields is None:
            fields = self._fields = self._read()
        return fields

    _as_list = fields  # what the base reads

    def first(self, name: str) -> str | None:
        """Return the first value of a header, None where there is none. Quick; `name` in Tornado's spelling."""
        fields = self._fields
        values = (self.fields if fields is None else fields).get(name)
        return None if values is None else values[0]

    def forget(self) -> None:
        """Keep only `raw`: the text takes several times as much, and can be made of it again."""
        self._fields = None
        self._combined_cache.clear()

    def _read(self) -> dict[str, list[str]]:
        fields: dict[str, list[str]] = {}
        for name, value in self.raw:
            key = spellings[name]
            # Naming an encoding takes three times as long; and there are no blanks in ASCII but these two, for llhttp.
            text = value.decode().rstrip() if value.isascii() else value.decode("latin-1").rstrip(" \t")
            if key in fields:
                fields[key].append(text)
            else:
                fields[key] = [text]
        return fields
