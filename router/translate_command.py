"""`devstral-router translate`: what a backend would be sent, or what a client would get, and which rule changed what.

The result goes to standard output: the very bytes in a pipe, set out in lines on a terminal. The listing of rules goes
to standard error, so that both can be read at once.
"""

import argparse
import re
import secrets
import string
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from router.errors import AnswerError, InvalidRequest
from router.translate.asked import Asked
from router.translate.mistral.answer import translate_answer
from router.translate.mistral.asked_reader import asked_of
from router.translate.mistral.request import translate
from router.translate.mistral.stream import StreamTranslator
from router.translate.notes import Notes, Rule, Step
from router.translate.profile import PRESETS
from router.translate.refusals import envelope, told, told_of_event
from router.wire.sse import BOM, EventSplitter, encode_event, event_data, event_name, split_events

DONE, UNUSABLE = 0, 1
SHOWN_PLACES = 20  # of one rule; a long conversation has the same change in every message
SHOWN_PATH = 120  # characters
DEFAULT_PROFILE = "strictest"

_LETTERS = string.ascii_letters + string.digits
_HTTP_HEAD = re.compile(rb"HTTP/[\d.]+ (\d{3})[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")  # as `curl -i` writes it
_STREAM = re.compile(rb"(?:data|event|id|retry)?:")
_EPILOG = """\
examples:
  devstral-router translate --explain < request.json
  devstral-router translate < request.json | curl --data-binary @- -H 'Content-Type: application/json' \\
      http://127.0.0.1:8000/v1/chat/completions
  devstral-router translate --answer --request request.json --explain < answer.txt

--answer tells JSON from a stream by its first bytes; the head that `curl -i` writes may stand in front. Without
--request the answer counts as one to a request that has the tools it calls and asks for usage.

Exit code 1: the request would be refused; the error that the client would get is printed instead.
"""


@dataclass(frozen=True, slots=True)
class Shown:
    """What one run prints."""

    out: bytes
    listing: tuple[str, ...] = ()  # with --explain
    notes: tuple[str, ...] = ()  # always
    code: int = DONE


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags."""
    parser.description = (
        "Read a chat request (or, with --answer, an answer) from standard input; print its translation."
    )
    parser.epilog = _EPILOG
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    names = ", ".join(PRESETS)
    parser.add_argument(
        "--profile", choices=PRESETS, default=DEFAULT_PROFILE, metavar="P", help=f"the backend's: {names} (%(default)s)"
    )
    parser.add_argument("--explain", action="store_true", help="list every rule that changed something, and where")
    parser.add_argument("--answer", action="store_true", help="what is read is a backend's answer, JSON or a stream")
    parser.add_argument("--request", metavar="FILE", help="with --answer: the client's request that it answers")


def run(arguments: argparse.Namespace) -> int:
    """Read, translate, print; return the exit code."""
    request = None
    if arguments.request is not None:
        if not arguments.answer:
            return _fail("--request goes with --answer; a request to translate comes from standard input")
        try:
            with open(arguments.request, "rb") as file:
                request = file.read()
        except (OSError, ValueError) as error:  # ValueError: a NUL in the path
            return _fail(f"{arguments.request} cannot be read: {getattr(error, 'strerror', error)}")
    if sys.stdin.isatty():
        what = "an answer" if arguments.answer else "a request"
        _tell([f"reading {what} from the terminal; end it with Ctrl-D"])
    data = sys.stdin.buffer.read()
    if arguments.answer:
        shown = show_answer(data, request, profile=arguments.profile)
    else:
        shown = show_request(data, profile=arguments.profile)
    if arguments.explain:
        _tell(shown.listing)
    _tell(shown.notes)
    sys.stderr.flush()
    sys.stdout.flush()
    sys.stdout.buffer.write(set_out(shown.out) if sys.stdout.isatty() else shown.out)
    sys.stdout.buffer.flush()
    return shown.code


def show_request(body: bytes, *, profile: str = DEFAULT_PROFILE) -> Shown:
    """Return what a backend would be sent, or the refusal that the client would get."""
    try:
        translated = translate(body, PRESETS[profile], explain=True)
    except InvalidRequest as refusal:
        place = _printable(refusal.param or "")
        rule = f"{Rule.R37.name}  {Rule.R37.value}: {place}".removesuffix(": ")
        return Shown(_line(orjson.dumps(refusal.envelope())), ("The request is refused.", "", rule), code=UNUSABLE)
    listing = [f"Profile {profile}: {PRESETS[profile].describe()}.", *lines(translated.notes, "request")]
    return Shown(_line(translated.body), tuple(listing))


def show_answer(data: bytes, request: bytes | None = None, *, profile: str = DEFAULT_PROFILE) -> Shown:
    """Return what the client would get of a backend's answer, JSON or a stream. `request`: the client's own."""
    status, body = _without_head(data)
    if _STREAM.match(body):
        return _show_stream(body, _asked(request, profile, answer=body))
    error = _error(status, body)
    if error is not None:
        listing = "The answer is an error. It takes OpenAI's form, with the status that the table of errors gives it."
        return Shown(_line(orjson.dumps(error)), (listing,))
    try:
        out, notes = translate_answer(body, _asked(request, profile, answer=body), new_id=_new_id, explain=True)
    except AnswerError as broken:
        return Shown(_line(orjson.dumps(broken.envelope())), (f"The client gets an error: {broken.message}",))
    return Shown(_line(out), tuple(lines(notes, "answer")))


def lines(notes: Notes, what: str) -> list[str]:
    """Return the listing: rule by rule what was changed, where, and whether something of it got lost."""
    if not notes.repaired:
        return [f"Nothing had to change in the {what}."]
    count = len(notes.repaired)
    lost = ", and something of it got lost (!)" if notes.lost else ""
    found = [f"{count} rule{'s' if count > 1 else ''} changed the {what}{lost}:"]
    for rule in Rule:
        if rule in notes.repaired:
            found += ["", f"{rule.name:4} {rule.value}{' (!)' if rule in notes.lost else ''}"]
            found += _places([step for step in notes.steps or () if step.rule is rule])
    return found


def set_out(body: bytes) -> bytes:
    """Return JSON in lines, for a terminal; what is no JSON as it is."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body


def _show_stream(body: bytes, asked: Asked) -> Shown:
    translator = StreamTranslator(asked, new_id=_new_id, is_fast=False)
    translator.notes.steps = []
    splitter = EventSplitter(len(body))
    out = [translator.feed(event) for event in split_events(splitter.feed(body))]
    rest = splitter.finish()
    out.append(translator.finish())
    stream = _with_told_error(b"".join(out), translator.notes)
    notes = []
    if rest.strip():
        notes.append("note: the stream ends within an event, which a client does not get")
    last = split_events(stream)[-1:]
    if not any(event_data(event) == b"[DONE]" or b'"error"' in event for event in last):
        notes.append("note: the stream has no [DONE]; the router would end it with an error event")
    return Shown(stream, tuple(lines(translator.notes, "stream")), tuple(notes))


def _with_told_error(stream: bytes, notes: Notes) -> bytes:
    """S18: return the stream with the backend's error in OpenAI's form, if it has one, and nothing behind that."""
    events = split_events(stream)
    for number, event in enumerate(events):
        payload = _object(event_data(event))
        if payload.get("error") or payload.get("object") == "error" or event_name(event) == "error":
            last = encode_event(orjson.dumps(envelope(told_of_event(payload))))
            if events[number:] != [last]:
                notes.repair(Rule.S18, "error")
            return b"".join([*events[:number], last])
    return stream


def _asked(request: bytes | None, profile: str, *, answer: bytes) -> Asked:
    """Return what the request asks for; without one, what the answer lets suppose."""
    if request is None:
        return Asked(tools=frozenset(_called(answer)), stream=True, include_usage=True)
    try:
        return translate(request, PRESETS[profile]).asked
    except InvalidRequest:
        return asked_of(request)


def _called(answer: bytes) -> Iterator[str]:
    """Yield the names of the functions that an answer calls."""
    events = map(event_data, split_events(answer)) if _STREAM.match(answer) else [answer]
    for choice in _objects(payload.get("choices") for payload in map(_object, events)):
        for call in _objects(_object(choice.get(key)).get("tool_calls") for key in ("message", "delta")):
            name = _object(call.get("function")).get("name")
            if isinstance(name, str):
                yield name.strip()


def _object(value: object) -> dict[str, Any]:
    """Return the object that a value is, or is the text of, else an empty one."""
    if isinstance(value, bytes):
        try:
            value = orjson.loads(value)
        except orjson.JSONDecodeError:
            return {}
    return value if isinstance(value, dict) else {}


def _objects(lists: Iterable[object]) -> Iterator[dict[str, Any]]:
    for items in lists:
        if isinstance(items, list):
            yield from (item for item in items if isinstance(item, dict))


def _without_head(data: bytes) -> tuple[int | None, bytes]:
    """Return the status, where the head of the answer stands in front, and the answer itself."""
    status = None
    data = data.removeprefix(BOM).lstrip()
    while head := _HTTP_HEAD.match(data):  # several, as with "100 Continue"
        status = int(head[1])
        data = data[head.end() :]
    return status, data.lstrip()


def _error(status: int | None, body: bytes) -> object | None:
    """Return OpenAI's error object for an answer that is an error, None for any other."""
    if status is not None and status >= 400:
        return envelope(told(status, body, we_hold_key=False))
    payload = _object(body)
    if payload.get("error") or payload.get("object") == "error" or ("detail" in payload and "choices" not in payload):
        return envelope(told_of_event(payload))
    if body.startswith((b"{", b"[")):
        return None
    return envelope(told(502, body, we_hold_key=False))


def _places(steps: list[Step]) -> Iterator[str]:
    """Yield a line for each place, a few of them if there are many; losses are marked, and how often in a stream."""
    counted = Counter((step.where, step.is_loss) for step in steps)
    for (where, is_loss), count in list(counted.items())[:SHOWN_PLACES]:
        times = f" ({count} times)" if count > 1 else ""
        yield f"       {_printable(where) or 'the whole'}{times}{' (!)' if is_loss else ''}"
    if len(counted) > SHOWN_PLACES:
        yield f"       and {len(counted) - SHOWN_PLACES} more"


def _printable(path: str) -> str:
    """Return a path fit for a terminal: names in it are the client's own."""
    text = "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in path)
    return text if len(text) <= SHOWN_PATH else text[: SHOWN_PATH - 1] + "…"


def _line(body: bytes) -> bytes:
    return body if body.endswith(b"\n") else body + b"\n"


def _new_id() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def _tell(texts: Iterable[str]) -> None:
    for text in texts:
        sys.stderr.write(text + "\n")


def _fail(text: str) -> int:
    _tell([f"devstral-router translate: {text}"])
    return UNUSABLE
