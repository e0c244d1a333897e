"""Rules of router/relay/envelope.py."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.relay.envelope import Envelope, fill_json_model, peek_json

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(st.dictionaries(st.text(), JSON), st.booleans())
def test_what_json_says_is_what_is_peeked(fields: dict[str, object], stream: bool) -> None:
    """Differential: the standard library's parser reads the same model and stream."""
    body = json.dumps({**fields, "model": "m/ö", "stream": stream}).encode()
    assert peek_json(body) == Envelope("m/ö", stream)


def test_the_last_of_duplicate_keys_wins_as_in_vllm() -> None:
    body = b'{"model": "a", "stream": true, "model": "b", "stream": false}'
    assert peek_json(body) == Envelope(json.loads(body)["model"], json.loads(body)["stream"])


@pytest.mark.parametrize(
    ("body", "part"),
    [
        (b"", "no body"),
        (b'{"model": "a"', "not valid JSON"),
        (b"[]", "must be a JSON object"),
        (b'"x"', "must be a JSON object"),
        (b"null", "must be a JSON object"),
        (b"model=a", "not JSON"),
        (b'{"model": "a"} x', "not valid JSON"),
        (b'{"x": NaN}', "not valid JSON"),
        (b'{"x": "\xff"}', "not valid UTF-8"),
        (b'\xef\xbb\xbf{"model": "a"}', "not JSON"),
        ('{"model": "a"}'.encode("utf-16"), "not valid UTF-8"),
        (b'{"x": "\\ud800"}', "surrogate"),
        (b'{"x": ' + b"[" * 1_000_000, "nested too deeply"),
        (b'{"x": ' + b"[" * 1_000_000 + b"]" * 1_000_000 + b"}", "nested too deeply"),
        (b'{"model": 5}', "'model' must be a string"),
        (b'{"stream": "yes"}', "'stream' must be"),
    ],
)
def test_what_no_backend_could_take_is_refused_with_the_reason(body: bytes, part: str) -> None:
    with pytest.raises(InvalidRequest, match=part):
        peek_json(body)


@pytest.mark.parametrize("body", [b"{}", b'{"model": null}', b'{"model": ""}', b' { "stream": false } '])
def test_no_model_is_told_as_none(body: bytes) -> None:
    assert peek_json(body) == Envelope(None, False)


@given(st.dictionaries(st.text(), JSON), st.sampled_from([0, 1]))
def test_a_model_is_filled_in_and_nothing_else_changes(fields: dict[str, object], indent: int) -> None:
    fields = {name: value for name, value in fields.items() if name != "model"}
    filled = fill_json_model(b" " * indent + json.dumps(fields, indent=indent or None).encode(), "m")
    assert json.loads(filled) == {**fields, "model": "m"}


@pytest.mark.parametrize("given_model", ["null", '""'])
def test_an_empty_model_is_replaced(given_model: str) -> None:
    filled = fill_json_model(f'{{"model": {given_model}, "n": 1}}'.encode(), "m")
    assert json.loads(filled) == {"model": "m", "n": 1}


@pytest.mark.parametrize(
    "body",
    [
        b'{"x": 1e999, "b": {"model": 1}}',
        b'{"seed": 123456789012345678901234567890}',
        b'{"x": 1.0000000000000000000001, "y": -0, "z": 1E2}',
        b'{"a": ' + b"[" * 900 + b"]" * 900 + b"}",
        b'{"a": "{", "b": {"model": "inner"}}',
        b' {\n\t"a": "\\u00e4 \xc3\xa4"\r\n} \n',
        b'{"model": null, "n": 1}',
        b'{"model": "", "model": null}',
    ],
)
def test_filling_in_a_model_never_fails_and_keeps_all_other_bytes(body: bytes) -> None:
    assert peek_json(body).model is None
    filled = fill_json_model(body, 'm "ö"')
    kept = body.rstrip()[:-1].rstrip()
    assert filled.startswith(kept)
    assert filled[len(kept) :] == b', "model": "m \\"\xc3\xb6\\""}'
    assert peek_json(filled).model == 'm "ö"'


def test_an_empty_object_gets_its_model() -> None:
    assert json.loads(fill_json_model(b" {\n} ", "m")) == {"model": "m"}
