"""What one exchange looks like at each backend: where dialects and backends meet.

    body as received -> `outgoing(backend)`: the body this backend takes -> its answer -> `Repair` -> the client's

A request is translated once for each profile that it meets. Bytes that need no change stay the bytes they were.
"""

from collections.abc import Callable
from dataclasses import dataclass, field

from router.errors import InvalidRequest
from router.exchange import Exchange
from router.relay.dialects import Dialects
from router.relay.route import Job
from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral.answer import repaired_answer, translate_answer
from router.translate.mistral.asked_reader import asked_of
from router.translate.mistral.emulate import as_stream
from router.translate.mistral.request import translate
from router.translate.mistral.stream import StreamTranslator
from router.translate.mistral.unstreamed import unstreamed
from router.translate.notes import Rule
from router.translate.profile import Profile


@dataclass(slots=True)
class Repair:
    """How the answer to one attempt becomes strictly OpenAI's, and which rules that took."""

    asked: Asked
    form: AnswerForm
    new_id: Callable[[], str]  # nine random letters or digits
    emulates: bool = False  # the backend answers in one piece, the client gets a stream (S16)
    translator: StreamTranslator | None = None
    rules: set[Rule] = field(default_factory=set)

    def start_stream(self) -> StreamTranslator:
        """Return what the events of a stream go through."""
        self.translator = StreamTranslator(self.asked, form=self.form, new_id=self.new_id)
        return self.translator

    def whole(self, body: bytes) -> bytes:
        """Return an answer that came in one piece as the client gets it: as JSON, or as the events of its stream."""
        if self.emulates:
            payload, notes = repaired_answer(body, self.asked, form=self.form, new_id=self.new_id)
            self.rules |= notes.repaired | {Rule.S16}
            return as_stream(payload, self.asked)
        body, notes = translate_answer(body, self.asked, form=self.form, new_id=self.new_id)
        self.rules |= notes.repaired
        return body

    def applied(self) -> set[Rule]:
        """Return the rules that changed something so far."""
        return self.rules if self.translator is None else self.rules | self.translator.notes.repaired


@dataclass(slots=True)
class Outgoing:
    """One request as one backend takes it."""

    body: bytes
    repair: Repair | None = None
    lines: bytes = b""  # header lines for the client: which rules have lost something
    rules: frozenset[Rule] = frozenset()

    @property
    def is_stream(self) -> bool:
        """Return whether the backend is asked for a stream, where the client is."""
        return self.repair is None or not self.repair.emulates


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a profile cannot take the request. No exception: one that is kept would keep its frames, and both bodies."""

    message: str
    param: str | None
    code: str | None


class Translation:
    """The forms of one exchange."""

    def __init__(self, job: Job, dialects: Dialects, *, new_id: Callable[[], str]) -> None:
        """Nothing is translated before `outgoing`."""
        self._job = job
        self._dialects = dialects
        self._new_id = new_id
        self._requests: dict[Profile, tuple[Outgoing, Asked] | Refusal] = {}
        self.as_it_is = Outgoing(job.body)

    def outgoing(self, backend: str) -> Outgoing:
        """Return the request for a backend. Raises `InvalidRequest` for what no backend of its dialect could take."""
        job = self._job
        if not job.route.is_chat:
            return self.as_it_is
        known = self._dialects.of(backend)
        if known.translates:
            request, asked = self._translated(known.profile)
        elif known.repairs or known.emulates:
            request, asked = self.as_it_is, asked_of(job.body)
        else:
            return self.as_it_is
        emulates = known.emulates and job.stream and bool(asked.tools) and asked.tool_choice is not ToolChoice.NONE
        # Names that were changed for the backend are the client's own again whatever else is left as it is (R12, S6).
        if known.repairs or emulates or asked.names:
            return self._with_repair(request, asked, emulates=emulates)
        return request

    def _translated(self, profile: Profile) -> tuple[Outgoing, Asked]:
        made = self._requests.get(profile)
        if made is None:
            try:
                made = self._translate(profile)
            except InvalidRequest as refusal:  # kept too: hundreds of backends may have this profile
                made = Refusal(refusal.message, refusal.param, refusal.code)
            self._requests[profile] = made
        if isinstance(made, Refusal):
            raise InvalidRequest(made.message, param=made.param, code=made.code)
        return made

    def _translate(self, profile: Profile) -> tuple[Outgoing, Asked]:
        # Let go with the first use: it weighs as much as the body, and few requests meet two profiles.
        shape, self._job.shape = self._job.shape, None
        done = translate(self._job.body, profile, shape=shape, form=self._dialects.request_form)
        lost = done.notes.lost
        lines = f"X-Router-Translation: {done.notes.ids(lost)}\r\n".encode() if lost else b""
        return Outgoing(done.body, lines=lines, rules=frozenset(done.notes.repaired)), done.asked

    def _with_repair(self, request: Outgoing, asked: Asked, *, emulates: bool) -> Outgoing:
        repair = Repair(asked, self._dialects.answer_form, self._new_id, emulates=emulates)
        body = unstreamed(request.body) if emulates else request.body
        return Outgoing(body, repair, request.lines, request.rules)


def note_rules(exchange: Exchange, outgoing: Outgoing) -> None:
    """Put down in the record which rules changed the request and its answer."""
    rules, repair = outgoing.rules, outgoing.repair
    if repair is not None:
        rules |= repair.applied()
    if rules:
        exchange.rules = exchange.rules.union([rule._name_ for rule in rules])  # `name` is computed, in Python
