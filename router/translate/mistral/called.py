"""Calls of answers in one piece: S2 to S7, S9 and S10. What arrives is whatever JSON the backend wrote."""

import re
from collections.abc import Callable
from typing import Any

import msgspec
import orjson

from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.arguments import BLANK, Nesting
from router.translate.mistral.limits import MAX_TEXT
from router.translate.notes import Notes, Rule

Call = dict[str, Any]

_ARGUMENTS_MARK = "[ARGS]"
_TRAILING_ID = re.compile(r"(?:\[CALL_ID\])?[a-zA-Z0-9]{9}\Z")
_skip = msgspec.json.Decoder(msgspec.Raw).decode  # checks JSON without making anything of it


def client_name(name: str, asked: Asked) -> str:
    """Return a function's name as the client knows it (S6).

    Blanks around it go, and so do marks of the model's own format that a parser left at its end, if a known name
    stands before them: "get_weatherabcDEF123[ARGS]".
    """
    name = name.strip()
    if name not in asked.tools:
        shorter = name.removesuffix(_ARGUMENTS_MARK).rstrip()
        bare = _TRAILING_ID.sub("", shorter)
        if shorter in asked.tools:
            name = shorter
        elif bare in asked.tools:
            name = bare
    return asked.names.get(name, name)


def first_value(text: str) -> str:
    """Return the first complete JSON object or array of `text`, all of it if it does not begin with one (S10).

    Text that is JSON as a whole, was cut off, is broken otherwise, or very long is returned as it is.
    """
    blanks = len(text) - len(text.lstrip(BLANK))
    if not text.startswith(("{", "["), blanks) or len(text) > MAX_TEXT or _is_json(text):
        return text
    end = Nesting().scan(text, blanks)
    return text[:end] if end > 0 and _is_json(text[:end]) else text


def whole_arguments(value: object, notes: Notes, *where: object) -> str:
    """Return the arguments of a call as JSON text (S7, S9, S10). Raises TypeError for what nests too deep."""
    if value is None:
        text = ""
        notes.repair(Rule.S7, *where)
    elif isinstance(value, str):
        text = value
    else:
        text = orjson.dumps(value).decode()
        notes.repair(Rule.S7, *where)
    if not text or text.isspace():
        notes.repair(Rule.S9, *where)
        return "{}"
    first = first_value(text)
    if first is not text:
        notes.repair(Rule.S10, *where)
    return first


def repair_calls(
    calls: list[Any], asked: Asked, notes: Notes, *, form: AnswerForm, new_id: Callable[[], str], where: str
) -> list[Call]:
    """Return the calls of one message in OpenAI's form; `where` is the path of the list.

    S21: one call only where the client wants no more. What is no call at all is left out.
    """
    repaired = []
    for position, call in enumerate(calls):
        if isinstance(call, dict):
            repaired.append(_repaired(call, asked, notes, new_id=new_id, where=f"{where}.{position}"))
        else:
            notes.repair(Rule.S4, where, position)
    if asked.single_call and len(repaired) > 1:
        del repaired[1:]
        notes.repair(Rule.S21, where)
    for position, call in enumerate(repaired):
        _index(call, position, notes, form=form, where=f"{where}.{position}")
    return repaired


def made_call(name: str, arguments: str, asked: Asked, notes: Notes, *, new_id: Callable[[], str], where: str) -> Call:
    """Return a call that was found elsewhere than in `tool_calls` (S15); `where` is its path."""
    function = {"name": client_name(name, asked), "arguments": whole_arguments(arguments, notes, where)}
    return {"id": new_id(), "type": "function", "function": function}


def _repaired(call: Call, asked: Asked, notes: Notes, *, new_id: Callable[[], str], where: str) -> Call:
    """Return the call with exactly id (S3), type (S4) and function; its own index stays for `_index` to judge."""
    function = call.get("function")
    if not isinstance(function, dict):
        function = call  # name and arguments beside the id
    id_ = call.get("id")
    if not isinstance(id_, str) or not id_:
        id_ = new_id()
        notes.repair(Rule.S3, where, "id")
    if call.get("type") != "function":
        notes.repair(Rule.S4, where, "type")
    given = function.get("name")
    name = client_name(given if isinstance(given, str) else "", asked)
    if name != given:
        notes.repair(Rule.S6, where, "function.name")
    arguments = whole_arguments(function.get("arguments"), notes, where, "function.arguments")
    if function is call or function.keys() - {"name", "arguments"} or call.keys() - {"index", "id", "type", "function"}:
        notes.repair(Rule.S1, where)
    made: Call = {"id": id_, "type": "function", "function": {"name": name, "arguments": arguments}}
    return {"index": call["index"], **made} if "index" in call else made


def _index(call: Call, position: int, notes: Notes, *, form: AnswerForm, where: str) -> None:
    """S2: OpenAI has no index in an answer in one piece; some clients insist on it, so it can be configured."""
    had_one = "index" in call
    found = call.pop("index", None)
    if form.call_index:
        call["index"] = position
        is_changed = type(found) is not int or found != position
    else:
        is_changed = had_one
    if is_changed:
        notes.repair(Rule.S2, where, "index")


def _is_json(text: str) -> bool:
    try:
        _skip(text)
    except (msgspec.DecodeError, RecursionError, UnicodeError):
        return False
    return True
