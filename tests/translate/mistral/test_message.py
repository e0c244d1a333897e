"""Messages as JSON texts: looked into and joined without being read."""

import json
from typing import Any

import pytest
from msgspec import Raw

from router.translate.mistral.message import (
    Assistant,
    Call,
    Function,
    as_parts,
    encoded,
    is_silent,
    is_some_text,
    is_text,
    joined,
)

IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}


def text(value: str) -> dict[str, str]:
    return {"type": "text", "text": value}


def joined_values(*contents: Any) -> Any:
    return json.loads(bytes(joined([encoded(content) for content in contents])))


@pytest.mark.parametrize(("raw", "kinds"), [(b'"a"', (True, True)), (b'""', (True, False)), (b"[]", (False, False))])
def test_a_text_is_known_by_its_first_bytes(raw: bytes, kinds: tuple[bool, bool]) -> None:
    assert (is_text(Raw(raw)), is_some_text(Raw(raw))) == kinds


def test_a_value_of_one_byte_is_no_text() -> None:
    assert not is_text(Raw(b"5"))
    assert not is_some_text(Raw(b"5"))


def test_texts_are_joined_with_a_blank_line_and_empty_ones_leave_none() -> None:
    assert joined_values("a", "", 'b "quoted" \\ é', "") == 'a\n\nb "quoted" \\ é'
    assert joined_values("", "") == ""


def test_one_content_stays_the_object_it_is() -> None:
    content = Raw(b'"a"')

    assert joined([content]) is content


def test_texts_that_meet_become_one_part_and_images_stay_between() -> None:
    """As mistral-common joins messages; the parts of one message are joined otherwise by tokenizers of version 15."""
    assert joined_values("a", [text("b"), text("c"), IMAGE], [IMAGE, text("d")], "e") == [
        text("a\n\nb"),
        text("c"),
        IMAGE,
        IMAGE,
        text("d\n\ne"),
    ]


def test_a_text_is_a_list_of_one_part_and_an_empty_one_of_none() -> None:
    assert as_parts(encoded("a")) == [text("a")]
    assert as_parts(encoded("")) == []
    assert as_parts(encoded([IMAGE])) == [IMAGE]


def test_an_assistant_is_silent_without_text_calls_and_reasoning() -> None:
    call = Call("abcDEF123", "function", Function("f", encoded("{}")))

    assert is_silent(Assistant(encoded("")))
    assert not is_silent(Assistant(encoded(" ")))
    assert not is_silent(Assistant(encoded(""), [call]))
    assert not is_silent(Assistant(encoded(""), reasoning=encoded("t")))
