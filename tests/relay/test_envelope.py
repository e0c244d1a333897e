"""Rules of router/relay/envelope.py."""

import json
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.relay.envelope import (
    MAX_PARTS,
    Envelope,
    fill_json_model,
    fill_multipart_model,
    peek_json,
    peek_multipart,
)

JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)
FORM = "multipart/form-data; boundary=xyz"


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + text + b"\r\n"
        for head, text in parts
    )
    return body + b"--xyz--\r\n"


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
        (b'{"x": ' + b"[" * 100_000, "nested too deeply"),
        (b'{"x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
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


def test_a_form_names_its_model_and_stream() -> None:
    body = form(
        ('name="file"; filename="a.wav"', b"RIFF\r\n--xy\r\n"), ('name="model"', b"whisper"), ('name="stream"', b"true")
    )
    assert peek_multipart(body, FORM) == Envelope("whisper", True)


def test_a_file_called_model_is_no_model() -> None:
    assert peek_multipart(form(('name="model"; filename="model"', b"x")), FORM) == Envelope(None, False)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(("name=a", b"1")), "multipart/form-data"),
        (b"nothing", FORM),
        (form(('name="model"', b"x" * 5000)), FORM),
        (form(('name="model"', b"x")).removesuffix(b"--xyz--\r\n")[:-2], FORM),
    ],
)
def test_a_broken_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidRequest):
        peek_multipart(body, content_type)


def test_a_form_gets_the_model_that_was_meant() -> None:
    body = form(('name="file"; filename="a"', b"\x00\xff"))
    filled = fill_multipart_model(body, FORM, "m")
    assert peek_multipart(filled, FORM).model == "m"
    assert filled.endswith(body)


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


@pytest.mark.parametrize("head", [b"", b'\r\nContent-Disposition: form-data; name="a"'])
def test_a_form_of_many_tiny_parts_is_refused_before_they_are_all_read(head: bytes) -> None:
    part = head + b"\r\n\r\n\r\n--xyz"
    body = b"--xyz" + part * (8 * 1024 * 1024 // len(part)) + b"--\r\n"
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="parts"):
        peek_multipart(body, FORM)
    assert time.perf_counter() - started < 1


def test_a_form_may_have_as_many_parts_as_the_bound_says() -> None:
    parts = [(f'name="p{number}"', b"1") for number in range(MAX_PARTS - 1)]
    assert peek_multipart(form(*parts, ('name="model"', b"m")), FORM).model == "m"
    with pytest.raises(InvalidRequest, match="parts"):
        peek_multipart(form(*parts, ('name="model"', b"m"), ('name="x"', b"1")), FORM)


@pytest.mark.parametrize("content_type", ["Multipart/Form-Data; Boundary=xyz", 'multipart/form-data; boundary="xyz"'])
def test_a_boundary_is_found_in_any_legal_spelling(content_type: str) -> None:
    assert peek_multipart(form(('name="model"', b"m")), content_type).model == "m"


@pytest.mark.parametrize("head", ['name="x; name=model"', 'name="x"; title="a; name=\\"model\\""', 'name="a\\"model"'])
def test_a_quoted_name_is_not_taken_apart(head: str) -> None:
    assert peek_multipart(form(('name="model"', b"m"), (head, b"other")), FORM).model == "m"


@pytest.mark.parametrize("head", ["name=model", 'name="model"; charset=utf-8', 'name="model" ', 'x=";"; name="model"'])
def test_a_models_part_is_found_in_any_legal_spelling(head: str) -> None:
    assert peek_multipart(form((head, b"m")), FORM).model == "m"


def test_what_stands_before_and_behind_a_form_means_nothing() -> None:
    body = form(('name="model"', b"m"))
    assert peek_multipart(b"preamble\r\n" + body, FORM).model == "m"
    assert peek_multipart(body + b"\r\nepilogue\r\n\r\nmore\r\n--xyz\r\n", FORM).model == "m"
