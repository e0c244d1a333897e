"""The fast reader."""

import json

import pytest

from router.errors import InvalidRequest
from router.relay.envelope import peek_json
from router.translate.mistral.message import Assistant, Developer, System, Tool, User
from router.translate.mistral.shape import LOOKED_AT, read
from router.translate.mistral.top import KnownFields

HI = {"role": "user", "content": "hi"}


def body_of(**fields: object) -> bytes:
    return json.dumps({"messages": [HI], **fields}).encode()


def test_every_field_that_a_rule_looks_at_is_known() -> None:
    """A field that is not read would be taken for one that is not there."""
    assert set(KnownFields.__struct_fields__) >= LOOKED_AT


def test_model_stream_and_messages_are_read() -> None:
    roles = ("system", "developer", "user", "assistant", "tool")
    shape = read(body_of(model="m", stream=True, messages=[{"role": role, "content": "x"} for role in roles]))

    assert shape is not None
    assert (shape.model, shape.stream) == ("m", True)
    assert [type(message) for message in shape.messages] == [System, Developer, User, Assistant, Tool]


@pytest.mark.parametrize("fields", [{}, {"model": None, "stream": None}, {"model": "", "stream": False}])
def test_no_model_is_none_and_no_stream_is_false(fields: dict[str, object]) -> None:
    shape = read(body_of(**fields))

    assert shape is not None
    assert (shape.model, shape.stream) == (None, False)


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"[]",
        b"{",
        b'{"messages": 1}',
        b'{"messages": [{"role": "wizard"}]}',
        b'{"messages": [{"role": "user", "foo": 1}]}',
        b'{"messages": [{"role": "user", "content": "\xff"}]}',
        rb'{"messages": [{"role": "user", "content": "\ud800"}]}',
        b'{"model": 5}',
        b'{"stream": "yes"}',
        b'{"foo": 1, "messages": 1}',
        b'{"messages": [' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    ],
)
def test_nothing_is_known_of_what_is_not_of_the_usual_shape(body: bytes) -> None:
    assert read(body) is None


def test_only_fields_that_a_rule_looks_at_are_handed_to_the_rules() -> None:
    shape = read(body_of(model="m", temperature=1, tools=[], stream=True))

    assert shape is not None
    assert shape.looked_at().keys() == {"tools", "stream"}


def test_all_fields_are_there_but_the_messages() -> None:
    shape = read(body_of(model="m", temperature=1, seed=None))

    assert shape is not None
    fields = shape.fields()
    assert fields is not None
    assert fields.keys() == {"model", "temperature", "seed"}


def test_fields_with_a_key_that_nobody_knows_have_to_be_read_otherwise() -> None:
    shape = read(body_of(model="m", foo=1))

    assert shape is not None
    assert shape.model == "m"
    assert shape.fields() is None


@pytest.mark.parametrize("key", [b'"stream":"true","stream":true', b'"model":1,"model":"m"', b'"model":["m"]'])
@pytest.mark.parametrize("more", [b"", b',"odd":1'])
def test_what_the_envelope_refuses_is_not_of_the_usual_shape(key: bytes, more: bytes) -> None:
    body = b'{%b%b,"messages":[{"role":"user","content":"x"}]}' % (key, more)

    with pytest.raises(InvalidRequest):
        peek_json(body)
    assert read(body) is None
