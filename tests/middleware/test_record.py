"""Rules of router/middleware/record.py: what a trace tells, in which order, and what it never does."""

import json
from typing import Any

import pytest

from router.middleware.interface import Ending, Headers
from router.middleware.record import LEAST, MAX_DEPTH, MAX_SET, Part, Record, Wanted, encoded
from router.observe.lines import Clock

ALL = Wanted(headers=True, body=True, secret=frozenset({"x-mine"}))
HEADERS: Headers = (
    ("Host", "router:9000"),
    ("Authorization", "Bearer canary-1"),
    ("Cookie", "a=canary-2"),
    ("X-Api-Key", "canary-3"),
    ("X-Mine", "canary-4"),
    ("X-Note", "key sk-canary_5 and https://user:canary-6@h/?q=canary-7"),
    ("Accept", "a"),
    ("accept", "b"),
)


def part(*pieces: bytes, room: int = 1000, is_event: bool = False) -> Part:
    one = Part(room)
    for piece in pieces:
        one.add(piece, is_event=is_event)
    return one


def record(**changes: object) -> Record:
    asked, answer, path = part(b'{"a": 1}'), part(b'{"b": 2}'), "/v1/chat/completions"
    one = Record("id-1", 1769903999.123, "POST", "http", path, "", HEADERS, asked, answer)
    one.status, one.told, one.model = 200, (("Set-Cookie", "canary-8"), ("Content-Type", "application/json")), "m"
    one.ending = Ending("ok", 200, None, 0.8125, 0.1, (1, 2), (("b1", "cut"), ("b2", "ok")))
    for name, value in changes.items():
        setattr(one, name, value)
    return one


def told(one: Record, wanted: Wanted = ALL) -> dict[str, Any]:
    text = encoded(one, wanted, trace_id="t-1", when=Clock().text)
    assert b"canary" not in text
    return dict(json.loads(text))


def test_keys_stand_in_the_documented_order() -> None:
    found = told(record())

    names = ["timestamp", "request", "response", "duration_ms", "outcome", "error", "attempts", "trace_id"]
    assert list(found) == [*names, "request_id", "model"]
    assert list(found["request"]) == ["method", "url", "headers", "body", "query_params"]
    assert list(found["response"]) == ["status_code", "headers", "body", "chunks", "is_streaming"]
    text = encoded(record(), ALL, trace_id="t", when=Clock().text)
    assert text.startswith(b'{\n  "timestamp": "2026-01-31T23:59:59.12')


def test_a_session_is_named_at_the_end_where_there_is_one() -> None:
    found = told(record(session="9da5d4fe58297d47"))

    assert list(found)[-2:] == ["model", "session"]
    assert found["session"] == "9da5d4fe58297d47"


def test_json_bodies_are_parsed_and_a_plain_answer_is_no_stream() -> None:
    found = told(record())

    assert found["timestamp"].endswith("Z")
    assert found["request"]["body"] == {"a": 1}
    assert found["response"]["body"] == {"b": 2}
    assert (found["response"]["chunks"], found["response"]["is_streaming"]) == ([], False)
    assert (found["duration_ms"], found["trace_id"], found["request_id"]) == (812.5, "t-1", "id-1")
    assert found["attempts"] == [{"backend": "b1", "outcome": "cut"}, {"backend": "b2", "outcome": "ok"}]


def test_other_bodies_are_text_whatever_their_bytes() -> None:
    found = told(record(asked=part(b"\xff\xfex\0"), answer=part(b'{"half', b'": "\\ud800"}')))

    assert found["request"]["body"] == "\ufffd\ufffdx\0"
    assert found["response"]["body"] == '{"half": "\\ud800"}'


@pytest.mark.parametrize(
    "raw",
    [
        b"[" * 500 + b"]" * 500,
        b'{"large": "' + b"x" * MAX_SET + b'", "n": 123456789012345678901234567890}',
    ],
    ids=["deep", "large"],
)
def test_a_body_that_is_deep_or_large_is_json_too(raw: bytes) -> None:
    assert told(record(answer=part(raw, room=1 << 20)))["response"]["body"] == json.loads(raw)


def test_json_is_told_to_the_letter_and_set_in_lines() -> None:
    raw = b'{"seed":123456789012345678901234567890,"model":"a","model":"b","x":[1.10,"[{"]}'
    text = encoded(record(asked=part(raw)), ALL, trace_id="t", when=Clock().text)

    told_raw = text.partition(b'"body": ')[2].partition(b',\n    "query_params"')[0]
    assert b"".join(line.strip().replace(b": ", b":") for line in told_raw.splitlines()) == raw
    assert b'\n      "model": "a",\n      "model": "b",\n' in text


def test_a_deep_body_does_not_grow_beyond_measure() -> None:
    """Set in lines, each of its brackets would stand behind as many blanks as it is deep."""
    deep = b"[" * (2 * MAX_DEPTH) + b"]" * (2 * MAX_DEPTH)
    raw = b"[" + b",".join([deep] * (MAX_SET // (4 * MAX_DEPTH + 1) - 1)) + b"]"
    text = encoded(record(asked=part(raw, room=MAX_SET)), ALL, trace_id="t", when=Clock().text)

    assert len(text) < len(raw) + 5000
    assert json.loads(text)["request"]["body"] == json.loads(raw)


def test_a_model_with_half_of_a_surrogate_pair_is_told_escaped() -> None:
    assert told(record(model="m\ud800"))["model"] == "m\\ud800"


def test_a_large_body_that_is_no_json_is_text() -> None:
    raw = b'{"large": "' + b"x" * MAX_SET

    assert told(record(answer=part(raw, room=1 << 20)))["response"]["body"] == raw.decode()


def test_every_event_of_a_stream_is_kept() -> None:
    events = [b'data: {"x": %d}\n\n' % number for number in range(300)]
    found = told(record(is_stream=True, answer=part(*events, room=20_000, is_event=True)))["response"]

    assert found["chunks"] == [event.decode() for event in events]
    assert (found["body"], found["is_streaming"]) == (None, True)
    assert "truncated" not in found


def test_beyond_the_cap_the_beginning_of_a_stream_is_kept_and_nothing_of_a_body() -> None:
    stream = told(record(is_stream=True, answer=part(b"data: 1\n\n", b"data: 2\n\n", b"x", room=10, is_event=True)))
    body = told(record(answer=part(b"12345", b"678901", b"2", room=10), asked=part(b"12345678901", room=10)))

    assert stream["response"]["chunks"] == ["data: 1\n\n"]
    assert stream["response"]["truncated"] is True
    assert (body["response"]["body"], body["response"]["truncated"]) == (None, True)
    assert (body["request"]["body"], body["request"]["truncated"]) == (None, True)


def test_the_cap_bounds_the_number_of_events_too() -> None:
    """Each of them takes memory beside its text: a stream of empty ones would fill it."""
    one = part(*[b"\n\n"] * 1000, room=10 * LEAST, is_event=True)

    assert (len(one.pieces), one.is_truncated) == (10, True)


def test_secrets_in_headers_are_masked_and_repeated_headers_are_joined() -> None:
    found = told(record())

    headers = found["request"]["headers"]
    assert [headers[name] for name in ("authorization", "cookie", "x-api-key", "x-mine")] == ["[redacted]"] * 4
    assert headers["accept"] == "a, b"
    assert "user" not in headers["x-note"]
    assert found["response"]["headers"]["set-cookie"] == "[redacted]"


def test_secrets_in_the_query_are_masked_in_both_of_its_places() -> None:
    found = told(record(query="api_key=canary-1&x=a%20b&auth=sk-canary_2&empty="))["request"]

    assert found["query_params"] == {"api_key": "[redacted]", "x": "a b", "auth": "[redacted]", "empty": ""}
    assert found["url"].startswith("http://router:9000/v1/chat/completions?api_key=[redacted]&x=a+b")


def test_what_looks_like_a_key_is_masked_in_the_host_of_the_url_too() -> None:
    assert told(record(sent=(("Host", "sk-canary_123456789012"),)))["request"]["url"].startswith("http://[redacted]/v1/")


@pytest.mark.parametrize("headers", [True, False])
@pytest.mark.parametrize("body", [True, False])
def test_what_is_not_wanted_is_not_told(headers: bool, body: bool) -> None:
    found = told(record(), Wanted(headers, body, frozenset({"x-mine"})))

    assert (found["request"]["headers"] != {}) is headers
    assert (found["response"]["body"] is not None) is body
    assert (found["request"]["body"] is not None) is body


def test_a_client_that_left_before_an_answer_has_a_trace_without_one() -> None:
    ending = Ending("client_gone", 0, None, 1.0, None, None, ())
    found = told(record(status=0, ending=ending))

    assert found["response"] is None
    assert found["outcome"] == "client_gone"


def test_its_size_counts_bodies_and_headers() -> None:
    assert record(asked=part(b"x" * 900)).size > 900 + len(HEADERS) * 50
