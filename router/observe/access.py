"""Access lines, many at a time. Pure.

Nearly all requests go the usual way: answered by the first backend that was asked. Of their lines all but some numbers
and names is the same for many, and made once. Whatever is seldom told, and what a line tells at all, is in `lines.py`:
it makes every other line, and each of these would be the same.
"""

from collections.abc import Iterator, Sequence
from math import inf
from typing import Any

import orjson

from router.ended import Alike, Ended, Way
from router.exchange import Exchange
from router.observe.lines import MAX_VALUE, TO_WHOLE, Clock, access_fields, encode, json_line, text_line, went_well

MAX_KEPT = 1024  # ways: of some models at some backends there are a few dozen
# Where a template leaves room, and for what; `%b` takes bytes.
SLOTS = {
    **{"time": b'"%b"', "id": b'"%b"', "duration": b"%b", "first": b"%b"},
    **{"bytes_in": b"%d", "bytes_out": b"%d", "events": b"%d", "tokens_in": b"%d", "tokens_out": b"%d"},
}


class AccessLines:
    """Makes the lines of one process."""

    __slots__ = ("_clock", "_sample", "_templates", "_worker")

    def __init__(self, worker: int | None = None, sample: float | None = None) -> None:
        """`worker`: the number of this process, of several. `sample`: the share that has lines of those that went
        well, which tell it; None: all have."""
        self._clock = Clock()
        self._worker = worker
        self._sample = sample
        self._templates: dict[Way, bytes] = {}

    def json(self, ended: Ended, ahead: float) -> bytes:
        """Return the lines of all; `ahead`: seconds that the wall clock is ahead of the exchanges'."""
        exchanges = ended.exchanges
        if len(exchanges) == 1 or _may_break(exchanges):  # one shares nothing
            return b"".join([self._alone(one, ahead) for one in exchanges])
        if len(ended.alike) == 1 and not ended.others:
            return b"".join(self._together(ended.alike[0], ahead))
        made = {alike: self._together(alike, ahead) for alike in ended.alike}
        lines = [
            self._alone(one, ahead) if alike is None else next(made[alike])
            for one, alike in zip(exchanges, ended.with_alike, strict=True)
        ]
        return b"".join(lines)

    def _alone(self, one: Exchange, ahead: float) -> bytes:
        time = self._clock.text((one.closed or 0.0) + ahead)
        return json_line(one, time, self._worker, self._sample if went_well(one) else None)

    def _together(self, alike: Alike, ahead: float) -> Iterator[bytes]:
        """Yield the lines of exchanges that went one way."""
        way, exchanges = alike.way, alike.exchanges
        if not way.is_plain:
            yield from [self._alone(one, ahead) for one in exchanges]
            return
        template = self._templates.get(way) or self._keep(way, exchanges[0])
        # The texts of numbers with a fraction take Python five times as long. Rounded as in `lines.micro`.
        seconds = alike.durations + alike.firsts + alike.tries
        texts = orjson.dumps([(each * 1e6 + TO_WHOLE - TO_WHOLE) / 1e6 for each in seconds])[1:-1].split(b",")
        count = len(exchanges)
        columns = self._times(exchanges, ahead), texts[:count], texts[count : 2 * count], texts[2 * count :]
        for one, time, duration, first, tried in zip(exchanges, *columns, strict=True):
            trace, tokens = one.trace_id, one.tokens
            name = one.id[:MAX_VALUE] if trace is None else f'{one.id[:MAX_VALUE]}","trace":"{trace}'
            names = f'{name}","client":"{one.client}","tenant":"{one.tenant}'.encode()
            taken, out, events = one.bytes_in, one.bytes_out, one.events
            if isinstance(tokens, tuple):
                read, said = tokens
                yield template % (time, names, duration, first, taken, out, events, read, said, tried)
            else:
                yield template % (time, names, duration, first, taken, out, events, tried)

    def _times(self, exchanges: Sequence[Exchange], ahead: float) -> list[bytes]:
        """Return when each was closed: of many it is the same millisecond."""
        times, clock, time, since, until = list[bytes](), self._clock, b"", inf, -inf
        for one in exchanges:
            now = (one.closed or 0.0) + ahead
            if not since <= now < until:
                time = clock.text(now).encode()
                since, until = clock.since, clock.until
            times.append(time)
        return times

    def text(self, ended: Ended, ahead: float) -> bytes:
        """Return the lines for people. See `json`."""
        sample, clock = self._sample, self._clock.text
        lines = [
            text_line(one, clock((one.closed or 0.0) + ahead), self._worker, sample if went_well(one) else None)
            for one in ended.exchanges
        ]
        return b"".join(lines)

    def _keep(self, way: Way, one: Exchange) -> bytes:
        if len(self._templates) >= MAX_KEPT:
            self._templates.clear()
        template = self._templates[way] = _template(one, self._worker, self._sample)
        return template


def _template(one: Exchange, worker: int | None, sample: float | None) -> bytes:
    """Return the line of an exchange with room for what is its own."""
    pieces = []
    for name, value in access_fields(one, "", worker, sample).items():
        room = SLOTS.get(name)
        if name == "attempts":
            attempt = {key: told for key, told in value[0].items() if key != "duration"}
            pieces.append(_escaped({name: [attempt]})[:-2] + b',"duration":%b}]')
        elif name not in ("trace", "client", "tenant"):  # they come with the id
            pieces.append(_escaped({name: value}) if room is None else b'"%b":%b' % (name.encode(), room))
    return b"{%b}\n" % b",".join(pieces)


def _escaped(fields: dict[str, Any]) -> bytes:
    """Return fields without the braces around them, as a part of a template."""
    return encode(fields)[1:-2].replace(b"%", b"%%")


def _may_break(exchanges: Sequence[Exchange]) -> bool:
    """Return whether something in an id, an address or a tenant has to be escaped; looked for in all at once."""
    ids, clients = [one.id for one in exchanges], [one.client for one in exchanges]
    names = "".join(ids + clients + [one.tenant for one in exchanges])
    return not names.isascii() or "\x7f" in names or len(orjson.dumps(names)) != len(names) + len('""')
