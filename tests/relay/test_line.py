"""Rules of router/relay/line.py: who is next, and that nobody is forgotten."""

from hypothesis import given
from hypothesis import strategies as st

from router.relay.line import LEAST_WAIT, MOST_WAIT, Line, Place

KEYS = st.sampled_from(["a", "b", "c"])
# What may happen to a line: somebody joins, leaves, or is served when it is his turn.
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("join"), KEYS, st.booleans()),
        st.tuples(st.just("leave"), st.integers(0, 50)),
        st.tuples(st.just("serve")),
        st.tuples(st.just("refuse")),
        st.tuples(st.just("pass over")),
        st.tuples(st.just("look at all")),
        st.tuples(st.just("look at first")),
    ),
    max_size=80,
)


def serve(line: Line) -> Place | None:
    place = line.call()
    if place is not None:
        line.leave(place, served_at=0.0)
    return place


def order(line: Line) -> list[object]:
    """Serve everybody; return their keys."""
    keys = []
    while place := serve(line):
        keys.append(place.key)
    return keys


def test_who_came_first_is_served_first() -> None:
    line = Line()
    places = [line.join("a", is_retry=False) for _ in range(5)]

    assert [serve(line) for _ in range(5)] == places
    assert serve(line) is None


def test_keys_take_turns_however_many_one_of_them_sends() -> None:
    line = Line()
    for key in ("a",) * 100 + ("b",) * 2 + ("c",):
        line.join(key, is_retry=False)

    assert order(line)[:6] == ["a", "b", "c", "a", "b", "a"]


def test_who_comes_back_waits_for_the_turns_of_the_others() -> None:
    line = Line()
    for key in ("a", "a", "b"):
        line.join(key, is_retry=False)
    serve(line)
    line.join("a", is_retry=False)

    assert order(line) == ["b", "a", "a"]


def test_retries_go_before_newcomers() -> None:
    line = Line()
    line.join("a", is_retry=False)
    line.join("b", is_retry=True)
    line.join("c", is_retry=True)

    assert order(line) == ["b", "c", "a"]


def test_who_gives_up_costs_its_key_no_turn() -> None:
    line = Line()
    first, *_ = [line.join(key, is_retry=False) for key in ("a", "a", "b")]
    line.leave(first, served_at=None)

    assert order(line) == ["a", "b"]


def test_who_is_told_keeps_its_place_until_it_is_served() -> None:
    line = Line()
    first, second = (line.join("a", is_retry=False) for _ in range(2))
    assert line.call() is first
    line.answered(first)

    assert line.called == 0
    assert line.call() is first
    assert line.call() is second


def test_who_is_passed_over_is_told_again_when_something_else_may_be_free() -> None:
    line = Line()
    first, second = (line.join("a", is_retry=False) for _ in range(2))
    assert line.call() is first
    line.pass_over(first)
    assert line.call() is second
    line.answered(second)
    line.look_at_all(1.0)

    assert line.call() is first


def test_the_first_who_is_passed_over_is_asked_at_once_when_somebody_else_is_free() -> None:
    line = Line()
    places = [line.join(key, is_retry=False) for key in "abc"]
    for place in places:
        assert line.call() is place
        line.pass_over(place)
    assert line.call() is None
    line.look_at_first()

    assert [line.call(), line.call()] == [places[0], None]


def test_many_who_can_use_nothing_that_is_free_are_not_asked_all_the_time() -> None:
    line, now, asked = Line(), 100.0, 0
    for number in range(1000):
        line.join(number, is_retry=False)
    for _ in range(100):  # five seconds
        line.look_at_all(now)
        while place := line.call():
            line.pass_over(place)
            asked += 1
        now += 0.05

    assert 4000 <= asked <= 6000


def test_a_client_is_told_to_wait_as_long_as_half_the_line_takes() -> None:
    line = Line()
    assert line.retry_after() == LEAST_WAIT
    for _ in range(11):
        line.join("a", is_retry=False)
    for second in (0.0, 2.0, 4.0):
        place = line.call()
        assert place is not None
        line.leave(place, served_at=second)

    assert line.retry_after() == 8 * 2.0 / 2


@given(gap=st.floats(0, 1e6), waiting=st.integers(0, 300))
def test_the_wait_that_a_client_is_told_is_bounded(gap: float, waiting: int) -> None:
    line = Line()
    for _ in range(waiting + 2):
        line.join("a", is_retry=False)
    for number in range(2):
        place = line.call()
        assert place is not None
        line.leave(place, served_at=gap * number)

    assert LEAST_WAIT <= line.retry_after() <= MOST_WAIT


@given(steps=STEPS)
def test_nobody_is_forgotten_and_nobody_is_told_twice(steps: list[tuple[object, ...]]) -> None:
    line = Line()
    waiting: list[Place] = []
    told: set[Place] = set()
    now = 0.0
    for step in steps:
        if step[0] == "join":
            waiting.append(line.join(step[1], is_retry=bool(step[2])))
        elif step[0] == "leave" and waiting:
            gone = waiting.pop(int(str(step[1])) % len(waiting))
            told.discard(gone)
            line.leave(gone, served_at=None)
            line.leave(gone, served_at=None)
        elif step[0] == "look at all":
            now += 0.05
            line.look_at_all(now)
        elif step[0] == "look at first":
            line.look_at_first()
        elif step[0] in ("serve", "refuse", "pass over") and (place := line.call()) is not None:
            assert place in waiting
            assert place not in told
            if step[0] == "serve":
                waiting.remove(place)
                line.leave(place, served_at=0.0)
            elif step[0] == "refuse":
                line.answered(place)
            else:
                line.pass_over(place)
        assert len(line) == len(waiting)
        assert line.called == len(told)

    line.look_at_all(now + 1.0)
    served = set()
    while place := serve(line):
        served.add(place)
    assert served == set(waiting)
    assert len(line) == line.called == line.newcomers == 0


@given(flood=st.integers(1, 60), others=st.lists(st.integers(1, 4), min_size=1, max_size=5))
def test_a_flood_delays_another_key_by_no_more_than_its_own_turns(flood: int, others: list[int]) -> None:
    line = Line()
    for _ in range(flood):
        line.join("flood", is_retry=False)
    for number, count in enumerate(others):
        for _ in range(count):
            line.join(number, is_retry=False)
    keys = order(line)

    for number, count in enumerate(others):
        last = max(position for position, key in enumerate(keys) if key == number)
        assert last < count * (len(others) + 1)
