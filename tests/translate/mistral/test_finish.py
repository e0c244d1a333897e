"""S11: why an answer ended."""

import pytest

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.finish import finish_reason, is_broken, says_broken

AUTO, NAMED = Asked(), Asked(tool_choice=ToolChoice.NAMED)


@pytest.mark.parametrize(
    ("reason", "with_calls", "without"),
    [
        ("stop", "tool_calls", "stop"),
        (None, "tool_calls", "stop"),
        ("tool_calls", "tool_calls", "stop"),
        ("length", "length", "length"),
        ("content_filter", "content_filter", "content_filter"),
        ("function_call", "function_call", "function_call"),
        ("repetition", "tool_calls", "stop"),
        ("model_length", "length", "length"),
        ("tool_use", "tool_calls", "stop"),
        (["odd"], "tool_calls", "stop"),
        (7, "tool_calls", "stop"),
    ],
)
def test_a_choice_with_calls_says_so_and_any_word_is_one_of_openai(
    reason: object, with_calls: str, without: str
) -> None:
    assert finish_reason(reason, has_calls=True, asked=AUTO) == with_calls
    assert finish_reason(reason, has_calls=False, asked=AUTO) == without


def test_stop_may_stand_beside_the_call_of_a_function_that_the_request_named() -> None:
    assert finish_reason("stop", has_calls=True, asked=NAMED) == "stop"
    assert finish_reason(None, has_calls=True, asked=NAMED) == "stop"
    assert finish_reason("tool_calls", has_calls=True, asked=NAMED) == "tool_calls"


def test_abort_and_error_say_that_the_answer_is_not_whole() -> None:
    assert [reason for reason in ("abort", "error", "stop", None, ["abort"]) if is_broken(reason)] == ["abort", "error"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'{"choices":[{},{"finish_reason":"error","message":{"a":[1]}}]}', True),
        (b'{"object":"chat.completion.chunk","choices":[{"finish_reason":"ab\\u006frt"}]}', True),
        (b'{"object":null,"choices":[{"finish_reason":"abort"}]}', True),
        (b'{"choices":[7,[],{"finish_reason" : "error"}]}', True),
        (b'{"choices":[{"finish_reason":[]},{"finish_reason":"error"}]}', True),
        (b'{"object":"text_completion","choices":[{"finish_reason":"error"}]}', False),
        (b'{"choices":[{"finish_reason":"stop","message":{"finish_reason":"error"}}]}', False),
        (b'{"choices":[7,"{\\"finish_reason\\":\\"error\\"}"]}', False),
        (b'{"choices":[{"finish_reason":null},{"finish_reason":"stop"}]}', False),
        (b'{"choices":[{"finish_reason":"error"}', False),
        (b"[" * 100_000, False),
        (b"", False),
    ],
)
def test_what_says_that_it_is_broken_is_told_without_reading_the_rest(data: bytes, expected: bool) -> None:
    assert says_broken(data) is expected
