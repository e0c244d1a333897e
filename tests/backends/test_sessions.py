"""Rules of router/backends/sessions.py: who is known again, who is forgotten, and that the table stays small."""

import itertools
import random
import resource
from collections import OrderedDict

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.backends.sessions import MAX_PREFIXES, Keys, Lookup, SessionRules, Table, Verdict, name_of

TTL = 100.0


def key(number: int) -> bytes:
    return number.to_bytes(16, "big")


def keys(*openings: int, prefixes: tuple[int, ...] = (), is_explicit: bool = False) -> Keys:
    return Keys(tuple(map(key, openings)), tuple(map(key, prefixes)), is_explicit)


def table(most: int = 1000) -> Table:
    return Table(SessionRules(enabled=True, max_sessions=most, ttl=TTL))


def test_the_first_request_is_a_miss_and_the_next_one_a_hit() -> None:
    known = table()
    first, lookup = known.find(keys(1), 0.0)
    again, second = known.find(keys(1), 1.0)

    assert (first, lookup, second) == (again, Lookup.MISS, Lookup.HIT)
    assert known.figures().lookups == {"hit": 1, "explicit": 0, "miss": 1}


def test_a_clients_own_id_is_counted_as_such_once_it_is_known() -> None:
    known = table()
    told = [known.find(keys(1, is_explicit=True), 0.0)[1] for _ in range(3)]

    assert told == [Lookup.MISS, Lookup.EXPLICIT, Lookup.EXPLICIT]


def test_the_longest_known_opening_wins_and_a_new_session_has_the_longest() -> None:
    known = table()
    short, _ = known.find(keys(1), 0.0)
    longer, lookup = known.find(keys(2, 1), 0.0)
    other, _ = known.find(keys(4, 3), 0.0)

    assert (longer, lookup) == (short, Lookup.HIT)
    assert other.key == key(4)


def test_a_session_is_forgotten_after_its_time_and_not_before() -> None:
    known = table()
    first, _ = known.find(keys(1), 0.0)
    assert known.find(keys(1), TTL - 0.001)[0] is first
    assert known.find(keys(1), 2 * TTL - 0.002)[0] is first  # each request prolongs it
    later, lookup = known.find(keys(1), 3 * TTL)

    assert (later is first, lookup) == (False, Lookup.MISS)
    assert known.figures().expired == 1


def test_of_many_that_expire_at_once_none_is_found_and_each_request_takes_out_a_few() -> None:
    known = table()
    for number in range(500):
        known.find(keys(number), 0.0)
    assert known.find(keys(499), TTL)[1] is Lookup.MISS
    assert 490 < len(known) < 500

    known.expire(TTL, most=1000)
    assert len(known) == 1
    assert known.figures().expired == 500


def test_the_one_unused_for_longest_makes_room() -> None:
    known = table(100)
    for number in range(100):
        known.find(keys(number), float(number) / 10)
    known.find(keys(0), 20.0)
    known.find(keys(1000), 21.0)

    assert known.find(keys(0), 22.0)[1] is Lookup.HIT
    assert known.find(keys(1), 23.0)[1] is Lookup.MISS
    assert len(known) == 100
    assert known.figures().evicted == 2


def test_each_prefix_leads_to_the_backend_that_has_it() -> None:
    """Two branches of one conversation, each at the backend that it went to."""
    known = table()
    session, _ = known.find(keys(1), 0.0)
    for prefix, backend in ((10, "a"), (11, "a"), (20, "b")):
        known.remember(session, key(prefix), backend)

    assert session.where([key(12), key(11), key(10)]) == "a"
    assert session.where([key(21), key(20), key(10)]) == "b"
    assert session.where([key(99)]) == "b"  # an unknown branch goes where the session was last


def test_a_session_keeps_its_newest_prefixes_only() -> None:
    known = table()
    session, _ = known.find(keys(1), 0.0)
    for number in range(MAX_PREFIXES):
        known.remember(session, key(number), f"b{number}")
    known.remember(session, key(0), "b0")  # a retry makes it new again
    for number in range(100, 100 + MAX_PREFIXES - 1):
        known.remember(session, key(number), "last")

    assert len(session.prefixes) == MAX_PREFIXES
    assert session.where([key(0)]) == "b0"
    assert session.where([key(1)]) == "last"


def test_nothing_leads_back_to_who_could_not_answer() -> None:
    known = table()
    session, _ = known.find(keys(1), 0.0)
    known.remember(session, key(10), "a")
    known.lose(session)
    assert (session.where([key(10)]), session.is_lost) == (None, True)

    known.remember(session, key(10), "b")
    assert (session.where([key(10)]), session.is_lost) == ("b", False)


def test_who_is_not_to_be_had_leads_to_where_the_session_was_last() -> None:
    known = table()
    session, _ = known.find(keys(1), 0.0)
    for prefix, backend in ((10, "a"), (11, "a"), (20, "b")):
        known.remember(session, key(prefix), backend)
    known.forsake(session, "a")

    assert session.where([key(11), key(10)]) == "b"


def test_fewer_may_be_known_from_now_on_and_none_once_it_is_off() -> None:
    known = table()
    for number in range(500):
        known.find(keys(number), 0.0)
    known.set_rules(SessionRules(enabled=True, max_sessions=100))
    assert len(known) == 100
    assert known.find(keys(499), 0.0)[1] is Lookup.HIT

    known.set_rules(SessionRules(enabled=False))
    assert len(known) == 0


def test_a_name_tells_nothing_of_its_key_and_is_the_same_everywhere() -> None:
    assert name_of(key(1)) == "b5c56831a7ecc0eb"
    assert len({name_of(key(number)) for number in range(10_000)}) == 10_000
    assert key(1).hex()[:8] not in name_of(key(1))


@pytest.mark.row(90)
def test_a_million_sessions_leave_the_table_as_small_as_it_may_be() -> None:
    known, before = table(10_000), resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(1_000_000):
        session, _ = known.find(Keys((key(number),)), number / 1e5)
        if number % 8 == 0:
            known.remember(session, key(number), "a")
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before

    assert len(known) == 10_000
    assert known.figures().evicted == 990_000
    assert grown < 64 << 10  # KB, of what a million would take a gigabyte


def test_what_people_are_shown_adds_up() -> None:
    known = table()
    known.find(keys(1), 0.0)
    known.find(keys(1), 0.0)
    known.find(keys(1, is_explicit=True), 0.0)
    for verdict in (Verdict.NEW, Verdict.KEPT, Verdict.OVERLOADED, Verdict.UNUSABLE):
        known.verdicts[verdict] += 1

    assert known.figures().told() == {"active": 1, "most": 1000, "created": 1, "found": 2, "kept": 1, "moved": 2}


class AnyOrder(RuleBasedStateMachine):
    """The table beside a plain one that looks at everything."""

    MOST = 5

    def __init__(self) -> None:
        super().__init__()
        self.table = table(self.MOST)
        self.now = 0.0
        self.model: OrderedDict[int, float] = OrderedDict()  # opening to when it was seen
        self.where: dict[int, dict[int, str]] = {}
        self.last: dict[int, str | None] = {}
        self.begun = 0

    def _forget(self, number: int) -> None:
        del self.model[number], self.where[number], self.last[number]

    @rule(seconds=st.sampled_from([0.0, 1.0, TTL / 2, TTL - 0.5, TTL, 2 * TTL]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(number=st.integers(0, 8), prefix=st.integers(100, 110), backend=st.sampled_from("abc"), fails=st.booleans())
    def a_request(self, number: int, prefix: int, backend: str, fails: bool) -> None:
        for other, seen in list(self.model.items()):
            if seen <= self.now - TTL:
                self._forget(other)
        session, lookup = self.table.find(keys(number), self.now)
        assert (lookup is Lookup.HIT) == (number in self.model)
        if lookup is Lookup.MISS:
            self.begun += 1
            self.where[number], self.last[number] = {}, None
        self.model[number] = self.now
        self.model.move_to_end(number)
        if len(self.model) > self.MOST:
            self._forget(next(iter(self.model)))
        known = self.where[number]
        assert session.where([key(prefix)]) == known.get(prefix, self.last[number])
        if fails:
            self.table.lose(session)
            known.clear()
            self.last[number] = None
        else:
            self.table.remember(session, key(prefix), backend)
            known.pop(prefix, None)
            known[prefix] = self.last[number] = backend
            while len(known) > MAX_PREFIXES:
                del known[next(iter(known))]

    @invariant()
    def it_is_bounded_and_its_counts_add_up(self) -> None:
        figures = self.table.figures()
        assert figures.active <= self.MOST
        assert figures.active == figures.created - figures.expired - figures.evicted
        assert figures.created == figures.lookups["miss"] == self.begun


AnyOrder.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestAnyOrder = AnyOrder.TestCase


def test_what_one_request_costs_does_not_grow_with_the_table() -> None:
    """By operations, not by time: a table of any size takes out a few, and looks at no more than it takes out."""
    dice = random.Random(1)
    for size in (200, 20_000):
        known = table(size)
        for number in range(size):
            known.find(keys(number), 0.0)
        before = len(known)
        known.find(keys(dice.randrange(size)), TTL)
        assert before - len(known) in range(3, 6)


def test_keys_of_openings_are_not_mixed_up_with_prefixes() -> None:
    known = table()
    session, _ = known.find(keys(1, prefixes=(7,)), 0.0)
    known.remember(session, key(7), "a")

    others = [known.find(keys(number), 0.0) for number in itertools.chain((7,), range(50, 60))]
    assert all(lookup is Lookup.MISS for _, lookup in others)
