"""Whether a broken stream may be continued, and with which request. Pure.

    text mode    the conversation, with the text so far as the assistant's last words that are to be continued
    exact mode   the ids of the prompt and of the tokens so far, as the prompt of a text completion

Only what a model can go on with as if nothing had happened is continued: one choice of plain text. A grammar that was
half followed, a call that was begun, or log probabilities cannot be taken up in the middle.
"""

import enum
from dataclasses import dataclass

import msgspec
import orjson
from msgspec import UNSET, Raw, UnsetType

from router.translate.mistral.values import UNREADABLE

DEFAULT_MAX_TOKENS = 16  # of a text completion that names no limit: OpenAI's, and vLLM's
# Texts that are more than text to a tokenizer or a template: a call that leaked, the beginning of thoughts.
MARKS = ("[TOOL_CALLS]", "[THINK]", "<think>")

# Fields that must be absent, or say nothing, for a stream to be continued.
_MUST_BE_OFF = frozenset(
    [
        *("logprobs", "top_logprobs", "prompt_logprobs", "echo", "suffix", "use_beam_search", "audio", "function_call"),
        *("guided_json", "guided_regex", "guided_choice", "guided_grammar", "structured_outputs"),
        *("kv_transfer_params", "ec_transfer_params", "truncate_prompt_tokens"),
    ]
)
# What a text completion takes of a chat's fields: all that decides on the next token, and the form of the stream.
_SAMPLING = frozenset(
    [
        *("model", "stream", "stream_options", "return_token_ids", "user", "priority", "cache_salt", "vllm_xargs"),
        *("temperature", "top_p", "top_k", "min_p", "seed", "logit_bias", "allowed_token_ids", "bad_words"),
        *("presence_penalty", "frequency_penalty", "repetition_penalty", "length_penalty", "logits_processors"),
        *("stop_token_ids", "ignore_eos", "skip_special_tokens", "spaces_between_special_tokens"),
    ]
)
_READ = msgspec.json.Decoder(dict[str, Raw])
_READ_LIST = msgspec.json.Decoder(list[Raw])
_WRITE = msgspec.json.Encoder()
Fields = dict[str, object]


class Mode(enum.Enum):
    """How a broken stream is continued."""

    TEXT = "text"
    EXACT = "exact"
    OFF = "off"


@dataclass(frozen=True, slots=True)
class ResumeRules:
    """The configured limits; see `resume` in docs/configuration.md."""

    mode: Mode = Mode.TEXT
    max_attempts: int = 3  # further backends for one stream
    max_length: int = 256 << 10  # bytes of text that are kept of one stream


@dataclass(frozen=True, slots=True)
class Plan:
    """A request whose answer may be continued."""

    fields: dict[str, Raw]
    is_chat: bool
    limit: int | None  # tokens that the client wants at most
    least: int  # ... and at least
    wants_usage: bool
    offers_tools: bool
    has_stops: bool  # stop strings: vLLM holds back text that may be the beginning of one

    @property
    def counts(self) -> bool:
        """Return whether it must be known how many tokens were generated."""
        return self.limit is not None or self.least > 0 or self.wants_usage

    @property
    def may_be_exact(self) -> bool:
        """Return whether a text completion can go on with it: that parses no calls, and knows no text held back."""
        return not (self.offers_tools or self.has_stops)


def plan_of(body: bytes, *, is_chat: bool) -> Plan | None:
    """Return what continuing a request needs, None where its answer cannot be continued. Never raises."""
    try:
        fields = _READ.decode(body)
        known = {key: orjson.loads(bytes(value)) for key, value in fields.items() if key not in _LONG}
    except UNREADABLE:
        return None
    if not (_is_single(known) and _is_free(known)):
        return None
    if not (_is_open_chat(fields, known) if is_chat else _is_one_prompt(fields)):
        return None
    limit = _number(known.get("max_completion_tokens")) or _number(known.get("max_tokens"))
    if limit is None and not is_chat:
        limit = DEFAULT_MAX_TOKENS
    options = known.get("stream_options")
    wants_usage = isinstance(options, dict) and options.get("include_usage") is True
    return Plan(
        fields,
        is_chat,
        limit,
        least=_number(known.get("min_tokens")) or 0,
        wants_usage=wants_usage,
        offers_tools=bool(fields.get("tools", b"null") not in _NOTHING and known.get("tool_choice") != "none"),
        has_stops=bool(known.get("stop")),
    )


_LONG = frozenset(("messages", "prompt", "tools", "documents"))  # never parsed here as a whole
_NOTHING = (b"null", b"[]")


def _number(value: object) -> int | None:
    return value if type(value) is int else None


def _is_single(known: Fields) -> bool:
    return known.get("n") in (None, 1) and known.get("best_of") in (None, 1)


def _is_free(known: Fields) -> bool:
    """Return whether nothing but the model decides on the text: no grammar, no forced call; and nothing is added."""
    for key in _MUST_BE_OFF & known.keys():
        value = known[key]
        if value or (key in ("logprobs", "prompt_logprobs") and value is not None and value is not False):
            return False  # 0 asks for the log probabilities of the tokens themselves
    form = known.get("response_format")
    if form is not None and not (isinstance(form, dict) and form.get("type") == "text"):
        return False
    return known.get("tool_choice") in (None, "auto", "none")


def _is_open_chat(fields: dict[str, Raw], known: Fields) -> bool:
    """Return whether the conversation can be prolonged: it asks for a new turn, or for its last one to go on."""
    try:
        last = orjson.loads(bytes(_READ_LIST.decode(fields["messages"])[-1]))
    except (*UNREADABLE, LookupError):
        return False
    if not isinstance(last, dict):
        return False
    if last.get("role") == "assistant":
        return _continues(known, last) and not last.get("tool_calls")
    return known.get("continue_final_message") in (None, False) and known.get("add_generation_prompt") in (None, True)


def _continues(known: Fields, last: Fields) -> bool:
    return known.get("continue_final_message") is True or last.get("prefix") is True


def _is_one_prompt(fields: dict[str, Raw]) -> bool:
    raw = bytes(fields.get("prompt", b"null")).lstrip()
    if raw.startswith(b'"'):
        return True
    return raw.startswith(b"[") and b"[" not in raw[1:] and b'"' not in raw and b"," in raw


def takes_ids(plan: Plan) -> bool:
    """Return whether a text continuation of it is made of ids: its prompt is."""
    return not plan.is_chat and bytes(plan.fields["prompt"]).lstrip().startswith(b"[")


def with_text(plan: Plan, text: str, *, generated: int, ids: list[int] | None = None) -> bytes:
    """Return the request that goes on behind `text`, of which `generated` tokens were made.

    `ids`: those of the text, for a prompt that is made of ids; without them it is only good to look for a backend.
    """
    fields: Fields = {**plan.fields, **_limits(plan, generated)}
    if not text:
        return _WRITE.encode(fields)  # nothing was said: the request as it was
    if plan.is_chat:
        fields["messages"] = _prolonged(plan.fields["messages"], text)
        fields["continue_final_message"], fields["add_generation_prompt"] = True, False
    elif takes_ids(plan):
        fields["prompt"] = [*orjson.loads(bytes(plan.fields["prompt"])), *(ids or ())]
    else:
        fields["prompt"] = orjson.loads(bytes(plan.fields["prompt"])) + text
    return _WRITE.encode(fields)


def _prolonged(messages: Raw, text: str) -> list[object]:
    listed: list[object] = list(_READ_LIST.decode(messages))
    last = orjson.loads(bytes(_READ_LIST.decode(messages)[-1]))
    if last.get("role") != "assistant":
        return [*listed, {"role": "assistant", "content": text}]
    content = last.get("content")
    parts = [*content, {"type": "text", "text": text}] if isinstance(content, list) else (content or "") + text
    return [*listed[:-1], {**last, "content": parts}]


def with_ids(sampled: bytes, ids: bytes, *, left: int, least: int) -> bytes:
    """Return a text completion that goes on behind `ids` (with commas between) with at most `left` tokens.

    `sampled`: the request as the backend takes it, whose sampling holds on; `least`: tokens that must come.
    """
    fields: Fields = {key: value for key, value in _READ.decode(sampled).items() if key in _SAMPLING}
    fields |= {"prompt": Raw(b"[%b]" % ids), "max_tokens": left, "return_token_ids": True}
    if least > 0:
        fields["min_tokens"] = least
    return _WRITE.encode(fields)


def _limits(plan: Plan, generated: int) -> Fields:
    """Return the limits of tokens, less what was generated."""
    changed: Fields = {}
    for key in ("max_tokens", "max_completion_tokens"):
        limit = _number(orjson.loads(bytes(plan.fields.get(key, b"null"))))
        if limit is not None:
            changed[key] = limit - generated
    if not changed and plan.limit is not None:
        changed["max_tokens"] = plan.limit - generated
    if plan.least:
        changed["min_tokens"] = max(0, plan.least - generated)
    return changed


def asks_ids(body: bytes) -> bytes:
    """Return the request with the wish for the ids of tokens; all else stays the bytes that it was."""
    rest = body.rstrip()[:-1].rstrip()
    comma = b"" if rest.endswith(b"{") else b","
    return b'%b%b"return_token_ids":true}' % (rest, comma)


class _Asks(msgspec.Struct):
    """What decides, before anything is sent, on whether ids are worth asking for."""

    n: object = None
    best_of: object = None
    logprobs: object = None
    prompt_logprobs: object = None
    echo: object = None
    response_format: object = None
    structured_outputs: object = None
    tool_choice: object = None
    tools: Raw | UnsetType = UNSET
    stop: object = None
    return_token_ids: object = None


_ASKS = msgspec.json.Decoder(_Asks)


def wants_ids(body: bytes) -> bool | None:
    """Return whether ids should be asked for so that the answer can be continued exactly; None: the client has."""
    try:
        asks = _ASKS.decode(body)
    except UNREADABLE:
        return False
    known = {name: getattr(asks, name) for name in _Asks.__struct_fields__ if name != "tools"}
    tools = b"null" if asks.tools is UNSET else bytes(asks.tools)
    has_tools = tools not in _NOTHING and asks.tool_choice != "none"
    if has_tools or asks.stop or not (_is_single(known) and _is_free(known)):
        return False
    return None if asks.return_token_ids else True
