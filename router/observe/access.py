"""Access lines, many at a time. Pure.

Nearly all requests go the usual way: answered by the first backend that was asked. Of their lines all but some numbers
and names is the same for many, and made once. Whatever is seldom told, and what a line tells at all, is in `lines.py`:
it makes every other line, and each of these would be the same.
"""

import string
from collections.abc import Sequence
from math import trunc
from typing import Any

import orjson

from router.exchange import Attempt, AttemptOutcome, Exchange, Outcome
from router.observe.lines import MAX_VALUE, Clock, access_fields, encode, json_line, text_line, went_well

MAX_KEPT = 1024  # ways: of some models at some backends there are a few dozen
PLAIN = (string.ascii_letters + string.digits + "._:-%").encode()  # stands in JSON as it is
# Where a template leaves room, and for what; `%b` takes bytes.
SLOTS = {
    **{"time": b'"%b"', "id": b'"%b"%b', "client": b'"%b"', "duration": b"%b", "first": b"%b"},
    **{"bytes_in": b"%d", "bytes_out": b"%d", "events": b"%d", "tokens_in": b"%d", "tokens_out": b"%d"},
}
_OK, _TRY_OK = Outcome.OK, AttemptOutcome.OK
# Method, route, model, stream, status, rules, backend and its status, and whether tokens are told.
Way = tuple[str, str, str | None, bool, int, tuple[str, ...], str, int | None, bool]


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

    def json(self, exchanges: Sequence[Exchange], ahead: float) -> list[bytes]:
        """Return the line of each; `ahead`: seconds that the wall clock is ahead of the exchanges'."""
        if len(exchanges) == 1:  # it shares nothing
            return [self._alone(exchanges[0], self._clock.text((exchanges[0].closed or 0.0) + ahead))]
        templates: list[bytes] = []
        seconds: list[float] = []  # three of each
        is_plain = not _may_break(exchanges)
        for one in exchanges:
            opened, began, closed, attempts = one.opened, one.began, one.closed, one.attempts
            ended = attempts[0].ended if len(attempts) == 1 and is_plain else None
            if ended is None or began is None or closed is None:
                templates.append(b"")
                seconds += (0.0, 0.0, 0.0)
            else:
                templates.append(self._template_of(one, attempts[0]))
                seconds += (closed - opened, began - opened, ended - attempts[0].started)
        # The texts of numbers with a fraction take Python five times as long. Rounded as in `lines.micro`.
        texts = iter(orjson.dumps([trunc(each * 1e6 + 0.5) / 1e6 for each in seconds])[1:-1].split(b","))
        lines: list[bytes] = []
        text, head = "", b""
        for one, template, duration, first, tried in zip(exchanges, templates, texts, texts, texts, strict=False):
            time = self._clock.text((one.closed or 0.0) + ahead)
            if not template:
                lines.append(self._alone(one, time))
                continue
            if time is not text:
                text, head = time, time.encode()
            ident, client, trace, tokens = one.id[:MAX_VALUE].encode(), one.client.encode(), one.trace, one.tokens
            traced = b"" if trace is None else b',"trace":"%b"' % trace.trace_id.encode()
            values: tuple[bytes | int, ...]
            read, out, events = one.bytes_in, one.bytes_out, one.events
            if tokens is None:
                values = (head, ident, traced, client, duration, first, read, out, events, tried)
            else:
                values = (head, ident, traced, client, duration, first, read, out, events, tokens[0], tokens[1], tried)
            lines.append(template % values)
        return lines

    def _alone(self, one: Exchange, time: str) -> bytes:
        return json_line(one, time, self._worker, self._sample if went_well(one) else None)

    def text(self, exchanges: Sequence[Exchange], ahead: float) -> list[bytes]:
        """Return the lines for people. See `json`."""
        sample, clock = self._sample, self._clock.text
        return [
            text_line(one, clock((one.closed or 0.0) + ahead), self._worker, sample if went_well(one) else None)
            for one in exchanges
        ]

    def _template_of(self, one: Exchange, attempt: Attempt) -> bytes:
        """Return what the line has in common with others, b"" where it is not made so."""
        if (
            one.outcome is not _OK
            or attempt.outcome is not _TRY_OK
            or not one.known_model
            or one.error is not None
            or (one.path or one.param or one.client_cert or one.queued or one.headers)
            or (one.resumed or one.hedged or one.session is not None)
        ):
            return b""
        rules, told = (*one.rules,) if one.rules else (), one.tokens is not None
        way = (one.method, one.route, one.model, one.stream, one.status, rules, attempt.backend, attempt.status, told)
        return self._templates.get(way) or self._keep(way, one)

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
        elif name != "trace":  # behind the id
            pieces.append(_escaped({name: value}) if room is None else b'"%b":%b' % (name.encode(), room))
    return b"{%b}\n" % b",".join(pieces)


def _escaped(fields: dict[str, Any]) -> bytes:
    """Return fields without the braces around them, as a part of a template."""
    return encode(fields)[1:-2].replace(b"%", b"%%")


def _may_break(exchanges: Sequence[Exchange]) -> bool:
    """Return whether something in an id or an address may have to be escaped; looked for in all of them at once."""
    names = "".join([f"{one.id}{one.client}" for one in exchanges])
    return bool(names.encode(errors="replace").translate(None, PLAIN))
