"""The translators: any body of a request, answer or stream through the Mistral dialect.

The first byte of a case chooses what follows, the second one the profile, or what was asked.

- A request is refused with `InvalidRequest`, or what goes out is JSON with the same model and stream, and needs no
  translation any more.
- An answer is JSON where it was; `BackendUnavailable` is all that is raised. Quick ways and slow ones say the same.
- A stream's translation depends neither on where it was cut nor on what was learned; only whole events go out, what
  was JSON is JSON, and nothing follows the end.
"""

import json
import re
from typing import Any

from router.errors import BackendUnavailable, InvalidRequest
from router.relay.envelope import peek_json
from router.translate.asked import AnswerForm, Asked, ReasoningField, ToolChoice
from router.translate.mistral.answer import read_answer, translate_answer
from router.translate.mistral.asked_reader import asked_of
from router.translate.mistral.emulate import as_stream
from router.translate.mistral.request import translate
from router.translate.mistral.stream import StreamTranslator
from router.translate.mistral.unstreamed import unstreamed
from router.wire.sse import EventSplitter, event_data, split_events
from tests.fuzz.seeds import translation_seeds
from tests.fuzz.target import Target, dice_of, no_errors, pieces
from tests.translate.cases import new_ids
from tests.translate.targets import PROFILES

REQUEST, ANSWER, STREAM = b"R", b"A", b"S"
TOOLS = frozenset({"get_weather", "lookup"})
ASKED = (
    Asked(),
    Asked(tools=TOOLS, stream=True, include_usage=True),
    Asked(tools=TOOLS, names={"get_weather": "get weather!"}, stream=True, continuous_usage=True),
    Asked(tools=TOOLS, tool_choice=ToolChoice.NAMED, single_call=True, extras=frozenset({"token_ids", "stop_reason"})),
    Asked(tools=TOOLS, tool_choice=ToolChoice.NONE, include_usage=True),
)
HUGE = re.compile(rb"[0-9]{20}")
FORMS = (AnswerForm(), AnswerForm(ReasoningField.BOTH, call_index=True), AnswerForm(ReasoningField.OFF))
WORDS = (
    *(b'"role":"tool"', b'"role":"assistant"', b'"tool_calls":[]', b'"content":null'),
    *(b'"content":[{"type":"text","text":"a"}]', b'"arguments":"{}"', b'"arguments":{}', b'"id":1'),
    *(b'"function":{}', b'"tools":[]', b'"index":1', b'"delta":{}', b'"finish_reason":"error"'),
    *(b'"choices":[]', b'"usage":{}', b"[TOOL_CALLS]", b"[ARGS]", b"[THINK]", b"[/THINK]", b"data: "),
    *(b"data: [DONE]\n\n", b"\n\n", b"\r\n\r\n", b'{"error":{"message":"x"}}', b"null", b"NaN", b"1e400", b"[" * 200),
    *(b'{"a":' * 200, b"\\ud800", b"\\udc00", b"\\u0000", b"\xff", b'"logprobs":{}', b'"reasoning":"x"', b"[]"),
)


def run(data: bytes) -> None:
    """See the module's docstring."""
    kind, chosen, body = data[:1], data[1] if len(data) > 1 else 0, data[2:]
    with no_errors("router"):
        if kind == REQUEST:
            check_request(body, chosen)
        elif kind == ANSWER:
            check_answer(body, chosen)
        else:
            check_stream(body, chosen)


def check_request(body: bytes, chosen: int) -> None:
    """Translate a request, and its translation again."""
    profile = list(PROFILES.values())[chosen % len(PROFILES)]
    try:
        done = translate(body, profile)
    except InvalidRequest:
        return
    sent = json.loads(done.body)
    assert isinstance(sent, dict)
    before = _loaded(body)
    if before is not None and "model" in before:
        assert sent.get("model") == before["model"]
        assert sent.get("stream") == before.get("stream")
    again = translate(done.body, profile)
    assert again.body is done.body, sorted(rule.name for rule in again.notes.repaired)
    asked_of(done.body)
    try:
        peek_json(done.body)
    except InvalidRequest:
        return
    assert not json.loads(unstreamed(done.body)).get("stream")


def _loaded(body: bytes) -> dict[str, Any] | None:
    """Return a body as an object, None where it is none; a half of a surrogate pair may have been mended."""
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict) and b"\\ud" not in body.lower() else None


def check_answer(body: bytes, chosen: int) -> None:
    """Translate an answer, quickly and slowly, and its translation again."""
    asked, form = ASKED[chosen % len(ASKED)], FORMS[chosen % len(FORMS)]
    outcomes = []
    for is_fast in (True, False):
        try:
            outcomes.append(translate_answer(body, asked, form=form, new_id=new_ids(), is_fast=is_fast)[0])
        except BackendUnavailable as error:
            outcomes.append(str(error).encode())
    # Of whole numbers beyond 64 bits a slow way makes fractions, and takes them for no numbers of tokens.
    if (outcomes[0] is not body or outcomes[1] is not body) and not HUGE.search(body):
        assert _same(outcomes[0], outcomes[1]), outcomes
    out = outcomes[0]
    if out is not body and out[:1] == b"{":
        json.loads(out)
    stream = as_stream(read_answer(out), asked)
    assert stream is out or all(_is_whole(event) for event in split_events(stream))


def check_stream(body: bytes, chosen: int) -> None:
    """Translate a stream whole, cut anywhere, and without learning."""
    asked, form = ASKED[chosen % len(ASKED)], FORMS[chosen % len(FORMS)]
    whole = translated([body], asked, form, is_fast=True)
    cut = translated(pieces(body, dice_of(body)), asked, form, is_fast=True)
    slow = translated([body], asked, form, is_fast=False)
    assert _said(cut) == _said(whole), "it depends on where the bytes were cut"
    assert [_payload(event) for event in _said(slow)] == [_payload(event) for event in _said(whole)]
    assert all(_is_whole(event) for event in split_events(whole))
    before = {event_data(event) for event in split_events(body)}
    ended = False
    for event in split_events(whole):
        data = event_data(event)
        if data is None:
            continue
        assert not ended, "events behind the end"
        if data not in before:
            json.loads(data)
        ended = data.strip() == b"[DONE]" and b"error" not in whole


def translated(parts: list[bytes], asked: Asked, form: AnswerForm, *, is_fast: bool) -> bytes:
    """Return what becomes of a stream's whole events."""
    splitter = EventSplitter()
    translator = StreamTranslator(asked, form=form, new_id=new_ids(), is_fast=is_fast)
    out = [translator.feed(block) for piece in parts if (block := splitter.feed(piece))]
    return b"".join(out) + translator.finish()


def _said(stream: bytes) -> list[bytes]:
    """Return a stream's events; further empty lines mean nothing, wherever they stand."""
    return [said for event in split_events(stream) if (said := event.strip(b"\r\n"))]


def _payload(event: bytes) -> object:
    data = event_data(event)
    try:
        return None if data is None else json.loads(data)
    except (ValueError, RecursionError):
        return data


def _same(one: bytes, other: bytes) -> bool:
    try:
        return one == other or bool(json.loads(one) == json.loads(other))
    except (ValueError, RecursionError):
        return False


def _is_whole(event: bytes) -> bool:
    return event.endswith((b"\n", b"\r"))


TARGET = Target("translations", run, translation_seeds, WORDS, cases=40_000)
