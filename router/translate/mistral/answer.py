"""An answer in one piece, as the backend sent it -> strictly OpenAI's form. What is no chat answer passes as it is.

An answer in which nothing has to change is the bytes it was. Names, rules and fields: docs/translation.md.
"""

from collections.abc import Callable
from typing import Any

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
    if is_fast and not explain:
        may_leak = leaks and bool(asked.tools) and asked.tool_choice is not ToolChoice.NONE
        usual = read_usual(body, asked, may_leak=may_leak)
        if usual is not None:
            return usual
    if is_too_much := says_too_much(body):
        _check_whole(says_broken(body))
    payload = None if is_too_much else _chat_answer(body)
    if payload is None:
        return body, Notes(explain=explain)
    notes = Notes(explain=explain)
    try:
        _repair(payload, Repairs(asked, form, new_id, leaks, notes))
        if not notes.repaired:
            return body, notes
        return orjson.dumps(payload), notes
    except orjson.JSONEncodeError:  # nests deeper than any answer of a model
        return body, Notes(explain=explain)


def _chat_answer(body: bytes) -> dict[str, Any] | None:
    """Return the answer as an object, None if it is none: other endpoints and errors have forms of their own."""
    try:
        payload = orjson.loads(body)
    except orjson.JSONDecodeError:
        return None
    if not isinstance(payload, dict) or not isinstance(payload.get("choices"), list):
        return None
    return payload if payload.get("object", "chat.completion") == "chat.completion" else None


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
