"""What a client asked for, as far as the form of its answer depends on it."""

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field


class ToolChoice(enum.Enum):
    """Whether the model may, must or must not call a tool."""

    NONE = "none"
    AUTO = "auto"
    REQUIRED = "required"
    NAMED = "named"  # one function, by name


@dataclass(frozen=True, slots=True)
class Asked:
    """Read from the request as it goes to the backend."""

    tools: frozenset[str] = frozenset()  # names of functions as the backend knows them; empty: no tools were sent
    names: Mapping[str, str] = field(default_factory=dict)  # from the backend's name to the client's own, where changed
    tool_choice: ToolChoice = ToolChoice.AUTO
    single_call: bool = False  # parallel_tool_calls: false
    stream: bool = False
    include_usage: bool = False  # a last chunk with usage
    continuous_usage: bool = False  # usage in every chunk
    extras: frozenset[str] = frozenset()  # keys that only vLLM knows and the request asked for, as "token_ids"


class ReasoningField(enum.Enum):
    """Where reasoning stands in answers; OpenAI has no field for it."""

    OFF = "off"  # left out
    REASONING_CONTENT = "reasoning_content"
    REASONING = "reasoning"
    BOTH = "both"


@dataclass(frozen=True, slots=True)
class AnswerForm:
    """What the configuration says of answers."""

    reasoning: ReasoningField = ReasoningField.REASONING_CONTENT
    call_index: bool = False  # `index` in tool calls of answers in one piece, for clients that insist on it


@dataclass(frozen=True, slots=True)
class RequestForm:
    """What the configuration says of requests."""

    continue_assistant: bool = False  # a conversation that ends with the assistant is continued (R29), not answered
    clamp_max_tokens: bool = False  # token limits above the model's length are left out (R34)
