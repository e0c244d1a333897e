"""Messages that the fast reader does not know: other roles, keys and types of values (R1, R2)."""

from typing import Any

import msgspec
from msgspec import Raw

from router.translate.mistral.calls import read_calls
from router.translate.mistral.limits import READ_LIST, calls_tally, check_messages
from router.translate.mistral.message import Assistant, Developer, Message, System, Tool, User, decode
from router.translate.mistral.parts import LONGEST_TOLD, text_or_none
from router.translate.mistral.roles import tell_dropped
from router.translate.mistral.values import UNREADABLE, refusal
from router.translate.notes import Notes, Rule

# OpenAI's own roles, and what others call them.
ROLES: dict[str, type] = {
    **dict.fromkeys(("system",), System),
    **dict.fromkeys(("developer",), Developer),
    **dict.fromkeys(("user", "human"), User),
    **dict.fromkeys(("assistant", "ai", "model"), Assistant),
    **dict.fromkeys(("tool", "function", "tool_results", "tool_result"), Tool),
}
OWN = frozenset(("system", "developer", "user", "assistant", "tool"))
READ_MESSAGE: msgspec.json.Decoder[Message] = msgspec.json.Decoder(Message)
READ_KEYS = msgspec.json.Decoder(dict[str, Raw])


def read_messages(raw: object, notes: Notes) -> list[Message]:
    """Return messages of any shape. Raises InvalidRequest where there are none, or one is no object (R37)."""
    try:
        listed = READ_LIST.decode(raw) if isinstance(raw, Raw) else None
    except UNREADABLE:
        listed = None
    if listed is None:
        raise refusal("messages must be a list", "messages")
    check_messages(len(listed))
    tally = calls_tally()
    messages = []
    for origin, entry in enumerate(listed):
        message = read_message(entry, origin, notes)
        if isinstance(message, Assistant) and message.tool_calls:
            tally.add(len(message.tool_calls), f"messages.{origin}.tool_calls")
        messages.append(message)
    return messages


def read_message(raw: Raw, origin: int, notes: Notes) -> Message:
    """Return one message. R2: roles get OpenAI's names. R1: keys that are not known are left out.

    Raises InvalidRequest for what is no object, or has a role that nobody knows (R37).
    """
    try:
        return READ_MESSAGE.decode(raw)
    except UNREADABLE:
        return _read_oddly(raw, origin, notes)


def _read_oddly(raw: Raw, origin: int, notes: Notes) -> Message:
    try:
        held = READ_KEYS.decode(raw)
    except UNREADABLE:
        raise refusal(f"messages.{origin} must be an object", f"messages.{origin}") from None
    message: Message = _role(held.pop("role", None), origin, notes)()
    for key, value in held.items():
        known: Any = value
        if key not in message.__struct_fields__:
            tell_dropped(key, value, origin, notes)
            continue
        if key == "tool_calls":
            known = read_calls(value, "messages", origin, key, notes=notes)
        elif key == "tool_call_id":
            known = decode(value)
            if not isinstance(known, str | None):
                known = text_or_none(known)
                notes.repair(Rule.R3, "messages", origin, key)
        setattr(message, key, known)
    return message


def _role(raw: Raw | None, origin: int, notes: Notes) -> Any:
    """R2: return the type of message that a role means."""
    where = f"messages.{origin}.role"
    role = decode(raw) if raw is not None else None
    if not isinstance(role, str):
        raise refusal(f"{where} must be a string", where)
    kind = ROLES.get(role.lower())
    if kind is None:
        raise refusal(f"{where}: {role[:LONGEST_TOLD]!r} is not a role that is known", where)
    if role not in OWN:
        notes.repair(Rule.R2, "messages", origin, "role")
    return kind
