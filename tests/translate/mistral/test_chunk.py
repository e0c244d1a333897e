from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.chunk import encode, is_chunk, is_error, read, split
from router.wire.sse import event_data, event_name, split_events


@given(
    st.lists(st.sampled_from([b"data: x\n\n", b"\n", b"\r", b"data: y\n", b": c\n\n", b"\n\n", b"\r\n\r\n"])).map(
        b"".join
    )
)
@settings(max_examples=200, deadline=None)
def test_a_block_is_split_as_by_the_general_splitter(block: bytes) -> None:
    assert split(block) == split_events(block) or not block


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ({"choices": []}, True),
        ({"object": "chat.completion.chunk", "choices": [{"delta": {}}, {"delta": None}, {}]}, True),
        ({"choices": None, "usage": {}}, True),
        ({"usage": None}, False),
        ({"object": "text_completion", "choices": [{"text": "x"}]}, False),
        ({"object": 7, "choices": []}, False),
        ({"choices": [{"text": "x"}]}, False),
        ({"choices": [{"message": {}}]}, False),
        ({"choices": [{"delta": "x"}]}, False),
        ({"choices": {}}, False),
    ],
)
def test_a_chunk_has_choices_with_deltas_or_usage(chunk: Any, expected: bool) -> None:
    assert is_chunk(chunk) is expected


@pytest.mark.parametrize(
    ("chunk", "name", "expected"),
    [
        ({"error": {"message": "m"}}, None, True),
        ({"error": "m"}, None, True),
        ({"object": "error", "message": "m"}, None, True),
        ({"type": "error"}, None, True),
        ({"message": "m"}, "error", True),
        ({"error": None, "choices": []}, None, False),
        ({"error": {}, "choices": [{"delta": {}, "finish_reason": "error"}]}, None, False),
        ({"choices": []}, "message", False),
    ],
)
def test_errors_are_told_in_every_form(chunk: Any, name: str | None, expected: bool) -> None:
    """S18."""
    assert is_error(chunk, name) is expected


def test_what_cannot_be_written_again_is_not_read() -> None:
    assert read(b'{"a":' * 200 + b"1" + b"}" * 200) is not None
    assert read(b'{"a":' * 300 + b"1" + b"}" * 300) is None
    assert read(b"[" * 300) is None
    assert read(b"7") is None
    assert read(b'{"a": "' + b"[" * 300 + b'"}') == {"a": "[" * 300}


def test_what_is_written_can_be_read() -> None:
    event = encode({"a": "\n"}, "x")

    assert read(event_data(event) or b"") == {"a": "\n"}
    assert event_name(event) == "x"
