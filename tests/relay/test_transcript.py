"""Rules of router/relay/transcript.py; what it makes of whole streams is in test_kept.py."""

import json

import orjson
import pytest

from router.relay.transcript import Transcript, Unfit
from router.translate.mistral.limits import MAX_ANSWER_VALUES, MAX_REPEATED


def event(**choice: object) -> bytes:
    return b"data: " + json.dumps({"id": "a", "choices": [{"index": 0, **choice}]}).encode() + b"\n\n"


def test_a_text_of_many_events_counts_as_many() -> None:
    transcript = Transcript()
    transcript.take(event(delta={"content": "Gr"}), is_chat=True)
    transcript.take_text(r"üße \u00e4\n\\".encode(), 3)
    assert transcript.text == "Grüße ä\n\\"
    assert transcript.pieces == 4
    assert transcript.length == len(transcript.text.encode())
    assert transcript.unfit is None


@pytest.mark.parametrize("literal", [b"\xff", b"\\", b"\\x", b'"', b"a\nb"])
def test_a_text_that_is_no_json_string_cannot_be_continued(literal: bytes) -> None:
    transcript = Transcript()
    transcript.take_text(literal, 1)
    assert transcript.unfit is Unfit.UNREAD


@pytest.mark.parametrize("key", ["id", "model", "created"])
@pytest.mark.parametrize(
    ("value", "is_fit"), [("x" * MAX_REPEATED, True), ("x" * (MAX_REPEATED + 1), False), ([1], False)]
)
def test_what_each_event_of_a_continuation_tells_again_is_short(key: str, value: object, is_fit: bool) -> None:
    transcript = Transcript()
    data = json.dumps({"id": "a", "model": "m", "choices": [], key: value}).encode()
    transcript.take(b"data: " + data + b"\n\n", is_chat=True)
    assert transcript.unfit is (None if is_fit else Unfit.TOO_LONG)


def test_the_first_reason_stays() -> None:
    transcript = Transcript()
    transcript.take(event(delta={"tool_calls": [{}]}), is_chat=True)
    transcript.take_text(b"\\", 1)
    assert transcript.unfit is Unfit.NOT_TEXT


@pytest.mark.parametrize(
    ("text", "said", "missing"),
    [
        ("ur ", "ur <", "<"),
        ("ur <", "ur <", ""),
        ("", "[", "["),
        (" ", " [", "["),
        (" a", "a [", " ["),
        ("a", " a", ""),
        ("a", "a\ufffd", None),
        ("a\ufffd", "a\ufffd", ""),
        ("ab", "a", None),
        ("ab", "xab", None),
    ],
)
def test_what_is_missing_of_the_text_is_what_the_text_of_all_ids_says_beyond_it(
    text: str, said: str, missing: str | None
) -> None:
    transcript = Transcript()
    transcript.take(event(delta={"content": text}), is_chat=True)
    assert transcript.missing_of(said) == missing


@pytest.mark.parametrize(
    ("text", "said", "missing"),
    [
        ("ur ", " <", "<"),
        ("ur", "ur", ""),
        ("xur", "ur", ""),
        ("ur ", " [TO", "[TO"),
        ("ur", "</s>", ""),
        ("ur\u00e9", "\ufffd", ""),
        ("ur ", " \ufffd", ""),
        ("ur", "", ""),
    ],
)
def test_what_is_missing_of_the_last_token_is_what_goes_on_with_the_text(text: str, said: str, missing: str) -> None:
    transcript = Transcript()
    transcript.take(event(delta={"content": text}), is_chat=True)
    assert transcript.missing_of_last(said) == missing


@pytest.mark.parametrize(
    ("usage", "taken"),
    [
        ({"prompt_tokens": 9, "completion_tokens": 5}, (9, 5)),
        ({"completion_tokens": 5}, (None, 5)),
        *(({"prompt_tokens": odd, "completion_tokens": 5}, (None, 5)) for odd in ("9", None, [9], True, -9, 1 << 62)),
        *(({"prompt_tokens": 9, "completion_tokens": odd}, (None, None)) for odd in ("5", None, {}, True, -5, 1 << 62)),
    ],
)
def test_only_numbers_of_tokens_are_taken_for_such(
    usage: dict[str, object], taken: tuple[int | None, int | None]
) -> None:
    transcript = Transcript()
    transcript.take(b"data: " + orjson.dumps({"choices": [], "usage": usage}) + b"\n\n", is_chat=True)
    assert transcript.unfit is None
    assert (transcript.prompt_tokens, transcript.completion_tokens) == taken


def test_an_event_that_holds_too_much_to_be_read_cannot_be_continued() -> None:
    transcript = Transcript()
    transcript.take(b'data: {"choices":[%b0]}\n\n' % (b"0," * MAX_ANSWER_VALUES), is_chat=True)
    assert transcript.unfit is Unfit.UNREAD
