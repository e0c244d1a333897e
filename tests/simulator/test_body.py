import json
from typing import Any

import pytest

from router.simulator.body import check_length, integer, items, model_of, number, read_object, stops
from router.simulator.refusals import Refusal
from router.simulator.settings import Settings

SMALL = Settings(models=("m", "alias"), max_model_len=100)


def error_of(raw: bytes, content_type: str = "application/json") -> Any:
    with pytest.raises(Refusal) as caught:
        read_object(raw, content_type)
    return json.loads(caught.value.body)


def test_an_object_is_read_whatever_the_charset_says() -> None:
    assert read_object(b'{"a": 1}', "application/json; charset=utf-8") == {"a": 1}
    assert read_object(b'{"a": NaN}', "Application/JSON").keys() == {"a"}


def test_malformed_json_is_told_with_its_position() -> None:
    assert error_of(b'{"a": [')["error"]["param"] == "body.7"


def test_bytes_that_are_no_text_are_told_in_fastapis_words() -> None:
    assert error_of(b'{"a": "\xff"}') == {"detail": "There was an error parsing the body"}


@pytest.mark.parametrize("raw", [b"", b"[]", b"3", b'"x"', b"null"])
def test_anything_but_an_object_is_refused(raw: bytes) -> None:
    assert error_of(raw)["error"]["type"] == "Bad Request"


def test_deep_nesting_is_refused_not_fatal() -> None:
    error_of(b"[" * 200_000)


def test_a_model_is_its_name_or_an_alias_or_missing() -> None:
    assert [model_of({"model": name}, SMALL) for name in ("m", "alias", None)] == ["m", "alias", "m"]
    with pytest.raises(Refusal, match="404"):
        model_of({"model": "other"}, SMALL)


@pytest.mark.parametrize("value", ["warm", [], True])
def test_what_is_no_number_is_refused(value: Any) -> None:
    if value is not True:
        with pytest.raises(Refusal):
            number({"x": value}, "x")
    with pytest.raises(Refusal):
        integer({"x": value}, "x")


@pytest.mark.parametrize("value", [False, 7, "text", {"a": 1}, None])
def test_what_is_no_list_is_refused(value: Any) -> None:
    with pytest.raises(Refusal) as caught:
        items({"a": value}, "a")

    assert caught.value.status == 400


def test_an_answer_gets_what_the_prompt_leaves() -> None:
    assert check_length(40, None, SMALL) == 60
    assert check_length(40, 10, SMALL) == 10


@pytest.mark.parametrize(("prompt", "asked"), [(100, None), (40, 61), (1, 101), (1, 0), (1, -5)])
def test_what_does_not_fit_is_refused(prompt: int, asked: int | None) -> None:
    with pytest.raises(Refusal, match="400"):
        check_length(prompt, asked, SMALL)


def test_stop_is_one_text_or_several() -> None:
    assert (stops({"stop": "a"}), stops({"stop": ["a", "", 3, "b"]}), stops({})) == (("a",), ("a", "b"), ())
