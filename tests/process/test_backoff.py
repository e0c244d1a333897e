"""How long a worker that has ended waits for its next start."""

from router.process.backoff import LONG_LIFE, LONGEST, Backoff


def test_the_first_end_is_followed_by_a_start_at_once() -> None:
    assert Backoff().after(3600.0) == 0.0
    assert Backoff().after(0.5) == 0.0


def test_each_further_end_waits_twice_as_long_up_to_a_limit() -> None:
    backoff = Backoff()
    waits = [backoff.after(0.5) for _ in range(12)]

    assert waits[:4] == [0.0, 0.1, 0.2, 0.4]
    assert waits[-1] == LONGEST
    assert sorted(waits) == waits


def test_a_long_life_makes_it_a_first_end_again() -> None:
    backoff = Backoff()
    for _ in range(5):
        backoff.after(0.5)

    assert backoff.after(LONG_LIFE) == 0.0
    assert backoff.after(0.5) == 0.1
