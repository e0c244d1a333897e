"""Access lines, many at a time. Pure.

Nearly all requests go the usual way: answered by the first backend that was asked. Of their lines all but some numbers
and names is the same for many, and made once. Whatever is seldom told, and what a line tells at all, is in `lines.py`:
it makes every other line, and each of these would be the same.
"""

from collections.abc import Iterable, Iterator
from itertools import repeat
from typing import Any

import orjson

from router.ended import Alike, Ended, Way
from router.exchange import Exchange
from router.observe.lines import MAX_VALUE, TO_WHOLE, Clock, access_fields, encode, json_line, text_line, went_well

MAX_KEPT = 1024  # ways: of some models there are a few dozen
ROOM = "\0"  # where a template leaves room: in JSON it stands nowhere else
NAMES = frozenset(("time", "id", "trace", "client", "tenant"))
NUMBERS = frozenset(("duration", "first", "bytes_in", "bytes_out", "events", "tokens_in", "tokens_out"))


class AccessLines:
    """Makes the lines of one process."""

    __slots__ = ("_clock", "_sample", "_templates", "_worker")

    def __init__(self, worker: int | None = None, sample: float | None = None) -> None:
        """`worker`: the number of this process, of several. `sample`: the share that has lines of those that went
        well, which tell it; None: all have."""
        self._clock = Clock()
        self._worker = worker
        self._sample = sample
        self._templates: dict[Way, list[str]] = {}  # what stands between the values of a line

    def json(self, ended: Ended, ahead: float) -> bytes:
        """Return the lines of all; `ahead`: seconds that the wall clock is ahead of the exchanges'."""
        exchanges = ended.exchanges
        if len(exchanges) == 1:  # it shares nothing
            return self._alone(exchanges[0], ahead)
        if len(ended.alike) == 1 and not ended.others:
            return "".join(self._together(ended.alike[0], ahead)).encode()
        made = {alike: self._together(alike, ahead) for alike in ended.alike}
        lines = [
            self._alone(one, ahead).decode() if alike is None else next(made[alike])
            for one, alike in zip(exchanges, ended.with_alike, strict=True)
        ]
        return "".join(lines).encode()

    def _alone(self, one: Exchange, ahead: float) -> bytes:
        time = self._clock.text((one.closed or 0.0) + ahead)
        return json_line(one, time, self._worker, self._sample if went_well(one) else None)

    def _together(self, alike: Alike, ahead: float) -> Iterator[str]:
        """Return the lines of exchanges that went one way."""
        way, exchanges = alike.way, alike.exchanges
        ids, clients = [one.id for one in exchanges], [one.client for one in exchanges]
        tenants, backends = [one.tenant for one in exchanges], alike.backends
        if not way.is_plain or _may_break([*ids, *{*clients, *tenants, *backends}]):
            return iter([self._alone(one, ahead).decode() for one in exchanges])
        second, times = self._clock.texts([(one.closed or 0.0) + ahead for one in exchanges])
        names = [times, ids, clients, tenants]
        if way.has_trace:
            names.insert(2, [one.trace_id or "" for one in exchanges])
        first, *rest = self._templates.get(way) or self._keep(way, exchanges[0])
        count = len(exchanges)
        *numbers, tries = _numbers(alike)
        columns: list[Iterable[str]] = [repeat(first + second, count)]
        for column, constant in zip([*names, *numbers, backends, tries], rest, strict=True):
            columns += column, repeat(constant, count)
        return map("".join, zip(*columns, strict=True))

    def text(self, ended: Ended, ahead: float) -> bytes:
        """Return the lines for people. See `json`."""
        sample, clock = self._sample, self._clock.text
        lines = [
            text_line(one, clock((one.closed or 0.0) + ahead), self._worker, sample if went_well(one) else None)
            for one in ended.exchanges
        ]
        return b"".join(lines)

    def _keep(self, way: Way, one: Exchange) -> list[str]:
        if len(self._templates) >= MAX_KEPT:
            self._templates.clear()
        template = self._templates[way] = _template(one, self._worker, self._sample)
        return template


def _template(one: Exchange, worker: int | None, sample: float | None) -> list[str]:
    """Return the line of an exchange in pieces: between two of them is room for what is its own."""
    pieces = []
    for name, value in access_fields(one, "", worker, sample).items():
        if name == "attempts":
            rest = {key: told for key, told in value[0].items() if key not in ("backend", "duration")}
            pieces.append(f'"attempts":[{{"backend":"{ROOM}",{_bare(rest)},"duration":{ROOM}}}]')
        elif name in NAMES:
            pieces.append(f'"{name}":"{ROOM}"')
        else:
            pieces.append(f'"{name}":{ROOM}' if name in NUMBERS else _bare({name: value}))
    return f"{{{','.join(pieces)}}}\n".split(ROOM)


def _bare(fields: dict[str, Any]) -> str:
    """Return fields as JSON without the braces around them."""
    return encode(fields)[1:-2].decode()


def _numbers(alike: Alike) -> list[list[str]]:
    """Return the texts of all that is a number, in the order in which a line tells it.

    All at once: one by one, Python takes five times as long. Seconds are rounded as in `lines.micro`.
    """
    count = len(alike.exchanges)
    seconds = alike.durations + alike.firsts + alike.tries
    rounded = [(each * 1e6 + TO_WHOLE - TO_WHOLE) / 1e6 for each in seconds]
    counts = alike.bytes_in + alike.bytes_out + alike.events + alike.tokens_in + alike.tokens_out
    texts = orjson.dumps(rounded + counts)[1:-1].decode().split(",")
    duration, first, tried, *counted = [texts[at : at + count] for at in range(0, len(texts), count)]
    return [duration, first, *counted, tried]


def _may_break(names: list[str]) -> bool:
    """Return whether something in names has to be escaped or shortened; looked for in all at once."""
    text = "".join(names)
    is_plain = text.isascii() and "\x7f" not in text and len(orjson.dumps(text)) == len(text) + len('""')
    return not is_plain or max(map(len, names)) > MAX_VALUE
