"""`trace`: a JSON file of each request and its answer. Written by a thread; what finds no room there is dropped."""

import logging
import time
import uuid
from collections.abc import Sequence
from typing import Protocol

from router.middleware.background import Background
from router.middleware.folder import Bounds, Folder
from router.middleware.interface import Call, Ending, Head, Middleware, Request
from router.middleware.record import Part, Record, Wanted, encoded
from router.observe.lines import Clock

log = logging.getLogger("router.middleware")

RECORD = "record"  # what the state of a call is kept under


class Settings(Protocol):
    """What is configured of it."""

    @property
    def directory(self) -> str: ...
    @property
    def include_headers(self) -> bool: ...
    @property
    def include_body(self) -> bool: ...
    @property
    def max_body_size(self) -> int: ...  # bytes of a body, or of a stream's events
    @property
    def redact_headers(self) -> Sequence[str]: ...
    @property
    def max_files(self) -> int | None: ...
    @property
    def max_total_size(self) -> int | None: ...  # bytes
    @property
    def max_age(self) -> float | None: ...  # seconds


class Trace(Middleware):
    """Gathers records, and hands each on when its exchange is over."""

    def __init__(self, settings: Settings) -> None:
        """Make the folder if it is not there. Raises OSError."""
        self._room = settings.max_body_size if settings.include_body else 0
        secret = frozenset(name.lower() for name in settings.redact_headers)
        self._wanted = Wanted(settings.include_headers, settings.include_body, secret)
        bounds = Bounds(settings.max_files, settings.max_total_size, settings.max_age)
        self._folder = Folder(settings.directory, bounds, wall_clock=time.time)
        self._clock = Clock()  # of the thread
        self.background: Background[Record] = Background("trace", self._write)
        if self._folder.is_open_to_others:
            log.warning("trace: other users may look into %s: chmod 700 it", settings.directory)

    def on_request(self, call: Call, request: Request) -> None:
        """Begin a record."""
        asked, answer = Part(self._room), Part(self._room)
        if self._wanted.body and request.body:
            asked.add(request.body, is_event=False)
        method, path, query = request.method, request.path, request.query
        call.state[RECORD] = Record(
            call.id, call.began, method, call.scheme, path, query, request.headers, asked, answer
        )

    def on_response(self, call: Call, head: Head) -> None:
        """Note the head."""
        record = _of(call)
        record.status, record.told, record.is_stream = head.status, head.headers, head.is_stream

    def on_event(self, call: Call, data: bytes) -> None:
        """Keep a piece of the answer."""
        record = _of(call)
        if self._wanted.body:
            record.answer.add(data, is_event=record.is_stream)

    def on_end(self, call: Call, ending: Ending) -> None:
        """Hand the record on."""
        record = _of(call)
        record.ending, record.model = ending, call.model
        self.background.put(record, record.size)

    def close(self) -> None:
        """Let the thread write what it has, and end."""
        self.background.end()

    def _write(self, record: Record) -> None:
        when = self._clock.text(record.began)
        name = f"trace-{when.replace(':', '-').replace('.', '-')}-{uuid.uuid4().hex}.json"
        content = encoded(record, self._wanted, trace_id=str(uuid.uuid4()), when=self._clock.text)
        self._folder.write(name, content)


def _of(call: Call) -> Record:
    record = call.state[RECORD]
    assert isinstance(record, Record)
    return record
