"""Content in parts, as other APIs have it."""

from typing import Any

import pytest

from router.errors import InvalidRequest
from router.translate.mistral.limits import parts_tally
from router.translate.mistral.parts import (
    Media,
    Piece,
    Result,
    Thought,
    Use,
    Words,
    arguments_text,
    json_text,
    part_of,
    pieces_of,
    result_pieces,
    text_or_none,
)

URL = "data:image/png;base64,AA"
IMAGE = Media({"type": "image_url", "image_url": {"url": URL}})
BASE64 = {"type": "base64", "media_type": "image/png", "data": "AA"}


def pieces(*parts: Any) -> list[Piece]:
    return pieces_of(list(parts), "messages.0.content")


@pytest.mark.parametrize(
    "part",
    [
        "x",
        {"type": "text", "text": "x"},
        {"type": "text", "text": "x", "cache_control": {"type": "ephemeral"}},
        {"type": "input_text", "text": "x"},
        {"type": "output_text", "text": "x", "annotations": []},
        {"type": "refusal", "refusal": "x"},
        {"text": "x"},
        {"type": None, "text": "x"},
        {"type": "new_kind", "text": "x"},
        {"type": "document", "source": {"type": "text", "media_type": "text/plain", "data": "x"}},
    ],
)
def test_r6_texts_of_all_apis_are_words(part: Any) -> None:
    assert pieces(part) == [Words("x")]


@pytest.mark.parametrize("part", ["", None, {"type": "text", "text": ""}, {"type": "text", "text": None}])
def test_r6_empty_texts_are_left_out(part: Any) -> None:
    assert pieces(part) == []


@pytest.mark.parametrize(
    "part",
    [
        {"type": "image_url", "image_url": {"url": URL}},
        {"type": "image_url", "image_url": {"url": URL, "mime_type": "image/png"}, "cache_control": {}},
        {"type": "image_url", "image_url": URL},
        {"image_url": {"url": URL}},
        {"type": "input_image", "image_url": URL},
        {"type": "image", "source": BASE64},
        {"type": "image", "source": {"type": "url", "url": URL}},
        {"type": "image", "image": URL},
        {"type": "image", "data": "AA", "mimeType": "image/png"},
    ],
)
def test_r6_images_of_all_apis_are_image_urls(part: Any) -> None:
    assert pieces(part) == [IMAGE]


def test_r6_the_detail_of_an_image_stays() -> None:
    (piece,) = pieces({"type": "image_url", "image_url": {"url": URL, "detail": "low", "x": 1}})

    assert part_of(piece) == {"type": "image_url", "image_url": {"url": URL, "detail": "low"}}


def test_sounds_keep_their_data_and_format() -> None:
    (piece,) = pieces({"type": "input_audio", "input_audio": {"data": "AA", "format": "wav", "x": 1}})

    assert isinstance(piece, Media)
    assert piece.is_audio
    assert part_of(piece) == {"type": "input_audio", "input_audio": {"data": "AA", "format": "wav"}}


@pytest.mark.parametrize(
    ("part", "text"),
    [
        ({"type": "thinking", "thinking": "t", "signature": "s"}, "t"),
        ({"type": "thinking", "thinking": [{"type": "text", "text": "a"}, {"type": "text", "text": "b"}]}, "ab"),
        ({"type": "reasoning", "text": "t"}, "t"),
        ({"type": "redacted_thinking", "data": "x"}, ""),
        ({"type": "thinking", "thinking": 5}, ""),
    ],
)
def test_thoughts_of_all_apis_are_read(part: Any, text: str) -> None:
    assert pieces(part) == [Thought(text)]


def test_r11_calls_and_results_of_all_apis_are_read() -> None:
    assert pieces({"type": "tool_use", "id": "a", "name": "f", "input": {"x": 1}}) == [Use("a", "f", '{"x": 1}')]
    assert pieces({"type": "tool-call", "toolCallId": "a", "toolName": "f", "args": {}}) == [Use("a", "f", "{}")]
    assert pieces({"type": "tool_result", "tool_use_id": "a", "content": "s"}) == [Result("a", None, "s")]
    assert pieces({"type": "tool-result", "toolCallId": "a", "toolName": "f", "result": 1}) == [Result("a", "f", 1)]


@pytest.mark.parametrize(
    "part",
    [
        5,
        [],
        {},
        {"type": "file", "file": {"file_id": "x"}},
        {"type": "input_file", "file_url": "x"},
        {"type": "document", "source": BASE64},
        {"type": "video_url", "video_url": {"url": "x"}},
        {"type": "image_url"},
        {"type": "image_url", "image_url": {"url": ""}},
        {"type": "image_url", "image_url": 5},
        {"type": "image", "source": {"type": "file", "file_id": "x"}},
        {"type": "input_audio", "input_audio": {}},
        {"type": "audio_url", "audio_url": {}},
        {"type": "wizard"},
        {"type": "x" * 10_000},
    ],
)
def test_r37_what_no_backend_takes_is_refused_by_its_place(part: Any) -> None:
    with pytest.raises(InvalidRequest) as refused:
        pieces("x", part)

    assert refused.value.param == "messages.0.content.1"
    assert len(refused.value.message) < 200


def test_content_that_is_no_list_is_one_part() -> None:
    assert pieces_of({"type": "text", "text": "x"}, "w") == [Words("x")]
    assert pieces_of(None, "w") == []
    with pytest.raises(InvalidRequest) as refused:
        pieces_of(5, "messages.0.content")
    assert refused.value.param == "messages.0.content"


@pytest.mark.parametrize(
    "content",
    [
        "x",
        {"a": 1},
        None,
        5,
        [1, 2],
        ["a", None],
        [{"a": 1}],
        [{"type": "file", "path": "a.txt"}],
        [{"type": "image", "name": "a.png"}],
        [{"text": "a", "line": 1}],
        [{"type": "text", "text": "a"}, {"type": "resource", "uri": "x"}],
    ],
)
def test_what_a_tool_returned_is_data_unless_all_of_it_is_content(content: Any) -> None:
    assert result_pieces(content, "w", parts_tally()) is None


def test_content_of_a_result_is_opened_also_within_results() -> None:
    inner = [{"type": "text", "text": "b"}, {"type": "image", "source": BASE64}]
    content = [{"type": "text", "text": "a"}, "", {"type": "tool_result", "content": inner}]

    assert result_pieces(content, "w", parts_tally()) == [Words("a"), Words("b"), IMAGE]
    assert result_pieces([{"type": "tool_result", "content": {"x": 1}}], "w", parts_tally()) == [Words('{"x": 1}')]


def test_r37_a_file_in_a_result_is_refused() -> None:
    with pytest.raises(InvalidRequest):
        result_pieces([{"type": "file", "file": {"file_data": "x"}}], "w", parts_tally())


def test_r8_values_become_text_for_the_model() -> None:
    assert [json_text(value) for value in (None, "x", 5, True, {"ä": [1]})] == ["", "x", "5", "true", '{"ä": [1]}']


def test_r13_missing_arguments_are_an_empty_object() -> None:
    assert [arguments_text(value) for value in (None, "", {}, '{"a', {"a": 1})] == ["{}", "{}", "{}", '{"a', '{"a": 1}']


def test_ids_and_names_are_text_numbers_or_nothing() -> None:
    assert [text_or_none(value) for value in ("a", 5, None, True, [], {})] == ["a", "5", None, None, None, None]
