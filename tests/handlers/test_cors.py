"""Rules of router/handlers/cors.py."""

from router.handlers.cors import Cors


def test_anyone_may_ask_by_default_as_with_vllm() -> None:
    assert b"Access-Control-Allow-Origin: *\r\n" in Cors().lines("http://page")


def test_only_listed_origins_are_allowed_where_there_is_a_list() -> None:
    cors = Cors(allow_origins=("http://good",))
    assert cors.lines("http://good").startswith(b"Access-Control-Allow-Origin: http://good\r\n")
    assert cors.lines("http://bad") == b"Vary: Origin\r\n"


def test_with_credentials_the_origin_is_named() -> None:
    """Browsers do not take `*` together with credentials."""
    lines = Cors(allow_credentials=True).lines("http://page")
    assert b"Access-Control-Allow-Origin: http://page\r\n" in lines
    assert b"Access-Control-Allow-Credentials: true\r\n" in lines
    assert b"Vary: Origin\r\n" in lines


def test_a_preflight_allows_what_the_browser_asks_for() -> None:
    lines = Cors().preflight_lines("authorization, x-stainless-os")
    assert b"Access-Control-Allow-Headers: authorization, x-stainless-os\r\n" in lines
    assert b"Access-Control-Max-Age: 600\r\n" in lines


def test_switched_off_means_no_line() -> None:
    off = Cors(enabled=False)
    assert (off.lines("http://page"), off.preflight_lines("a")) == (b"", b"")
