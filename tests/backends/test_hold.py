"""Rules of holding a flapping backend down."""

import pytest

from router.backends.hold import STEADY, HoldDown


def flap(hold: HoldDown, times: int, *, now: float = 0.0, longest: float = 60.0) -> list[float]:
    """Return for how long it is held each time, where it goes down a second after each return."""
    held = []
    for _ in range(times):
        hold.rose(now)
        hold.fell(now + 1, longest=longest)
        held.append(max(0.0, hold.until - now - 1))
        now = max(now + 1, hold.until)
    return held


def test_who_goes_down_for_the_first_time_is_not_held() -> None:
    hold = HoldDown()
    hold.fell(5, longest=60)

    assert hold.until < 5


def test_each_time_it_goes_down_soon_after_its_return_it_is_held_twice_as_long_up_to_a_limit() -> None:
    assert flap(HoldDown(), 9) == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert flap(HoldDown(), 3, longest=3) == [1, 2, 3]


def test_without_end_it_stays_a_number() -> None:
    assert flap(HoldDown(), 5000)[-1] == 60


@pytest.mark.parametrize(("stayed", "held"), [(STEADY - 1, 8.0), (STEADY, 0.0)])
def test_who_stayed_up_for_long_is_forgiven(stayed: float, held: float) -> None:
    hold = HoldDown()
    flap(hold, 3)
    hold.rose(1000)
    hold.fell(1000 + stayed, longest=60)

    assert max(0.0, hold.until - 1000 - stayed) == held
    assert repr(hold).startswith(f"<HoldDown level={4 if held else 0}")
