"""Addresses of backends, and which of them are ourselves."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config.address import is_ourselves, parse_address, parse_host, parse_path, parse_prefix


@pytest.mark.parametrize(
    ("text", "url", "name", "prefix"),
    [
        ("http://10.0.0.11:8000", "http://10.0.0.11:8000", "10.0.0.11:8000", None),
        ("http://10.0.0.11:8000/", "http://10.0.0.11:8000", "10.0.0.11:8000", None),
        ("HTTP://GPU-1.Example:8000/v1/", "http://gpu-1.example:8000", "gpu-1.example:8000", "/v1"),
        ("https://api.venice.ai/api/v1", "https://api.venice.ai", "api.venice.ai:443", "/api/v1"),
        ("http://h:80", "http://h", "h:80", None),
        ("http://[::1]:8000", "http://[::1]:8000", "[::1]:8000", None),
        ("http://[0:0::1]", "http://[::1]", "[::1]:80", None),
        ("http://vllm_1:8000", "http://vllm_1:8000", "vllm_1:8000", None),
        ("unix:/run/vllm.sock", "unix:/run/vllm.sock", "unix:/run/vllm.sock", None),
        ("unix:///run/vllm.sock", "unix:/run/vllm.sock", "unix:/run/vllm.sock", None),
    ],
)
def test_urls_are_brought_to_one_form(text: str, url: str, name: str, prefix: str | None) -> None:
    address = parse_address(text)

    assert (address.url, address.name, address.api_prefix) == (url, name, prefix)


@pytest.mark.row(70)
@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "must be a URL"),
        (None, "must be a URL"),
        ("10.0.0.11:8000", "must start with http"),
        ("localhost", "must start with http"),
        ("ftp://h", "must start with http"),
        ("file:///etc/passwd", "must start with http"),
        ("http://localhost@evil", "user name"),
        ("http://a:b@evil/v1", "user name"),
        ("http://", "must name a host"),
        ("http://:8000", "must name a host"),
        ("http://h:0", "port"),
        ("http://h:", "port"),
        ("http://h:65536", "port"),
        ("http://h:x", "port"),
        ("http://[::1", "IPv6"),
        ("http://[::g]", "IPv6"),
        ("http://h h", "without spaces"),
        ("http://bücher.example", "ASCII"),
        ("http://h/v1?x=1", "no \\?"),
        ("http://h/v1#x", "no #"),
        ("http://h/../v1", "without \\."),
        ("http://h//v1", "must be a path"),
        ("http://h/v1/chat/completions", "base URL"),
        ("http://-h", "host name"),
        ("unix:run/vllm.sock", "absolute path"),
        ("unix:/" + "x" * 120, "107 bytes"),
    ],
)
def test_what_is_no_address_is_refused_with_the_reason(text: object, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        parse_address(text)


@pytest.mark.row(70)
def test_a_password_in_a_url_is_refused_and_not_repeated() -> None:
    with pytest.raises(ValueError, match="api_key") as caught:
        parse_address("http://user:hunter2@h:8000")

    assert "hunter2" not in str(caught.value)


@settings(max_examples=200, deadline=None)
@given(
    st.one_of(st.text(max_size=40), st.text(max_size=30).map("http://{}".format), st.from_regex(r"https?://.{0,30}"))
)
def test_any_text_is_an_address_or_refused(text: str) -> None:
    try:
        address = parse_address(text)
    except ValueError:
        return
    assert parse_address(address.url).url == address.url


@pytest.mark.parametrize(
    ("text", "host"), [("[::1]", "::1"), ("::", "::"), ("0.0.0.0", "0.0.0.0"), ("LocalHost", "localhost")]
)
def test_hosts_to_listen_on_are_names_or_addresses(text: str, host: str) -> None:
    assert parse_host(text) == host


def test_paths_lose_the_slash_at_their_end() -> None:
    assert parse_path("/v1/") == "/v1"
    assert parse_path("/") == ""
    assert parse_prefix("/") == "/"
    for wrong in ("v1", "", None, "/a b", "/a//b", "/a/../b", "/{x}"):
        with pytest.raises(ValueError, match="must be a path"):
            parse_path(wrong)


@pytest.mark.parametrize(
    ("host", "target", "ours"),
    [
        ("0.0.0.0", "127.0.0.1", True),
        ("0.0.0.0", "localhost", True),
        ("0.0.0.0", "[::1]", True),
        ("0.0.0.0", "0.0.0.0", True),
        ("0.0.0.0", "gate", True),
        ("0.0.0.0", "10.0.0.5", True),
        ("0.0.0.0", "10.0.0.6", False),
        ("0.0.0.0", "other", False),
        ("::", "127.0.0.1", True),
        ("127.0.0.1", "localhost", True),
        ("127.0.0.1", "127.0.0.1", True),
        ("127.0.0.1", "127.0.0.2", False),
        ("127.0.0.1", "0.0.0.0", True),
        ("127.0.0.1", "gate", False),
        ("10.0.0.5", "10.0.0.5", True),
        ("10.0.0.5", "127.0.0.1", False),
        ("10.0.0.5", "gate", True),
        ("::1", "[::1]", True),
        ("::1", "localhost", True),
    ],
)
def test_a_backend_on_our_own_listener_is_found(host: str, target: str, ours: bool) -> None:
    address = parse_address(f"http://{target}:9000")

    assert is_ourselves(address, host=host, port=9000, own_names={"Gate", "10.0.0.5"}) is ours
    assert not is_ourselves(address, host=host, port=9001, own_names={"gate", "10.0.0.5"}), "another port"
    assert not is_ourselves(address, host=host, port=0, own_names={"gate"}), "a port that is not yet known"
