"""How values are read and shown."""

import contextlib
import math

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from router.config import values

PARSERS = (
    values.parse_flag,
    values.parse_seconds,
    values.parse_duration,
    values.parse_delay,
    values.parse_timeout,
    values.parse_whole_seconds,
    values.parse_size,
    values.parse_size_or_off,
    values.parse_share,
    values.parse_text,
    values.parse_secret,
    lambda value: values.parse_whole(value, 0, 9),
    values.list_of(values.parse_text).parse,
    values.choice(("json", "text")).parse,
)
LIMITED = settings(max_examples=200, deadline=None)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("2", 2), ("2s", 2), ("500ms", 0.5), ("1m", 60), ("1h", 3600), ("1.5s", 1.5), (" 2 S ", 2), (".5", 0.5), (2, 2)],
)
def test_times_are_seconds_or_carry_their_unit(text: object, seconds: float) -> None:
    assert values.parse_duration(text) == seconds
    assert values.parse_timeout(text) == seconds


@pytest.mark.parametrize("text", ["", "-1", "2x", "2 3", "1e3", "nan", "inf", "31d", "9999h", True, None, [], math.nan])
def test_what_is_no_time_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a time"):
        values.parse_seconds(text)


@pytest.mark.parametrize("text", ["off", "OFF", "none", "0", "0s", 0, 0.0, False, None])
def test_off_and_nought_switch_a_timeout_off(text: object) -> None:
    assert values.parse_timeout(text) is None


@pytest.mark.parametrize("text", ["off", "0", "0ms", None])
def test_a_time_that_is_needed_cannot_be_switched_off(text: object) -> None:
    with pytest.raises(ValueError, match="cannot be switched off"):
        values.parse_duration(text)


def test_a_delay_that_is_off_is_nought() -> None:
    assert values.parse_delay("off") == 0.0


def test_a_time_sent_as_a_number_of_seconds_is_whole() -> None:
    assert values.parse_whole_seconds("10m") == 600
    with pytest.raises(ValueError, match="whole seconds"):
        values.parse_whole_seconds("1.5s")


@pytest.mark.parametrize(
    ("text", "size"),
    [("4096", 4096), ("64MB", 64 << 20), ("1MiB", 1 << 20), ("1mb", 1 << 20), ("8K", 8192), ("1.5KB", 1536), ("7b", 7),
     ("2 GB", 2 << 30), (10, 10)],
)  # fmt: skip
def test_sizes_count_in_1024(text: object, size: int) -> None:
    assert values.parse_size(text) == size


@pytest.mark.parametrize("text", ["", "0", "-1", "1TB", "MB", "1,5MB", "64 M B", True, None, 1.5, "9999999GB"])
def test_what_is_no_size_is_refused(text: object) -> None:
    with pytest.raises(ValueError, match="must be a size"):
        values.parse_size(text)


@pytest.mark.parametrize(("text", "share"), [("20%", 0.2), ("0.2", 0.2), ("100%", 1), ("0", 0), ("off", 0), (0.5, 0.5)])
def test_shares_are_percentages_or_parts_of_one(text: object, share: float) -> None:
    assert values.parse_share(text) == pytest.approx(share)


@pytest.mark.parametrize("text", ["20", "101%", "-1%", "1.1", "", None, True, math.nan])
def test_a_share_above_one_is_refused(text: object) -> None:
    """20 could mean 20 % or 20 times: it is not guessed."""
    with pytest.raises(ValueError, match="must be a share"):
        values.parse_share(text)


@pytest.mark.parametrize(("text", "flag"), [("true", True), ("YES", True), ("on", True), ("1", True), (True, True),
                                            ("false", False), ("no", False), ("Off", False), ("0", False)])  # fmt: skip
def test_switches_know_the_words_of_yaml_and_of_shells(text: object, flag: bool) -> None:
    assert values.parse_flag(text) is flag


def test_a_number_is_not_read_from_a_switch_or_a_fraction() -> None:
    for wrong in (True, "9000.5", "9 000", "0x10", "", None, "1" * 30, "²"):
        with pytest.raises(ValueError, match="whole number from 0 to 65535"):
            values.parse_whole(wrong, 0, 65535)
    assert values.parse_whole("0123", 0, 65535) == 123, "no octal numbers"


def test_lists_may_be_one_text_with_commas_and_lose_repetitions() -> None:
    words = values.list_of(values.parse_text)

    assert words.parse("a, b,,a") == ("a", "b")
    assert words.parse(["a", "b"]) == ("a", "b")
    assert words.parse("") == words.parse(None) == words.parse([]) == ()
    with pytest.raises(ValueError, match="item 2 must be a text"):
        words.parse(["a", ""])


def test_a_key_is_fit_for_a_header_and_shown_only_masked() -> None:
    secret = values.parse_secret(" sk-1 ")

    assert isinstance(secret, SecretStr)
    assert secret.get_secret_value() == "sk-1"
    assert values.show(secret) == values.MASK
    for wrong in ("sk 1", "sk\r\nX: y", "schlüssel"):
        with pytest.raises(ValueError, match="must be") as caught:
            values.parse_secret(wrong)
        assert wrong not in str(caught.value)
    assert values.parse_secret("") is values.parse_secret("off") is values.parse_secret(None) is None


def test_a_choice_takes_any_case_and_other_spellings() -> None:
    level = values.choice(("info", "warning"), same={"warn": "warning"})

    assert level.parse("INFO") == "info"
    assert level.parse("Warn") == "warning"
    with pytest.raises(ValueError, match="info or warning"):
        level.parse("loud")


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "off"),
        (True, "true"),
        ((), "[]"),
        (("a", "b"), "[a, b]"),
        ("x\ny", '"x\\ny"'),
        (" x", '" x"'),
        ("", '""'),
    ],
)
def test_values_are_shown_on_one_line(value: object, text: str) -> None:
    assert values.show(value) == text


@LIMITED
@given(st.floats(min_value=0.001, max_value=values.MAX_SECONDS).map(lambda value: round(value, 3)))
def test_a_shown_time_reads_back_as_itself(seconds: float) -> None:
    assert values.parse_duration(values.show_seconds(seconds)) == pytest.approx(seconds, abs=1e-6)


@LIMITED
@given(st.integers(min_value=1, max_value=values.MAX_SIZE))
def test_a_shown_size_reads_back_as_itself(size: int) -> None:
    assert values.parse_size(values.show_size(size)) == size


@LIMITED
@given(st.floats(min_value=0, max_value=1))
def test_a_shown_share_reads_back_as_itself(share: float) -> None:
    assert values.parse_share(values.show_share(round(share, 6))) == pytest.approx(share, abs=1e-6)


@LIMITED
@given(st.one_of(st.text(), st.none(), st.booleans(), st.integers(), st.floats(), st.lists(st.text()), st.binary()))
def test_no_value_does_worse_than_being_refused(value: object) -> None:
    for parse in PARSERS:
        with contextlib.suppress(ValueError):
            parse(value)


@pytest.mark.parametrize("text", ["off", "none", "OFF"])
def test_a_wait_is_never_switched_off(text: str) -> None:
    """`off` might be taken for "no limit", and would mean none at all."""
    with pytest.raises(ValueError, match="must be a time"):
        values.parse_wait(text)


def test_a_wait_may_be_none_at_all() -> None:
    assert [values.parse_wait(text) for text in ("0", 0, "0s", "2s")] == [0.0, 0.0, 0.0, 2.0]
