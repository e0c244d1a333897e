"""One choice of a stream: its deltas as the backend wrote them -> the deltas that the client gets.

    role  ->  text, reasoning, calls, in the order in which they come  ->  what was held back, the finish_reason

Nothing that comes in is changed in place, so that a delta that needs no repair can be told by comparing.
"""

from typing import Any

from router.translate.mistral import reasoning
from router.translate.mistral.fields import CHOICE_KEYS, DELTA_KEYS, REASONING_KEYS
from router.translate.mistral.finish import finish_reason, is_broken
from router.translate.mistral.leaked import LeakWatcher
from router.translate.mistral.limits import MAX_TEXT
from router.translate.mistral.reasoning import ThinkWatcher
from router.translate.mistral.reply import Repairs, keep_keys
from router.translate.mistral.said import text_of
from router.translate.mistral.streamed import Calls
from router.translate.notes import Rule

Object = dict[str, Any]

_KEYS = DELTA_KEYS | set(REASONING_KEYS)
_NULLABLE = DELTA_KEYS - {"refusal", "tool_calls"}  # keys that are left out where they are null
_BARE = frozenset(("index", "delta", "finish_reason"))


class Choice:
    """One choice. S22: nothing is shared with others."""

    __slots__ = (
        *("_has_role", "_leaks", "_repairs", "_think", "calls", "has_said", "index", "is_broken", "is_calm"),
        "is_finished",
    )

    def __init__(self, index: int, repairs: Repairs) -> None:
        """Nothing of it has come."""
        self.index = index
        self.calls = Calls(repairs)
        self._has_role = False  # the client was told of it
        self.is_finished = False
        self.is_broken = False  # the backend says that it is (S18)
        self.has_said = False  # text, reasoning or a call came (S16)
        self.is_calm = False  # it goes on and nothing is held back
        self._repairs = repairs
        self._think = ThinkWatcher()
        self._leaks = LeakWatcher(repairs.asked.tools) if repairs.leaks and repairs.may_call else None

    @property
    def watches(self) -> bool:
        """Return whether text has to be searched for calls (S15)."""
        return self._leaks is not None

    @property
    def is_text_plain(self) -> bool:
        """Return whether, as long as all is calm, text passes in which no leaked call may begin."""
        return self._think.is_done and (self._leaks is None or self._leaks.is_idle)

    def unless_leaking(self, text: str) -> str | None:
        """Return `text`, None if a leaked call may begin in it; for text that comes while all is calm."""
        return None if self._leaks is not None and self._leaks.may_begin_in(text) else text

    def begin(self) -> None:
        """Take a delta of a role and nothing else; the first one."""
        self._has_role = self.is_calm = True

    def pass_text(self, text: str) -> bool:
        """Take a text that passes as it is, as do all behind it in which no leaked call may begin; return whether it is
        one. Otherwise nothing was taken."""
        if not self.is_calm or not self._has_role or not self._think.passes(text):
            return False
        if self._leaks is not None and not (self._leaks.is_idle and not self._leaks.may_begin_in(text)):
            return False
        self._think.feed(text)
        self.has_said = True
        return True

    def end(self) -> bool:
        """Take the end of a choice that has said no more than text, all of which has passed; return whether it is one.
        Otherwise nothing was taken."""
        if not self.is_calm or not self._has_role or not self.calls.is_untouched:
            return False
        self.is_finished, self.is_calm = True, False
        return True

    def feed(self, choice: Object) -> tuple[list[Object], Object | None]:
        """Return what to send for one choice of a chunk: choices that go before it, each in a chunk of its own, and
        what it became itself, None if nothing is left of it."""
        out = dict(choice)
        keep_keys(out, CHOICE_KEYS, self._repairs, "choices", self.index)
        delta = self._plain(choice.get("delta") or {})
        role = delta.pop("role", None)
        before: list[Object] = []
        self._take_text(delta)
        if "tool_calls" in delta:
            self._take_calls(delta)
        reason = choice.get("finish_reason")
        if reason is not None:
            reason = self._finish(reason, delta, before)
        delta = self._tell_role(role, delta, before)
        self.is_calm = not (self.is_finished or self.is_holding)
        out |= {"index": self.index, "delta": delta, "finish_reason": reason}
        sent = [self.of_delta(one) for one in before]
        if delta or reason is not None or _says_more(out):
            return sent, out
        if not choice.get("delta"):  # else another rule has taken what it said
            self._repairs.notes.repair(Rule.S20, "delta")
        return sent, None

    def of_delta(self, delta: Object) -> Object:
        """Return a choice of our own."""
        return {"index": self.index, "delta": delta, "logprobs": None, "finish_reason": None}

    def give_up(self) -> Object:
        """Return a delta of what is held back, as text; empty if nothing is."""
        delta: Object = {}
        self._release(delta)
        self.is_calm = False
        return delta

    @property
    def is_holding(self) -> bool:
        """Return whether anything that was said is held back."""
        return bool(self._think.held) or (self._leaks is not None and self._leaks.is_holding)

    def _plain(self, given: Object) -> Object:
        """Return a copy of the delta with OpenAI's keys and without those that say nothing (S1, S12, S13, S17)."""
        notes = self._repairs.notes
        delta = dict(given)
        keep_keys(delta, _KEYS, self._repairs, "delta")
        self.has_said |= reasoning.has_any(delta) or bool(delta.get("tool_calls"))
        if reasoning.rename(delta, self._repairs.form.reasoning):
            notes.repair(Rule.S17, "delta")
        for key in _NULLABLE & delta.keys():
            if delta[key] is None:
                del delta[key]
                notes.repair(Rule.S12, "delta", key)
        calls = delta.get("tool_calls")
        if isinstance(calls, dict):
            delta["tool_calls"] = [calls]
        elif not (isinstance(calls, list) and calls) and "tool_calls" in delta:
            del delta["tool_calls"]
            notes.repair(Rule.S13, "delta.tool_calls")
        return delta

    def _take_text(self, delta: Object) -> None:
        """S13, S15, S17: let the content through the watchers."""
        content = delta.get("content", "")
        if not isinstance(content, str):
            content, thoughts = text_of(content)
            self._repairs.notes.repair(Rule.S13, "delta.content")
            self._put(delta, content, thoughts)
        if not content or self.is_finished:
            return
        self.has_said = True
        parted = self._think.feed(content)
        text = parted.content
        if self._leaks is not None and text:
            text = self._leaks.feed(text) if len(text) <= MAX_TEXT else self._leaks.pass_over(text)
        if text != content:
            self._put(delta, text, parted.reasoning)

    def _put(self, delta: Object, content: str, thoughts: str) -> None:
        if content:
            delta["content"] = content
        else:
            delta.pop("content", None)
        if thoughts:
            reasoning.put(delta, thoughts, self._repairs.form.reasoning)
            self._repairs.notes.repair(Rule.S17, "delta.content")

    def _take_calls(self, delta: Object) -> None:
        """S2 to S10, S21; text that is held back comes before the calls, or with them."""
        entries = self.calls.feed(delta.pop("tool_calls"))
        if entries:
            self._release(delta)
            delta["tool_calls"] = entries

    def _release(self, delta: Object) -> None:
        """Add all that is held back to the delta, as text."""
        thoughts, content = self._think.finish()
        if self._leaks is not None:
            content = self._leaks.feed(content) + self._leaks.release()
        if content or thoughts:
            self._put(delta, delta.get("content", "") + content, thoughts)

    def _finish(self, reason: object, delta: Object, before: list[Object]) -> str | None:
        """S11: return why the choice ended; what was held back goes before it. None: it is not whole (S18)."""
        if self.is_finished:
            self._repairs.notes.repair(Rule.S11, "finish_reason")
            return None
        self.is_finished = True
        if is_broken(reason):
            self._release(delta)
            self.is_broken = True
            self._repairs.notes.repair(Rule.S11, "finish_reason")
            self._repairs.notes.repair(Rule.S18, "finish_reason")
            return None
        self._recover(delta, before)
        # A backend that swallows calls says that there are some (S16); others lose those that nobody asked for (S21).
        has_calls = self.calls.has_any or (reason == "tool_calls" and self._repairs.may_call)
        told = finish_reason(reason, has_calls=has_calls, asked=self._repairs.asked)
        if told != reason:
            self._repairs.notes.repair(Rule.S11, "finish_reason")
        self._fill(delta, before)
        return told

    def _recover(self, delta: Object, before: list[Object]) -> None:
        """S15: say what leaked as calls, behind the text."""
        thoughts, content = self._think.finish()
        leaked: list[tuple[str, str]] = []
        if self._leaks is not None:
            content = self._leaks.feed(content)
            rest, leaked = self._leaks.finish()
            content += rest
        if content or thoughts:
            self._put(delta, delta.get("content", "") + content, thoughts)
        entries = [entry for name, arguments in leaked if (entry := self.calls.add(name, arguments)) is not None]
        if entries:
            self._repairs.notes.repair(Rule.S15, "delta.content")
            if delta:
                before.append(dict(delta))
                delta.clear()
            before.append({"tool_calls": entries})

    def _fill(self, delta: Object, before: list[Object]) -> None:
        """S9: calls without arguments get {}, those that began in this very delta there."""
        begun = {entry["index"]: entry["function"] for entry in delta.get("tool_calls", ())}
        late = []
        for entry in self.calls.unfilled():
            if entry["index"] in begun:
                begun[entry["index"]]["arguments"] += entry["function"]["arguments"]
            else:
                late.append(entry)
        if late:
            before.append({"tool_calls": late})

    def _tell_role(self, given: object, delta: Object, before: list[Object]) -> Object:
        """S12: the role stands in the first chunk, and nowhere else; return the delta with it, if it belongs there.

        `given`: the role that came with the delta, None if none did.
        """
        if self._has_role:
            if given is not None:
                self._repairs.notes.repair(Rule.S12, "delta.role")
            return delta
        self._has_role = True
        if given != "assistant" or before:
            self._repairs.notes.repair(Rule.S12, "delta.role")
        if given is not None and not before:
            return {"role": "assistant", **(delta or {"content": ""})}
        before.insert(0, {"role": "assistant", "content": ""})
        return delta


def _says_more(choice: Object) -> bool:
    """Return whether there is anything in it but its delta."""
    return any(value for key, value in choice.items() if key not in _BARE)
