"""A stream of a backend, event by event -> strictly OpenAI's form. Bytes that need no repair pass as they are.

    block -> fast: one learned event, the same but for its text -> out
          -> usual: an event that every stream has, seen to need no repair but to be cut (usual_events.py) -> out
          -> slow: each event parsed, its choices repaired (delta.py), compared with what came -> out, and learned from

The fast path proves nothing on its own: the slow path has shown what becomes of an event, and `Patterns` that another
one differs from it in one JSON string only. So what is learned from one piece of text holds for every other.
"""

from collections.abc import Callable, Collection
from typing import Any

import orjson
from msgspec import UNSET

from router.errors import error_object
from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.chunk import encode, is_chunk, is_error, read, split
from router.translate.mistral.delta import Choice
from router.translate.mistral.fields import CHUNK_KEYS
from router.translate.mistral.finish import says_broken
from router.translate.mistral.leaked import MARK_ENDS, MARK_PART
from router.translate.mistral.limits import MAX_CALLS, MAX_CHOICES
from router.translate.mistral.pattern import Pattern, Patterns, is_free
from router.translate.mistral.reply import Repairs, keep_keys
from router.translate.mistral.usage import plain_usage
from router.translate.mistral.usual_events import Said, read_usual
from router.translate.notes import Notes, Rule
from router.wire.sse import data_line, encode_event, event_data, event_name

Object = dict[str, Any]

_loads = orjson.loads

DONE = b"[DONE]"
CHUNK = "chat.completion.chunk"

_PLAIN = AnswerForm()
_BROKEN = encode_event(
    orjson.dumps(error_object("The backend broke off its answer.", "server_error", code="upstream_unavailable"))
)
_LF = 0x0A


class StreamTranslator:
    """One stream. S22: choices are kept apart; S23, S24: what else stands in a chunk passes."""

    __slots__ = (
        *("_choices", "_completion_tokens", "_first", "_is_done", "_is_fast", "_is_odd", "_is_passing", "_known"),
        *("_patterns", "_repairs", "_usage", "_usage_told", "notes"),
    )

    def __init__(
        self,
        asked: Asked,
        *,
        form: AnswerForm = _PLAIN,
        new_id: Callable[[], str],
        leaks: bool = True,
        is_fast: bool = True,
    ) -> None:
        """`new_id` gives nine random letters or digits; `leaks`: text is searched for calls (S15).

        `is_fast`: learn from events, which changes nothing but the time that it takes.
        """
        self.notes = Notes()
        self._repairs = Repairs(asked, form, new_id, leaks, self.notes)
        self._patterns = Patterns(self.notes, is_on=is_fast)
        self._known = self._patterns.live()
        self._is_fast = is_fast
        self._choices: dict[int, Choice] = {}
        self._first: Object | None = None  # id, object, created and model of the first chunk
        self._usage: Object | None = None  # the last that came and was not sent
        self._usage_told = False
        self._completion_tokens = 0
        self._is_done = False  # what ends the stream was sent
        self._is_passing = False  # an error of the backend's was sent: all behind it passes
        self._is_odd = False  # something was not understood

    @property
    def swallowed(self) -> bool:
        """Return whether the backend counts tokens of which it sent nothing, where calls were possible (S16)."""
        if not self._repairs.may_call or self._completion_tokens <= 1 or self._is_odd:
            return False
        return not any(choice.has_said for choice in self._choices.values())

    @property
    def is_holding(self) -> bool:
        """Return whether text is held back, as it may yet become a call (S15)."""
        return any(choice.is_holding for choice in self._choices.values())

    @property
    def passing(self) -> Pattern | None:
        """Return the pattern that most events have now, where any text fits it (`leaked.has_no_mark`, where its text is
        watched): such events need not be fed."""
        known = self._known
        return known[0] if known and is_free(known[0]) else None

    def feed(self, block: bytes) -> bytes:
        """Take whole events, each with its terminator; return whole events, `block` itself where nothing changes."""
        for prefix, suffix, place, guard, is_text, pieces in self._known:
            if block.startswith(prefix) and block.endswith(suffix):
                literal = block[place]
                try:
                    text = _loads(literal)  # proves that it is one JSON string
                except orjson.JSONDecodeError:
                    several = self._patterns.apply_to_many(block) if _LF in literal else None  # several events
                    if several is None:
                        break
                    return several
                # May a leaked call begin in it? See leaked.py.
                if guard is None or (is_text and text and text[-1] not in MARK_ENDS and MARK_PART not in text):
                    return block if pieces is None else literal.join(pieces)
                kept = guard(text)
                if kept is text:
                    return block if pieces is None else literal.join(pieces)
                if kept is None:
                    break
                return self._patterns.cut(kept, prefix, suffix, pieces)
        return self._feed_slowly(block)

    def _feed_slowly(self, block: bytes) -> bytes:
        events = split(block) if data_line(block) is None else [block]
        if len(events) == 1:
            usual = self._take_usual(block) if self._is_fast else None
            translated = self._take(block) if usual is None else usual
            self._known = self._patterns.live()
            return translated
        outs = [self.feed(event) for event in events]
        return b"".join(outs) if any(one is not other for one, other in zip(outs, events, strict=True)) else block

    def finish(self) -> bytes:
        """Return what was held back, as text: the backend's framing has ended. Whether all came is not judged here."""
        if self._is_done or self._is_passing:
            return b""
        return self._give_up()

    def _take_usual(self, event: bytes) -> bytes | None:
        """Return what becomes of an event that every stream has, None where it has to be looked at closer."""
        read = None if self._is_passing or self._is_done or self._repairs.asked.extras else read_usual(event)
        if read is None:
            return None
        chunk, cut = read
        head = {"id": chunk.id, "object": CHUNK, "created": chunk.created, "model": chunk.model}
        if (self._first is not None and head != self._first) or not self._take_said(chunk.choices[0], event):
            return None
        self._first = head
        if len(cut) == len(event):
            return event
        self.notes.repair(Rule.S1)
        return cut

    def _take_said(self, said: Said, event: bytes) -> bool:
        """Take what a usual event says: the role, text or the end; return whether it is one of these."""
        text, choice = said.delta.content, self._choices.get(said.index)
        if choice is None:
            if said.delta.role is UNSET or text != "" or said.finish_reason or len(self._choices) == MAX_CHOICES:
                return False
            choice = self._choices[said.index] = Choice(said.index, self._repairs)
            choice.begin()
            return True
        if said.delta.role is not UNSET:
            return False
        if said.finish_reason:
            return not (isinstance(text, str) and text) and choice.end()
        if not (isinstance(text, str) and text and choice.pass_text(text)):
            return False
        self._patterns.learn_text(event, choice)
        return True

    def _take(self, event: bytes) -> bytes:
        if self._is_passing:
            return event
        data = event_data(event)
        if data is None:  # a comment
            return event
        if self._is_done:
            self.notes.repair(Rule.S20, "data")
            return b""
        if data.strip() == DONE:
            return self._end(event)
        chunk = read(data)
        if chunk is None:
            return self._pass_odd(event, data)
        name = event_name(event)
        if is_error(chunk, name):
            self._is_passing = True
            self.notes.repair(Rule.S18, "error")  # by the relay, which tells the client of any failure
            held = self._give_up()
            return held + event if held else event
        if not is_chunk(chunk) or self._has_too_many(chunk.get("choices") or ()):
            return self._pass_odd(event, data)
        return self._chunk(event, chunk, name)

    def _pass_odd(self, event: bytes, data: bytes) -> bytes:
        """Pass what is not understood, or holds too much; one that says that it is broken ends the stream (S18)."""
        self._is_odd = True
        if not says_broken(data):
            return event
        self.notes.repair(Rule.S18, "finish_reason")
        return self._give_up() + event + self._break_off()

    def _chunk(self, event: bytes, chunk: Object, name: str | None) -> bytes:
        """Repair one chunk: its head, its choices, its usage."""
        given = chunk.get("choices") or []
        if self._holds_too_many_calls(given):
            self.notes.repair(Rule.S18, "tool_calls")
            return self._give_up() + self._break_off()
        main = dict(chunk)
        keep_keys(main, CHUNK_KEYS, self._repairs)
        first = self._keep_head(main)
        before: list[Object] = []
        kept: list[Object] = []
        choices = [self._choice_of(one, position) for position, one in enumerate(given)]
        for choice, one in zip(choices, given, strict=True):
            sent, rest = choice.feed(one)
            before += sent
            if rest is not None:
                kept.append(rest)
        self._take_usage(main, has_choices=bool(given))
        main["choices"] = kept
        is_sent = bool(kept or (not given and main.get("usage")))
        out = event if main == chunk else encode(main, name) if is_sent else b""
        if any(choice.is_broken for choice in choices):
            return self._events(first, before) + out + self._break_off()
        if any(choice.calls.take_renewed() for choice in choices):
            self._patterns.forget()
        elif len(choices) == 1 and not before and name is None:
            self._patterns.learn(event, chunk, choices[0], main=chunk if out is event else main if is_sent else None)
        return self._events(first, before) + out if before else out

    def _holds_too_many_calls(self, given: list[Object]) -> bool:
        """Return whether there are more calls, in a chunk or of all choices, than anybody can read."""
        deltas = [one.get("delta") for one in given]
        told = [delta["tool_calls"] for delta in deltas if isinstance(delta, dict) and delta.get("tool_calls")]
        if not told:
            return False
        coming = sum(len(calls) for calls in told if isinstance(calls, list))
        return max(coming, sum(choice.calls.known for choice in self._choices.values())) > MAX_CALLS

    def _break_off(self) -> bytes:
        """End the stream with an error event (S18, S19); nothing that comes behind is sent."""
        self._is_done = True
        self._patterns.forget()
        return _BROKEN

    def _choice_of(self, given: Object, position: int) -> Choice:
        index = given.get("index")
        if type(index) is not int:
            index = position
            self.notes.repair(Rule.S22, "choices", position, "index")
        choice = self._choices.get(index)
        if choice is None:
            choice = self._choices[index] = Choice(index, self._repairs)
        return choice

    def _has_too_many(self, given: Collection[Object]) -> bool:
        """Return whether there are more choices, in a chunk or of all chunks, than are repaired."""
        if len(given) > MAX_CHOICES:
            return True
        return len(self._choices) + len(given) > MAX_CHOICES and any(map(self._is_new, given))

    def _is_new(self, choice: Object) -> bool:
        index = choice.get("index")
        return type(index) is not int or index not in self._choices

    def _keep_head(self, main: Object) -> Object:
        """Give the chunk the id, date and model of the first one (S20, S23), and return them."""
        if self._first is None:
            id_, created, model = main.get("id"), main.get("created"), main.get("model")
            self._first = {
                "id": id_ if isinstance(id_, str) and id_ else f"chatcmpl-{self._repairs.new_id()}",
                "object": CHUNK,
                "created": created if type(created) is int else 0,
                "model": model if isinstance(model, str) else "",
            }
        for key, value in self._first.items():
            if main.get(key) != value:
                main[key] = value
                self.notes.repair(Rule.S20, key)
        return self._first

    def _take_usage(self, main: Object, *, has_choices: bool) -> None:
        """S14: leave usage where it was asked for; what was asked for and stands elsewhere is kept for the end."""
        usage = main.get("usage")
        if usage is None:
            return
        asked = self._repairs.asked
        if isinstance(usage, dict):
            main["usage"] = usage = plain_usage(usage, self._repairs)
            self._completion_tokens = max(self._completion_tokens, usage["completion_tokens"])
            if has_choices and asked.continuous_usage:
                return
            if not has_choices and asked.include_usage and not self._usage_told and self._is_finished:
                self._usage_told = True
                return
            self._usage = usage
        del main["usage"]
        self.notes.repair(Rule.S14, "usage")

    @property
    def _is_finished(self) -> bool:
        return all(choice.is_finished for choice in self._choices.values())

    def _end(self, event: bytes) -> bytes:
        """End the stream with [DONE], or with an error where an answer is not whole (S19)."""
        is_cut = not (self._is_odd or (self._choices and self._is_finished))
        out = self._give_up()
        if is_cut:
            self.notes.repair(Rule.S19, "choices")
            return out + self._break_off()
        self._is_done = True
        if self._usage is not None and self._repairs.asked.include_usage and not self._usage_told:
            out += encode({**(self._first or {}), "choices": [], "usage": self._usage}, None)
        return out + event if out else event

    def _give_up(self) -> bytes:
        """Return what is held back of choices that have not ended, as text."""
        unfinished = [choice for choice in self._choices.values() if not choice.is_finished]
        held = [choice.of_delta(delta) for choice in unfinished if (delta := choice.give_up())]
        return self._events(self._first or {}, held)

    @staticmethod
    def _events(first: Object, choices: list[Object]) -> bytes:
        return b"".join([encode({**first, "choices": [choice]}, None) for choice in choices])
