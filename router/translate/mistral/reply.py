"""One choice of an answer in one piece, in OpenAI's form: its message, its calls and why it ended."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral import reasoning
from router.translate.mistral.called import Call, made_call, repair_calls
from router.translate.mistral.fields import ANSWER_CHOICE_KEYS, MESSAGE_KEYS, REASONING_KEYS
from router.translate.mistral.finish import finish_reason
from router.translate.mistral.leaked import find_calls
from router.translate.mistral.limits import MAX_TEXT
from router.translate.mistral.said import text_of
from router.translate.notes import Notes, Rule

Object = dict[str, Any]

_MESSAGE_KEYS = MESSAGE_KEYS | set(REASONING_KEYS)


@dataclass(frozen=True, slots=True)
class Repairs:
    """What the repair of one answer needs to know, and where it notes what it did."""

    asked: Asked
    form: AnswerForm
    new_id: Callable[[], str]
    leaks: bool
    notes: Notes

    @property
    def may_call(self) -> bool:
        """Return whether the client is prepared for calls (S21)."""
        return bool(self.asked.tools) and self.asked.tool_choice is not ToolChoice.NONE


def keep_keys(holder: Object, keys: frozenset[str] | set[str], repairs: Repairs, *where: object) -> None:
    """S1: leave out every key that is in no table of OpenAI's, but those that the request asked for."""
    if holder.keys() <= keys:
        return
    for key in holder.keys() - keys - repairs.asked.extras:
        del holder[key]
        repairs.notes.repair(Rule.S1, *where, key)


def repair_choice(choice: Object, position: int, repairs: Repairs) -> None:
    """Repair one choice in place. A choice without a message is left alone but for keys that only vLLM knows."""
    where = f"choices.{position}"
    keep_keys(choice, ANSWER_CHOICE_KEYS, repairs, where)
    if type(choice.get("index")) is not int:
        choice["index"] = position
        repairs.notes.repair(Rule.S22, where, "index")
    message = choice.get("message")
    if not isinstance(message, dict):
        return
    _repair_message(message, f"{where}.message", repairs)
    given = choice.get("finish_reason")
    reason = finish_reason(given, has_calls="tool_calls" in message, asked=repairs.asked)
    if reason != given:
        choice["finish_reason"] = reason
        repairs.notes.repair(Rule.S11, where, "finish_reason")


def _repair_message(message: Object, where: str, repairs: Repairs) -> None:
    notes = repairs.notes
    if message.get("role") != "assistant":
        message["role"] = "assistant"
        notes.repair(Rule.S12, where, "role")
    if message.get("annotations", ()) is None:
        message["annotations"] = []
        notes.repair(Rule.S13, where, "annotations")
    if "tool_calls" in message:
        _repair_calls(message, where, repairs)
    content = message.get("content")
    if content is not None and not isinstance(content, str):
        message["content"], thoughts = text_of(content)
        if thoughts and not reasoning.has_any(message):
            message["reasoning_content"] = thoughts
            notes.repair(Rule.S17, where, "content")
        notes.repair(Rule.S13, where, "content")
    _repair_reasoning(message, where, repairs)
    keep_keys(message, _MESSAGE_KEYS, repairs, where)
    may_leak = repairs.leaks and repairs.may_call and "tool_calls" not in message
    if may_leak and 0 < len(message.get("content") or "") <= MAX_TEXT:
        _recover_calls(message, where, repairs)
    _settle_content(message, where, repairs)


def _repair_calls(message: Object, where: str, repairs: Repairs) -> None:
    """Leave `tool_calls` with at least one call, or take the key away (S13, S21)."""
    where = f"{where}.tool_calls"
    given = message["tool_calls"]
    if not isinstance(given, list) or not given:
        del message["tool_calls"]
        repairs.notes.repair(Rule.S13, where)
        return
    if not repairs.may_call:
        del message["tool_calls"]
        repairs.notes.repair(Rule.S21, where)
        return
    calls = repair_calls(given, repairs.asked, repairs.notes, form=repairs.form, new_id=repairs.new_id, where=where)
    if calls:
        message["tool_calls"] = calls
    else:
        del message["tool_calls"]


def _repair_reasoning(message: Object, where: str, repairs: Repairs) -> None:
    """S17, in the field that a reasoning parser fills and in the content of a backend that has none."""
    for key in REASONING_KEYS:
        if message.get(key, "") is None:
            del message[key]
            repairs.notes.repair(Rule.S1, where, key)
    content = message.get("content")
    if isinstance(content, str) and reasoning.may_begin(content) and not reasoning.has_any(message):
        parted = reasoning.split(content)
        if parted is not None:
            message["content"] = parted.content
            message["reasoning_content"] = parted.reasoning
            repairs.notes.repair(Rule.S17, where, "content")
    if reasoning.rename(message, repairs.form.reasoning):
        repairs.notes.repair(Rule.S17, where, "reasoning")


def _recover_calls(message: Object, where: str, repairs: Repairs) -> None:
    """S15: calls that stand in the text, in the model's own format, become calls."""
    found = find_calls(message["content"], repairs.asked.tools)
    if found is None or not found[1]:
        return
    message["content"], leaked = found
    where = f"{where}.tool_calls"
    calls: list[Call] = []
    for position, (name, arguments) in enumerate(leaked[:1] if repairs.asked.single_call else leaked):
        call = made_call(
            name, arguments, repairs.asked, repairs.notes, new_id=repairs.new_id, where=f"{where}.{position}"
        )
        calls.append({"index": position, **call} if repairs.form.call_index else call)
    message["tool_calls"] = calls
    repairs.notes.repair(Rule.S15, where)


def _settle_content(message: Object, where: str, repairs: Repairs) -> None:
    """S13: beside calls empty content is null; without them null is empty content, unless something else was said."""
    content = message.get("content")
    if content or (content is None and (message.get("refusal") or message.get("function_call"))):
        return
    wanted = None if "tool_calls" in message or message.get("audio") else ""
    if content != wanted or "content" not in message:
        message["content"] = wanted
        repairs.notes.repair(Rule.S13, where, "content")
