"""Which conversation a request belongs to, and which backend knows how it began. Pure: `now` comes in.

    Keys (of one request) -> Table.find -> Session -> where it was last, `remember` once it was answered

A session is known by the key of its opening, or by the id that its client gave it. Each further request of it leaves
the key of all that it said: where a later one begins with the same, that backend has it in its cache, whatever the
session has done elsewhere meanwhile. So a retry, a tool loop and a branch each find their own way back.

The table holds so many sessions and no more: the one unused for longest makes room, and one unused for longer than
`ttl` is forgotten. Nothing looks at all of them; each request takes out at most a few that have expired.
"""

import enum
from collections import Counter, OrderedDict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from hashlib import blake2b

KEY_BYTES = 16  # two conversations get one key once in 2**64 of them
NAME_BYTES = 8
MAX_PREFIXES = 8  # of one session: its newest requests; a branch from further back goes where the session was last
EXPIRED_AT_ONCE = 4  # more than one, so that the table empties while new ones come


class Lookup(enum.Enum):
    """How the session of a request was found."""

    HIT = "hit"  # by what was said
    EXPLICIT = "explicit"  # by the client's id
    MISS = "miss"  # not at all: it begins


class Verdict(enum.Enum):
    """What affinity had to say of a request."""

    KEPT = "kept"  # it went where its session was
    OVERLOADED = "overloaded"  # that one has more to do than others, or said that it is full
    UNUSABLE = "unusable"  # that one is gone, drained, or failed it
    NEW = "new"  # the session was nowhere yet


@dataclass(frozen=True, slots=True)
class SessionRules:
    """The configured limits; see `sessions` in docs/configuration.md."""

    enabled: bool = False
    max_sessions: int = 10_000
    ttl: float = 3600.0  # seconds without a request
    affinity: bool = True
    headers: tuple[bytes, ...] = ()  # that carry a client's id, lower case, the first one that is there wins


@dataclass(frozen=True, slots=True)
class Keys:
    """What a request tells of its conversation, each KEY_BYTES long."""

    openings: tuple[bytes, ...]  # of its beginning, or of its id: the longest first, at least one
    prefixes: tuple[bytes, ...] = ()  # of all that it says, and of shorter parts of that; the longest first
    is_explicit: bool = False


@dataclass(eq=False, slots=True)
class Session:
    """One conversation."""

    key: bytes  # of its opening
    name: str  # for people: tells nothing of what was said
    seen: float  # when its last request came
    backend: str | None = None  # where it was last; None: nowhere yet
    is_lost: bool = False  # nobody could answer its last request
    prefixes: dict[bytes, str] = field(default_factory=dict)  # to names of backends, the newest last

    def where(self, prefixes: Iterable[bytes]) -> str | None:
        """Return the name of the backend that knows the longest of these prefixes, else where the session was last."""
        known = self.prefixes
        return next((known[key] for key in prefixes if key in known), self.backend)


@dataclass(frozen=True, slots=True)
class SessionFigures:
    """What is told of sessions. Counts are since the process began."""

    active: int
    max_sessions: int
    ttl: float
    created: int
    expired: int
    evicted: int
    lookups: Mapping[str, int]  # by the values of Lookup
    affinity: Mapping[str, int]  # by the values of Verdict

    def told(self) -> dict[str, int]:
        """Return what people are shown; of several processes, each number is added up."""
        moved = self.affinity[Verdict.OVERLOADED.value] + self.affinity[Verdict.UNUSABLE.value]
        return {
            "active": self.active,
            "most": self.max_sessions,
            "created": self.created,
            "found": self.lookups[Lookup.HIT.value] + self.lookups[Lookup.EXPLICIT.value],
            "kept": self.affinity[Verdict.KEPT.value],
            "moved": moved,
        }


class Table:
    """The sessions of one process."""

    def __init__(self, rules: SessionRules) -> None:
        """Empty."""
        self._rules = rules
        self._sessions: OrderedDict[bytes, Session] = OrderedDict()  # by key, the one unused for longest first
        self._created = self._expired = self._evicted = 0
        self._lookups: Counter[Lookup] = Counter()
        self.verdicts: Counter[Verdict] = Counter()

    def __len__(self) -> int:
        """Return how many there are, be it that some have expired a moment ago."""
        return len(self._sessions)

    def set_rules(self, rules: SessionRules) -> None:
        """Go by other limits from now on."""
        self._rules = rules
        while len(self._sessions) > (rules.max_sessions if rules.enabled else 0):
            self._evict()

    def find(self, keys: Keys, now: float) -> tuple[Session, Lookup]:
        """Return the session of a request, a new one where none is known."""
        self.expire(now)
        session = self._known(keys.openings, now)
        lookup = Lookup.MISS if session is None else Lookup.EXPLICIT if keys.is_explicit else Lookup.HIT
        if session is None:
            session = self._begin(keys.openings[0], now)
        session.seen = now
        self._lookups[lookup] += 1
        return session, lookup

    def remember(self, session: Session, prefix: bytes | None, backend: str) -> None:
        """Note that a backend has answered a session's request. `prefix`: of all that it said, None where not known."""
        session.backend, session.is_lost = backend, False
        if prefix is not None:
            session.prefixes.pop(prefix, None)
            session.prefixes[prefix] = backend
            if len(session.prefixes) > MAX_PREFIXES:
                del session.prefixes[next(iter(session.prefixes))]

    def forsake(self, session: Session, backend: str) -> None:
        """Forget what of a session a backend has in its cache: it is not to be had."""
        for prefix in [each for each, name in session.prefixes.items() if name == backend]:
            del session.prefixes[prefix]

    def lose(self, session: Session) -> None:
        """Note that nobody could answer it: who remembers the way there would only fail again."""
        session.backend, session.is_lost = None, True
        session.prefixes.clear()

    def expire(self, now: float, most: int = EXPIRED_AT_ONCE) -> None:
        """Take out sessions that have expired, at most so many."""
        sessions, oldest = self._sessions, now - self._rules.ttl
        for _ in range(most):
            first = next(iter(sessions.values()), None)
            if first is None or first.seen > oldest:
                return
            del sessions[first.key]
            self._expired += 1

    def figures(self) -> SessionFigures:
        """Return what is told of it."""
        return SessionFigures(
            len(self._sessions),
            self._rules.max_sessions,
            self._rules.ttl,
            self._created,
            self._expired,
            self._evicted,
            {each.value: self._lookups[each] for each in Lookup},
            {each.value: self.verdicts[each] for each in Verdict},
        )

    def _known(self, openings: Iterable[bytes], now: float) -> Session | None:
        for key in openings:
            session = self._sessions.get(key)
            if session is None:
                continue
            if session.seen <= now - self._rules.ttl:  # among many that have expired at once
                del self._sessions[key]
                self._expired += 1
                continue
            self._sessions.move_to_end(key)
            return session
        return None

    def _begin(self, key: bytes, now: float) -> Session:
        session = self._sessions[key] = Session(key, name_of(key), now)
        self._created += 1
        while len(self._sessions) > self._rules.max_sessions:
            self._evict()
        return session

    def _evict(self) -> None:
        self._sessions.popitem(last=False)
        self._evicted += 1


def name_of(key: bytes) -> str:
    """Return what a session is called in headers and logs, the same in every process: 16 hexadecimal digits."""
    return blake2b(key, digest_size=NAME_BYTES, person=b"session name").hexdigest()
