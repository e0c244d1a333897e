"""Rules of router/observe/redaction.py."""

import pytest

from router.observe.redaction import MASKED, MAX_VALUE, is_secret, masked, selector


@pytest.mark.parametrize(
    "name",
    [
        *("Authorization", "Proxy-Authorization", "Cookie", "Set-Cookie", "X-Api-Key", "api-key", "X-Auth-Token"),
        *("X-Amz-Security-Token", "X-Goog-Signature", "X-Session-Id", "X-Client-Secret", "X-Password", "X-SSL-Cert"),
    ],
)
def test_a_header_whose_name_speaks_of_a_secret_is_masked_whole(name: str) -> None:
    assert is_secret(name)
    assert masked(name, "anything") == MASKED


@pytest.mark.parametrize("name", ["User-Agent", "X-Team", "Traceparent", "X-Stainless-Lang", "Accept", "X-Pinned"])
def test_other_headers_are_told(name: str) -> None:
    assert masked(name, "agent/1.0 (a; b)") == "agent/1.0 (a; b)"


@pytest.mark.parametrize(
    ("value", "told"),
    [
        ("Bearer canary", MASKED),
        ("it was basic Y2FuYXJ5OnA=", f"it was {MASKED}"),
        ("key sk-canary-0123 of team", f"key {MASKED} of team"),
        ("eyJhbGciOi.eyJzdWIiOi.canary", MASKED),
        ("https://user:canary@host/path?token=canary", f"https://{MASKED}host/path?{MASKED}"),
    ],
)
def test_what_looks_like_a_secret_is_masked_wherever_it_stands(value: str, told: str) -> None:
    assert masked("X-Note", value) == told


def test_only_headers_that_were_asked_for_are_told_in_any_case_and_all_of_their_lines() -> None:
    select = selector(["User-Agent", "x-team", "authorization"])
    assert select is not None

    assert select(
        [(b"USER-AGENT", b"a"), (b"X-Team", b"red"), (b"x-team", b"blue"), (b"Authorization", b"x"), (b"X-No", b"n")]
    ) == {"user-agent": "a", "x-team": "red, blue", "authorization": MASKED}


def test_a_value_has_a_bound_and_bad_bytes_do_no_harm() -> None:
    select = selector(["x-a", "x-b"])
    assert select is not None
    found = select([(b"x-a", b"y" * 10_000), (b"x-a", b"z"), (b"x-b", b"\xff\x00")])

    assert len(found["x-a"]) == MAX_VALUE
    assert found["x-b"] == "\ufffd\x00"


def test_nothing_is_picked_where_no_header_was_asked_for() -> None:
    assert selector(()) is None
