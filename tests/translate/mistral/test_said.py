import pytest

from router.translate.mistral.said import text_of


@pytest.mark.parametrize(
    ("content", "text", "thoughts"),
    [
        ("Hi", "Hi", ""),
        (None, "", ""),
        ([{"type": "text", "text": "a"}, "b", {"type": "refusal", "refusal": "c"}, {"x": 1}, 2], "abc", ""),
        ([{"type": "thinking", "thinking": [{"type": "text", "text": "t"}]}, {"type": "text", "text": "a"}], "a", "t"),
        ([{"type": "thinking", "thinking": "t"}, {"type": "reasoning", "text": "u"}], "", "tu"),
        ({"a": 1}, '{"a":1}', ""),
        (1.5, "1.5", ""),
    ],
)
def test_content_of_any_shape_is_text(content: object, text: str, thoughts: str) -> None:
    """S13."""
    assert text_of(content) == (text, thoughts)
