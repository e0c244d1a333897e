"""What connections share."""

from router.wire.service import plain_error


def test_an_error_is_one_line_of_text() -> None:
    assert plain_error(413, "too large") == ("text/plain; charset=utf-8", b"413 too large\n")
