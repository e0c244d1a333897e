"""What connections share."""

from router.wire.service import Refused, plain_error


def test_an_error_is_one_line_of_text() -> None:
    refused = Refused(413, "too large", "127.0.0.1", own_lines=b"A: b\r\n")
    assert plain_error(refused) == (b"Content-Type: text/plain; charset=utf-8\r\nA: b\r\n", b"413 too large\n")
