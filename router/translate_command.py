"""`devstral-router translate`: what a backend would be sent, or what a client would get, and which rule changed what.

The result goes to standard output: the very bytes in a pipe, set out in lines on a terminal. The listing of rules goes
to standard error, so that both can be read at once.
"""

import argparse
import contextlib
import os
import re
import secrets
import string
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from router.errors import AnswerError, InvalidRequest
from router.relay.envelope import peek_json
from router.translate.asked import AnswerForm, Asked, ReasoningField
from router.translate.listing import changed, lines, printable, told_profile
from router.translate.mistral.answer import translate_answer
from router.translate.mistral.asked_reader import asked_of
from router.translate.mistral.request import translate
from router.translate.mistral.stream import StreamTranslator
from router.translate.mistral.surrogates import mend_surrogates
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, Profile, parse_profile
from router.translate.refusals import envelope, told, told_of_event
from router.wire.sse import BOM, EventSplitter, encode_event, event_data, event_name, split_events

DONE, UNUSABLE, USAGE = 0, 1, 2
REFUSED = "unsupported_value"  # the code of what R37 refuses

_PLAIN = AnswerForm()
_LETTERS = string.ascii_letters + string.digits
_HTTP_HEAD = re.compile(rb"HTTP/[\d.]+ (\d{3})[^\n]*\n(?:[^\r\n][^\n]*\n)*\r?\n")  # as `curl -i` writes it
_STREAM = re.compile(rb"(?:data|event|id|retry)?:")
_EPILOG = """\
examples:
  devstral-router translate --explain < request.json
  devstral-router translate --profile "mistral-common v13, vision, no bridge" < request.json
  devstral-router translate < request.json | curl --data-binary @- -H 'Content-Type: application/json' \\
      http://127.0.0.1:8000/v1/chat/completions
  devstral-router translate --answer --request request.json --explain < answer.txt

--answer tells JSON from a stream by its first bytes; the head that `curl -i` writes may stand in front. Without
--request the answer counts as one to a request that has the tools it calls and asks for usage.

Exit code 1: the request would be refused, and the error that the client would get is printed instead; or what was read
is no answer. 2: the command line is wrong, or there is no answer to read.
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
    parser.add_argument("file", nargs="?", help=argparse.SUPPRESS)  # only to say that it is read from standard input
    parser.add_argument(
        "--profile",
        type=_profile,
        default=STRICTEST,
        metavar="P",
        help=f"the backend's: what /health tells as `profile`, or {', '.join(PRESETS)} (strictest)",
    )
    parser.add_argument("--explain", action="store_true", help="list every rule that changed something, and where")
    parser.add_argument("--answer", action="store_true", help="what is read is a backend's answer, JSON or a stream")
    parser.add_argument("--request", metavar="FILE", help="with --answer: the client's request that it answers")
    parser.add_argument(
        "--reasoning",
        choices=[field.value for field in ReasoningField],
        help=f"with --answer: as translation.reasoning ({_PLAIN.reasoning.value})",
    )
    parser.add_argument("--call-index", action="store_true", help="with --answer: as translation.tool_call_index")


def run(arguments: argparse.Namespace) -> int:
    """Read, translate, print; return the exit code."""
    try:
        _check_flags(arguments)
        request = None if arguments.request is None else _read_request(arguments.request)
        data = _read_input("an answer" if arguments.answer else "a request")
        if arguments.answer and not data.strip():
            raise _Usage("standard input is empty; an answer was expected, as in: --answer < answer.txt")
    except _Usage as wrong:
        _tell([f"devstral-router translate: {wrong}"])
        return USAGE
    if arguments.answer:
        reasoning = _PLAIN.reasoning if arguments.reasoning is None else ReasoningField(arguments.reasoning)
        form = AnswerForm(reasoning, call_index=arguments.call_index)
        shown = show_answer(data, request, profile=arguments.profile, form=form)
    else:
        shown = show_request(data, profile=arguments.profile)
    try:
        return _print(shown, explain=arguments.explain)
    except OSError as error:
        return _give_up(error)


class _Usage(Exception):
    """The command line cannot be followed; the text says why."""


def _profile(text: str) -> Profile:
    try:
        return parse_profile(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _check_flags(arguments: argparse.Namespace) -> None:
    """Raise _Usage for what does not go together."""
    if arguments.file is not None:
        raise _Usage(f"it reads standard input: devstral-router translate < {arguments.file}")
    if arguments.answer:
        return
    for flag, given in (
        ("--request", arguments.request is not None),
        ("--reasoning", arguments.reasoning is not None),
        ("--call-index", arguments.call_index),
    ):
        if given:
            raise _Usage(f"{flag} goes with --answer; without it a request is read, from standard input")


def _read_request(path: str) -> bytes:
    """Return the client's request that an answer is for. Raises _Usage where it is none."""
    try:
        with open(path, "rb") as file:
            request = file.read()
        peek_json(mend_surrogates(request))
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise _Usage(f"{path} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    except InvalidRequest as refusal:
        raise _Usage(f"{path} is no request: {refusal.message}") from None
    return request


def _read_input(what: str) -> bytes:
    """Return what standard input holds. Raises _Usage where it cannot be read."""
    if sys.stdin is None:
        raise _Usage(f"standard input is closed; {what} was expected there")
    if sys.stdin.isatty():
        _tell([f"reading {what} from the terminal; end it with Ctrl-D"])
    try:
        return sys.stdin.buffer.read()
    except OSError as error:
        raise _Usage(f"standard input cannot be read: {error.strerror}") from None


def _print(shown: Shown, *, explain: bool) -> int:
    """Print the listing and the result. Raises OSError where nobody can take it."""
    if explain:
        _tell(shown.listing)
    _tell(shown.notes)
    if shown.out:
        if sys.stdout is None:
            raise OSError(0, "it is closed")
        sys.stdout.buffer.write(set_out(shown.out) if sys.stdout.isatty() else shown.out)
        sys.stdout.buffer.flush()
    return shown.code


def _give_up(error: OSError) -> int:
    """Say that the output cannot be written, once: what is left of it goes nowhere when the process ends."""
    if sys.stdout is not None:
        with contextlib.suppress(OSError, ValueError):  # ValueError: it is no file
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    _tell([f"devstral-router translate: the output cannot be written: {error.strerror}"])
    return UNUSABLE


def show_request(body: bytes, *, profile: Profile = STRICTEST) -> Shown:
    """Return what a backend would be sent, or the refusal that the client would get."""
    try:
        peek_json(mend_surrogates(body))
        translated = translate(body, profile, explain=True)
    except InvalidRequest as refusal:
        listing = ["The request is refused."]
        if refusal.code == REFUSED:
            place = printable(refusal.param or "")
            listing += ["", f"{Rule.R37.name}  {Rule.R37.value}: {place}".removesuffix(": ")]
        return Shown(_line(orjson.dumps(refusal.envelope())), tuple(listing), code=UNUSABLE)
    changes = changed(body, translated.body, names=translated.asked.names)
    listing = [*told_profile(profile), *lines(translated.notes, "request", changes=changes)]
    return Shown(_line(translated.body), tuple(listing))


def show_answer(
    data: bytes, request: bytes | None = None, *, profile: Profile = STRICTEST, form: AnswerForm = _PLAIN
) -> Shown:
    """Return what the client would get of a backend's answer, JSON or a stream. `request`: the client's own."""
    status, body = _without_head(data)
    if _STREAM.match(body):
        return _show_stream(body, _asked(request, profile, answer=body), form)
    error = _error(status, body)
    if error is not None:
        listing = "The answer is an error. It takes OpenAI's form, with the status that the table of errors gives it."
        return Shown(_line(orjson.dumps(error)), (listing,))
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError as fault:
        note = (
            f"What was read is neither JSON nor a stream of events ({fault}). Of an error, give the head too: curl -i."
        )
        return Shown(b"", notes=(note,), code=UNUSABLE)
    if not _is_chat_answer(payload):
        return Shown(_line(body), notes=("note: this is no chat answer; the router passes it as it is",))
    asked = _asked(request, profile, answer=body)
    try:
        out, notes = translate_answer(body, asked, form=form, new_id=_new_id, explain=True)
    except AnswerError as broken:
        return Shown(_line(orjson.dumps(broken.envelope())), (f"The client gets an error: {broken.message}",))
    return Shown(_line(out), tuple(lines(notes, "answer")))


def set_out(body: bytes) -> bytes:
    """Return JSON in lines, for a terminal; what is no JSON as it is."""
    try:
        return orjson.dumps(orjson.loads(body), option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)
    except (orjson.JSONDecodeError, orjson.JSONEncodeError):
        return body


def _show_stream(body: bytes, asked: Asked, form: AnswerForm) -> Shown:
    translator = StreamTranslator(asked, form=form, new_id=_new_id, is_fast=False)
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


def _asked(request: bytes | None, profile: Profile, *, answer: bytes) -> Asked:
    """Return what the request asks for; without one, what the answer lets suppose."""
    if request is None:
        return Asked(tools=frozenset(_called(answer)), stream=True, include_usage=True)
    try:
        return translate(request, profile).asked
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
    return None


def _is_chat_answer(payload: object) -> bool:
    """Return whether it is an answer that rules are for; what else has choices is of another route."""
    choices = payload.get("choices") if isinstance(payload, dict) else None
    return isinstance(choices, list) and _object(payload).get("object", "chat.completion") == "chat.completion"


def _line(body: bytes) -> bytes:
    return body if body.endswith(b"\n") else body + b"\n"


def _new_id() -> str:
    return "".join(secrets.choice(_LETTERS) for _ in range(9))


def _tell(texts: Iterable[str]) -> None:
    """Write lines to standard error, if anybody takes them."""
    if sys.stderr is not None:
        with contextlib.suppress(OSError):
            for text in texts:
                sys.stderr.write(text + "\n")
            sys.stderr.flush()
