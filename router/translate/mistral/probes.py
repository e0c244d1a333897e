"""What to ask a backend about how it renders, and what its answers tell. Pure.

vLLM's `POST /tokenize` runs the same renderer as a chat completion and generates nothing. Each probe is a conversation
on which renderers differ: by taking or refusing it, and by the tokens that it becomes. Checked against vLLM 0.32 with
tokenizers v3, v7, v11, v13, v15 and a chat template.
"""

import enum
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from router.translate.profile import Profile, Renderer

# Names of models, and of the repositories that they come from.
FAMILY = re.compile(r"mi[sx]tral|devstral|magistral|codestral|ministral|pixtral|voxtral|mathstral", re.IGNORECASE)
# vLLM from this one on takes `strict` in functions, and uses it for its grammar (R24).
STRICT_SINCE = (0, 32)
_NO_SUCH_PATH = frozenset({401, 403, 404, 405, 501})
_ID = "abcDEF123"
_PIXEL = (  # one pixel, as PNG
    "data:image/png;base64,iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk"
    "YPhfDwAChwGA60e6kgAAAABJRU5ErkJggg=="
)
_USER = {"role": "user", "content": "hi"}


def _call(ident: str) -> list[dict[str, Any]]:
    call = {"id": ident, "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    return [
        _USER,
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": ident, "content": "ok"},
    ]


class Probe(enum.Enum):
    """One question. The first one tells whether asking makes sense."""

    LAST_ASSISTANT = "last_assistant"  # mistral-common refuses it, templates do not look
    CALL = "call"  # how calls and results become tokens tells the tokenizer's version
    FREE_ID = "free_id"
    USER_AFTER_TOOL = "user_after_tool"
    TWO_USERS = "two_users"  # templates of Mistral insist on alternating roles
    REASONING = "reasoning"
    IMAGE = "image"


MESSAGES: dict[Probe, list[dict[str, Any]]] = {
    Probe.LAST_ASSISTANT: [_USER, {"role": "assistant", "content": "y"}],
    Probe.CALL: _call(_ID),
    Probe.FREE_ID: _call("call_1"),
    Probe.USER_AFTER_TOOL: [*_call(_ID), _USER],
    Probe.TWO_USERS: [_USER, _USER],
    Probe.REASONING: [_USER, {"role": "assistant", "content": "y", "reasoning_content": "x"}, _USER],
    Probe.IMAGE: [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": _PIXEL}}]}],
}


@dataclass(frozen=True, slots=True)
class Reply:
    """What a backend has answered to a probe."""

    status: int
    text: str = ""  # the tokens it became, joined; or the error's message
    max_model_len: int | None = None

    @property
    def is_taken(self) -> bool:
        """Return whether the conversation was rendered."""
        return self.status == 200

    @property
    def is_told(self) -> bool:
        """Return whether the renderer has spoken, rather than a server that knows no such path."""
        return self.status in (200, 400)

    @property
    def is_final(self) -> bool:
        """Return whether asking again would bring nothing else: the renderer has spoken, or there is none to ask."""
        return self.is_told or self.status in _NO_SUCH_PATH


def question(probe: Probe, model: str | None) -> dict[str, Any]:
    """Return the body of the request."""
    body: dict[str, Any] = {"messages": MESSAGES[probe], "add_generation_prompt": True, "return_token_strs": True}
    return body if model is None else {"model": model, **body}


def read_reply(status: int, payload: object) -> Reply:
    """Return what an answer tells; `payload` is its parsed JSON, None where it was none."""
    fields = payload if isinstance(payload, dict) else {}
    if status != 200:
        error = fields.get("error")
        message = error.get("message") if isinstance(error, dict) else fields.get("message")
        return Reply(status, message if isinstance(message, str) else "")
    tokens, length = fields.get("token_strs"), fields.get("max_model_len")
    text = "".join(map(str, tokens)) if isinstance(tokens, list) else ""
    return Reply(status, text, length if isinstance(length, int) else None)


def conclude(replies: Mapping[Probe, Reply], *, version: tuple[int, int] | None) -> Profile:
    """Return the profile that the replies tell; what they leave open stays unknown. `version`: of vLLM."""
    renderer = _renderer(replies)
    lengths = [reply.max_model_len for reply in replies.values() if reply.max_model_len is not None]
    return Profile(
        renderer,
        _tokenizer(replies) if renderer is Renderer.MISTRAL_COMMON else None,
        vision=_vision(replies.get(Probe.IMAGE)),
        thinking=_thinking(replies.get(Probe.REASONING)),
        nine_ids=not _takes(replies, Probe.FREE_ID),
        bridge=not _takes(replies, Probe.USER_AFTER_TOOL),
        strict_tools=renderer is not None and version is not None and version >= STRICT_SINCE,
        max_model_len=lengths[0] if lengths else None,
    )


def is_family(names: Iterable[str]) -> bool:
    """Return whether one of these names of a model is of the Mistral family."""
    return any(FAMILY.search(name) for name in names)


def is_mistral(profile: Profile, models: Iterable[Iterable[str]], replies: Mapping[Probe, Reply]) -> bool:
    """Return whether a backend needs the Mistral dialect. `models`: of each the names it goes by.

    It does where mistral-common renders, whatever the models are called; where all are of the family and their
    template refuses what OpenAI takes; and where all are of the family and nothing else could be learned.
    """
    is_all_family = all(map(is_family, models))
    if profile.renderer is not None:
        refuses = any(reply.is_told and not reply.is_taken for probe, reply in replies.items() if probe in _ORDER)
        return profile.renderer is Renderer.MISTRAL_COMMON or (refuses and is_all_family)
    return is_all_family


_ORDER = frozenset({Probe.FREE_ID, Probe.USER_AFTER_TOOL, Probe.TWO_USERS})


def _takes(replies: Mapping[Probe, Reply], probe: Probe) -> bool:
    reply = replies.get(probe)
    return reply is not None and reply.is_taken


def _renderer(replies: Mapping[Probe, Reply]) -> Renderer | None:
    reply = replies.get(Probe.LAST_ASSISTANT)
    if reply is None or not reply.is_told:
        return None
    if reply.is_taken:
        return Renderer.TEMPLATE
    says_so = "add_generation_prompt" in reply.text or "Expected last role" in reply.text
    return Renderer.MISTRAL_COMMON if says_so else None


def _tokenizer(replies: Mapping[Probe, Reply]) -> int | None:
    reply = replies.get(Probe.CALL)
    text = reply.text if reply is not None and reply.is_taken else ""
    if "[CALL_ID]" in text:
        return 11
    if "[TOOL_CALLS]f[ARGS]" in text:
        return 15 if "[MODEL_SETTINGS]" in text else 13
    if "[TOOL_CONTENT]" in text:
        return 7
    return 3 if '"call_id": "' in text else None


def _vision(reply: Reply | None) -> bool | None:
    if reply is None or not reply.is_told:
        return None
    if reply.is_taken:
        return True
    return False if "not a multimodal model" in reply.text else None


def _thinking(reply: Reply | None) -> bool | None:
    if reply is None or not reply.is_told:
        return None
    return reply.is_taken and "x" in reply.text
