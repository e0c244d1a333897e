"""Rules of router/access/overload.py: when new exchanges are refused, so that those under way can finish."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.overload import REST, Marks, Strain, Usage, Watermarks, refuses

BOTH = Marks(memory=1000, descriptors=100)


@pytest.mark.parametrize(
    ("usage", "strain"),
    [
        (Usage(1000, 100), None),
        (Usage(1001, 100), Strain.MEMORY),
        (Usage(1000, 101), Strain.DESCRIPTORS),
        (Usage(1001, 101), Strain.MEMORY),
    ],
)
def test_over_a_mark_there_is_too_little(usage: Usage, strain: Strain | None) -> None:
    watermarks = Watermarks(BOTH)

    assert watermarks.observe(usage) == (strain is not None)
    assert watermarks.strain is strain


def test_it_is_well_again_a_little_below_the_mark() -> None:
    watermarks = Watermarks(BOTH)
    watermarks.observe(Usage(1001, 0))

    assert not watermarks.observe(Usage(1000, 0))
    assert watermarks.strain is Strain.MEMORY
    assert watermarks.observe(Usage(int(1000 * REST), 0))
    assert watermarks.strain is None


@given(st.builds(Usage, memory=st.integers(0, 2**50), descriptors=st.integers(0, 2**30)))
def test_without_marks_nothing_is_too_much(usage: Usage) -> None:
    watermarks = Watermarks(Marks())

    assert not watermarks.observe(usage)
    assert watermarks.strain is None


@pytest.mark.parametrize("strain", [None, *Strain])
def test_one_exchange_is_always_let_in(strain: Strain | None) -> None:
    """What is left of the memory when nothing is at work is nobody's work."""
    assert refuses(strain, at_work=0) is None
    assert refuses(strain, at_work=1) is strain
