"""An answer in one piece, as the backend sent it -> strictly OpenAI's form. What is no chat answer passes as it is.

An answer in which nothing has to change is the bytes it was. Names, rules and fields: docs/translation.md.
"""

from collections.abc import Callable
from typing import Any, TypeGuard

import orjson

from router.errors import BackendUnavailable
from router.translate.asked import AnswerForm, Asked, ToolChoice
from router.translate.mistral.fields import ANSWER_KEYS
from router.translate.mistral.finish import is_broken, says_broken
from router.translate.mistral.limits import MAX_CALLS, MAX_CHOICES, says_too_much
from router.translate.mistral.reply import Repairs, keep_keys, repair_choice
from router.translate.mistral.usage import plain_usage
from router.translate.mistral.usual import read_usual
from router.translate.notes import Notes

_PLAIN = AnswerForm()


def translate_answer(
    body: bytes,
    asked: Asked,
    *,
    form: AnswerForm = _PLAIN,
    new_id: Callable[[], str],
    leaks: bool = True,
    explain: bool = False,
    is_fast: bool = True,
) -> tuple[bytes, Notes]:
    """Return the answer for the client and what was changed in it; `body` itself where nothing had to change.

    `new_id` gives nine random letters or digits. `leaks`: calls in the text are looked for (S15). S23, S24: the model's
    name, logprobs, refusal, service_tier and system_fingerprint pass.

    `is_fast`: usual answers are read quickly, which changes nothing but the time that it takes.

    Raises `BackendUnavailable` for an answer that says of itself that it was broken off (S18): it must not look whole;
    and for one with more calls than anybody can read.
    """
    usual = _read_usual(body, asked, leaks=leaks) if is_fast and not explain else None
    if usual is not None:
        return usual
    payload, notes = _repaired(body, Repairs(asked, form, new_id, leaks, Notes(explain=explain)))
    if not notes.repaired:
        return body, notes
    try:
        return orjson.dumps(payload), notes
    except orjson.JSONEncodeError:  # nests deeper than any answer of a model
        return body, Notes(explain=explain)


def repaired_answer(
    body: bytes, asked: Asked, *, form: AnswerForm = _PLAIN, new_id: Callable[[], str]
) -> tuple[Any, Notes]:
    """Do as `translate_answer` for who goes on with what the answer says: a long one is read once, and not written.

    What is no chat answer is returned as it is. None: it is no JSON, or more than can be read or written.
    """
    usual = _read_usual(body, asked, leaks=True)
    if usual is not None:
        return read_answer(usual[0]), usual[1]
    return _repaired(body, Repairs(asked, form, new_id, True, Notes()))


def _read_usual(body: bytes, asked: Asked, *, leaks: bool) -> tuple[bytes, Notes] | None:
    may_leak = leaks and bool(asked.tools) and asked.tool_choice is not ToolChoice.NONE
    return read_usual(body, asked, may_leak=may_leak)


def _repaired(body: bytes, repairs: Repairs) -> tuple[Any, Notes]:
    payload = read_answer(body)
    try:
        if _is_chat_answer(payload):
            _repair(payload, repairs)
    except orjson.JSONEncodeError:  # arguments that nest deeper than any answer of a model
        return None, Notes(explain=repairs.notes.steps is not None)
    return payload, repairs.notes


def read_answer(body: bytes) -> Any:
    """Return what an answer says; None where it is no JSON, or holds too much to be read.

    Raises `BackendUnavailable` where such a one says that it was broken off (S18).
    """
    if says_too_much(body):
        _check_whole(says_broken(body))
        return None
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError:
        return None


def _is_chat_answer(payload: Any) -> TypeGuard[dict[str, Any]]:
    """Return whether it is one: other endpoints and errors have forms of their own."""
    if not isinstance(payload, dict) or not isinstance(payload.get("choices"), list):
        return False
    return bool(payload.get("object", "chat.completion") == "chat.completion")


def _repair(payload: dict[str, Any], repairs: Repairs) -> None:
    keep_keys(payload, ANSWER_KEYS, repairs)
    _check_whole(any(isinstance(one, dict) and is_broken(one.get("finish_reason")) for one in payload["choices"]))
    choices = payload["choices"][:MAX_CHOICES]
    if sum(map(_calls, choices)) > MAX_CALLS:
        raise BackendUnavailable("The backend's answer has more calls than can be read.")
    for position, choice in enumerate(choices):
        if isinstance(choice, dict):
            repair_choice(choice, position, repairs)
    if isinstance(usage := payload.get("usage"), dict):
        payload["usage"] = plain_usage(usage, repairs)


def _check_whole(is_broken_off: bool) -> None:
    """Raises `BackendUnavailable` for an answer that was broken off (S18)."""
    if is_broken_off:
        raise BackendUnavailable("The backend broke off its answer.")


def _calls(choice: Any) -> int:
    """Return how many calls there are in a choice."""
    message = choice.get("message") if isinstance(choice, dict) else None
    calls = message.get("tool_calls") if isinstance(message, dict) else None
    return len(calls) if isinstance(calls, list) else 0
