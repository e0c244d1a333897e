"""What a request asks of the form of its answer, read from the request itself."""

from collections.abc import Mapping

import msgspec
from msgspec import UNSET, Raw, UnsetType

from router.translate.asked import Asked, ToolChoice
from router.translate.mistral.choice import WORDS, Choice
from router.translate.mistral.names import Names
from router.translate.mistral.values import UNREADABLE

# Keys of a request -> the keys that only vLLM knows and that its answer then has.
EXTRAS = {
    "return_token_ids": ("prompt_token_ids", "token_ids"),
    "return_prompt_text": ("prompt_text",),
    "prompt_logprobs": ("prompt_logprobs",),
    "kv_transfer_params": ("kv_transfer_params",),
    "ec_transfer_params": ("ec_transfer_params",),
}
NO_EXTRAS = frozenset[str]()
NO_NAMES: Mapping[str, str] = {}
CONCERNED = frozenset(("stream", "stream_options", "parallel_tool_calls", *EXTRAS))


class _Named(msgspec.Struct):
    name: str = ""


class _Tool(msgspec.Struct):
    function: _Named | None = None


class _Request(msgspec.Struct):
    """The fields of a request that decide on the form of its answer; all others are passed over."""

    stream: Raw | UnsetType = UNSET
    stream_options: Raw | UnsetType = UNSET
    parallel_tool_calls: Raw | UnsetType = UNSET
    return_token_ids: Raw | UnsetType = UNSET
    return_prompt_text: Raw | UnsetType = UNSET
    prompt_logprobs: Raw | UnsetType = UNSET
    kv_transfer_params: Raw | UnsetType = UNSET
    ec_transfer_params: Raw | UnsetType = UNSET
    tools: Raw | UnsetType = UNSET
    tool_choice: Raw | UnsetType = UNSET


READ = msgspec.json.Decoder(_Request)
READ_TOOLS = msgspec.json.Decoder(list[_Tool])


def read_asked(fields: Mapping[str, object], *, choice: Choice, names: Names | None = None) -> Asked:
    """Return what a request asks for; never raises.

    `fields`: its top level as it goes to the backend, values parsed or `msgspec.Raw`; keys that are not in CONCERNED
    may be missing. `names`: None where no name of a tool was changed.
    """
    include_usage = continuous_usage = False
    if "stream_options" in fields:
        options = _known(fields["stream_options"])
        if isinstance(options, dict):
            include_usage = options.get("include_usage") is True
            continuous_usage = options.get("continuous_usage_stats") is True
    return Asked(
        tools=choice.tools,
        names=NO_NAMES if names is None else names.back,
        tool_choice=choice.tool_choice,
        single_call=_known(fields.get("parallel_tool_calls")) is False,
        stream=_known(fields.get("stream")) is True,
        include_usage=include_usage,
        continuous_usage=continuous_usage,
        extras=NO_EXTRAS if fields.keys().isdisjoint(EXTRAS) else _extras(fields),
    )


def asked_of(body: bytes) -> Asked:
    """Return what a request asks for that is not translated; of one that cannot be read, the default. Never raises."""
    try:
        request = READ.decode(body)
    except UNREADABLE:
        return Asked()
    fields = {key: value for key, value in msgspec.structs.asdict(request).items() if value is not UNSET}
    tools = frozenset[str]()
    if "tools" in fields:
        try:
            listed = READ_TOOLS.decode(fields["tools"])
        except UNREADABLE:
            listed = []
        tools = frozenset(tool.function.name for tool in listed if tool.function is not None)
    return read_asked(fields, choice=Choice(tools, _choice_of(fields.get("tool_choice"), tools)))


def _choice_of(said: object, tools: frozenset[str]) -> ToolChoice:
    """Return what OpenAI's forms of tool_choice say; anything else, and nothing, counts as auto."""
    known = _known(said)
    if isinstance(known, dict):
        return ToolChoice.NAMED if known.get("type", "function") == "function" else ToolChoice.AUTO
    if isinstance(known, str) and known in WORDS:
        return WORDS[known]
    return ToolChoice.AUTO if tools else ToolChoice.NONE


def _known(value: object) -> object:
    """Return the parsed value, None where it is no JSON."""
    if not isinstance(value, Raw):
        return value
    try:
        return msgspec.json.decode(value)
    except UNREADABLE:
        return None


def _extras(fields: Mapping[str, object]) -> frozenset[str]:
    """S1: what only vLLM knows is passed on where it was asked for; null and false ask for nothing."""
    asked = [keys for key, keys in EXTRAS.items() if _is_asked(key, fields)]
    return frozenset(name for keys in asked for name in keys)


def _is_asked(key: str, fields: Mapping[str, object]) -> bool:
    value = _known(fields.get(key))
    if key == "prompt_logprobs":
        return value is not None and value is not False  # 0 asks for the prompt's own tokens
    return bool(value)
