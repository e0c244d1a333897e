"""Values of a request's top level."""

import pytest
from msgspec import Raw

from router.errors import InvalidRequest
from router.translate.mistral.values import is_number, text_of, value_of


def test_a_value_is_parsed_where_it_came_as_bytes() -> None:
    assert value_of(Raw(b'{"a": [1]}'), "tools") == {"a": [1]}
    assert value_of("text", "tools") == "text"


@pytest.mark.parametrize("raw", [b'"\xff"', b"1e400", b'"\\ud800"', b"[" * 1_000_000 + b"]" * 1_000_000, b"", b"{"])
def test_what_is_no_json_is_the_clients_fault(raw: bytes) -> None:
    with pytest.raises(InvalidRequest) as refused:
        value_of(Raw(raw), "tools")
    assert (refused.value.param, refused.value.code) == ("tools", "unsupported_value")


def test_true_is_no_number() -> None:
    assert is_number(1)
    assert is_number(-0.5)
    assert not is_number(True)
    assert not is_number("1")


def test_every_value_has_a_text() -> None:
    assert text_of({"a": [1, None]}) == '{"a":[1,null]}'
    assert text_of("\ud800") == ""
