"""From chat messages to a prompt's token ids, with the checks that vLLM's Mistral tokenizer makes."""

from typing import Any

import orjson

from router.simulator import tokens
from router.simulator.body import Body, required
from router.simulator.refusals import Refusal, bad, bad_value, invalid
from router.simulator.settings import Settings
from router.simulator.tokens import encode

_ROLES = ("system", "user", "assistant", "tool")
# Which roles may follow one; "" is the start of the conversation.
_AFTER = {
    "": ("system", "user", "assistant"),
    "system": ("system", "user", "assistant"),
    "user": ("system", "user", "assistant"),
    "assistant": ("user", "assistant", "tool"),
    "tool": ("user", "assistant", "tool"),
}
_IMAGE_TOKENS = 64


def messages_of(body: Body) -> list[dict[str, Any]]:
    """Return the messages of a request. Raises Refusal."""
    messages = required(body, "messages")
    if not isinstance(messages, list):
        raise invalid("list_type", "body.messages", "Input should be a valid list", given=str(messages))
    if not messages:
        raise bad("list index out of range")
    for index, message in enumerate(messages):
        if not isinstance(message, dict):
            where = f"body.messages.{index}"
            raise invalid("dict_type", where, "Input should be a valid dictionary", given=str(message))
    return messages


def text_of(message: dict[str, Any], settings: Settings) -> tuple[str, int]:
    """Return a message's text and how many images it has. Raises Refusal."""
    content = message.get("content")
    if isinstance(content, str):
        return content, 0
    if content is None and message.get("role") != "user":
        return "", 0
    if not isinstance(content, list):
        where = "body.messages.0.ChatCompletionUserMessageParam.content"
        raise invalid("string_type", where, "Input should be a valid string", given=str(content))
    texts, images = [], 0
    for part in content:
        kind = part.get("type") if isinstance(part, dict) else "text"
        if kind in ("image_url", "input_image", "image"):
            if not settings.vision:
                raise bad(f"{settings.model} is not a multimodal model")
            images += 1
        else:
            texts.append(str(part.get("text", "")) if isinstance(part, dict) else str(part))
    return "".join(texts), images


def check_conversation(body: Body, messages: list[dict[str, Any]]) -> None:
    """Refuse an order of messages that Mistral's tokenizer refuses. Raises Refusal."""
    previous = ""
    calls: set[str] = set()
    for message in messages:
        role = message.get("role")
        if role not in _ROLES:
            raise bad(f"Unknown message role: {role}")
        if role not in _AFTER[previous]:
            raise bad(f"Unexpected role '{role}' after role '{previous}'")
        if role == "assistant":
            calls |= _call_ids(message)
        elif role == "tool" and message.get("tool_call_id") not in calls:
            raise bad(f"Unexpected tool call id {message.get('tool_call_id')} in tool results")
        previous = str(role)
    _check_ending(body, previous)


def _call_ids(message: dict[str, Any]) -> set[str]:
    made = message.get("tool_calls") or []
    if not made and not message.get("content"):
        shown = f"role='assistant' content={message.get('content')!r} tool_calls=None prefix=False"
        raise bad(f"Invalid assistant message: {shown}")
    return {call["id"] for call in made if isinstance(call, dict) and isinstance(call.get("id"), str)}


def _check_ending(body: Body, last: str) -> None:
    continues = bool(body.get("continue_final_message"))
    begins = bool(body.get("add_generation_prompt", True))
    if continues and begins:
        raise bad("Cannot set both `continue_final_message` and `add_generation_prompt` to True.")
    if continues and last != "assistant":
        raise bad("Cannot set `continue_final_message` to True when the last message is not from the assistant.")
    if begins and last == "assistant":
        raise bad(
            "Cannot set `add_generation_prompt` to True when the last message is from the assistant. "
            "Consider using `continue_final_message` instead."
        )


def render(body: Body, settings: Settings) -> list[int]:
    """Return the prompt's token ids; a final message that is to be continued ends them. Raises Refusal."""
    messages = messages_of(body)
    check_conversation(body, messages)
    ids = [tokens.BEGIN]
    if body.get("tools"):
        ids += [tokens.TOOLS, *encode(orjson.dumps(body["tools"]).decode()), tokens.TOOLS_END]
    for index, message in enumerate(messages):
        is_last = index == len(messages) - 1
        ids += _message_ids(message, settings, is_open=is_last and bool(body.get("continue_final_message")))
    return ids


def _message_ids(message: dict[str, Any], settings: Settings, *, is_open: bool) -> list[int]:
    text, images = text_of(message, settings)
    content = [tokens.IMAGE] * (_IMAGE_TOKENS * images) + encode(text)
    role = message["role"]
    if role == "system":
        return [tokens.SYSTEM, *content, tokens.SYSTEM_END]
    if role == "user":
        return [tokens.INST, *content, tokens.INST_END]
    if role == "tool":
        return [tokens.RESULTS, *content, tokens.RESULTS_END]
    if message.get("tool_calls"):
        content += [tokens.CALLS, *encode(orjson.dumps(message["tool_calls"]).decode())]
    return content if is_open else [*content, tokens.END]


def truncated(ids: list[int], body: Body) -> list[int]:
    """Return the ids that `truncate_prompt_tokens` leaves: the last ones. Raises Refusal."""
    keep = body.get("truncate_prompt_tokens")
    if keep is None:
        return ids
    if isinstance(keep, bool) or not isinstance(keep, int) or keep < -1:
        raise _bad_truncation(keep)
    return ids[-keep:] if 0 < keep < len(ids) else ids


def _bad_truncation(given: Any) -> Refusal:
    return bad_value("truncate_prompt_tokens must be at least -1.", param="truncate_prompt_tokens", value=given)
