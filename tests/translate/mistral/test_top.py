"""The top level of a request, by the names of its fields."""

import inspect

import msgspec
import pytest
from openai.resources.chat.completions import Completions

from router.translate.mistral.top import KnownFields, LooseFields

NOT_SENT = {"self", "extra_headers", "extra_query", "extra_body", "timeout"}  # by openai-python to a server


def test_every_parameter_of_openai_python_is_known() -> None:
    """Else each request that has it would be read twice."""
    parameters = set(inspect.signature(Completions.create).parameters) - NOT_SENT

    assert parameters <= set(KnownFields.__struct_fields__)


def test_values_stay_the_bytes_they_were() -> None:
    top = msgspec.json.decode(b'{"temperature": 0.50, "stop": [ "a" ]}', type=KnownFields)

    assert isinstance(top.temperature, msgspec.Raw)
    assert isinstance(top.stop, msgspec.Raw)
    assert (bytes(top.temperature), bytes(top.stop)) == (b"0.50", b'[ "a" ]')


def test_other_keys_are_passed_over_by_the_loose_reading_only() -> None:
    body = b'{"messages": [{"role": "user", "content": "hi"}], "foo": 1}'

    with pytest.raises(msgspec.ValidationError):
        msgspec.json.decode(body, type=KnownFields)
    loose = msgspec.json.decode(body, type=LooseFields)
    assert isinstance(loose.messages, list)
    assert len(loose.messages) == 1
