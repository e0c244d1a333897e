"""Halves of surrogate pairs become U+FFFD; everything else stays the bytes it was."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.translate.mistral.surrogates import mend_surrogates

HALVES = st.integers(0xD800, 0xDFFF).map(chr)


@pytest.mark.parametrize(
    ("body", "mended"),
    [
        (rb'"a\ud800b"', rb'"a\ufffdb"'),
        (rb'"\uDC00"', rb'"\ufffd"'),
        (rb'"\ud83d\ude00"', None),
        (rb'"\ude00\ud83d"', rb'"\ufffd\ufffd"'),
        (rb'"\ud800\ud83d\ude00"', rb'"\ufffd\ud83d\ude00"'),
        (rb'"\\ud800"', None),
        (rb'"\\\ud800"', rb'"\\\ufffd"'),
        (rb'"\\\\ud800 \ud800"', rb'"\\\\ud800 \ufffd"'),
        (rb'"\u00e9"', None),
        (rb'"\ud7ff\ue000"', None),
        (rb'"\ud80"', None),
        (b"", None),
    ],
)
def test_a_half_becomes_a_replacement_and_a_pair_stays(body: bytes, mended: bytes | None) -> None:
    assert mend_surrogates(body) == (body if mended is None else mended)


def test_a_body_without_halves_is_the_same_object() -> None:
    for body in (b'{"a": 1}', rb'"\ud83d\ude00"', rb'"\\ud800"'):
        assert mend_surrogates(body) is body


@settings(max_examples=200, deadline=None)
@given(st.text(st.one_of(HALVES, st.sampled_from('\\"ud8dcé\n😀 '))))
def test_what_python_reads_is_the_same_but_for_the_halves(text: str) -> None:
    """Python's json is the writer of such bodies: with ensure_ascii it writes each half as an escape."""
    written = json.dumps(text).encode()
    whole = json.loads(written)

    mended = json.loads(mend_surrogates(written))

    assert mended == "".join("\ufffd" if "\ud800" <= letter <= "\udfff" else letter for letter in whole)
