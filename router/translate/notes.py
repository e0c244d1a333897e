"""The names of all rules, and the note of which of them changed something."""

import enum
from typing import NamedTuple


class Rule(enum.Enum):
    """Every rule, by the id under which docs/translation.md explains it. The value says what it does."""

    __hash__ = object.__hash__  # each member is one object; Enum computes it from the name, in Python

    R1 = "keys of messages that the backend does not know are left out"
    R2 = "roles get the names that the backend knows"
    R3 = "ids of tool calls become nine letters or digits, the same on their results"
    R4 = "tool calls keep id, type and function only"
    R5 = "empty tool_calls are left out, missing content beside calls becomes empty text"
    R6 = "content parts become plain text, or text and image_url parts"
    R7 = "missing content of user and system becomes empty text"
    R8 = "content of tool results becomes text"
    R9 = "images stay in user messages only"
    R10 = "reasoning in the history is left out, or kept in one field"
    R11 = "calls and results in other shapes become tool calls and tool messages"
    R12 = "names of functions keep to the letters that the backend takes"
    R13 = "arguments of calls become JSON text"
    R14 = "assistant messages without text and calls are left out"
    R15 = "system messages that do not lead become user text"
    R16 = "messages of one role in a row become one"
    R17 = "a call without a result gets one that says so"
    R18 = "a second result of a call is joined to the first"
    R19 = "results move up to their call"
    R20 = "a result without a call becomes user text"
    R21 = "an empty user message stands before a conversation that begins with the assistant"
    R22 = "an assistant message stands between a tool result and a user message"
    R23 = "text beside calls is left out where the tokenizer cannot hold both"
    R24 = "tools keep type and function only"
    R25 = "missing descriptions and parameters of tools are filled in"
    R26 = "schemas of tools become valid"
    R27 = "tools that the backend cannot serve are left out"
    R28 = "tool_choice takes OpenAI's form"
    R29 = "a conversation that ends with the assistant is continued, or gets a user's turn"
    R30 = "stream_options are left out where nothing is streamed"
    R31 = "chat template settings are left out where there is no template"
    R32 = "random_seed becomes seed, safe_prompt is left out"
    R33 = "reasoning_effort takes the values that the backend knows"
    R34 = "negative token limits are left out"
    R35 = "a bare JSON schema in response_format is nested"
    R36 = "halves of surrogate pairs become U+FFFD"
    R37 = "what no backend could take is refused"
    S1 = "fields that only vLLM knows are left out"
    S2 = "index stands in streamed calls, and in no others"
    S3 = "a call without an id gets one"
    S4 = "type stands in a call's beginning, and nowhere else"
    S5 = "a call's beginning carries id, type, name and arguments, the rest of it arguments only"
    S6 = "names of functions are the client's own again"
    S7 = "arguments are text"
    S8 = "a chunk holds one entry for each call"
    S9 = "arguments that stayed empty become {}"
    S10 = "text behind the arguments is left out"
    S11 = "finish_reason takes OpenAI's values"
    S12 = "the role stands in the first chunk, and nowhere else"
    S13 = "content is text or null, empty tool_calls are left out, as OpenAI has it"
    S14 = "usage stands where it was asked for"
    S15 = "calls that leaked into the text become calls"
    S16 = "streams of backends that swallow calls are made from whole answers"
    S17 = "reasoning stands in the field that was configured"
    S18 = "errors within streams take OpenAI's form"
    S19 = "a stream without finish_reason ends with an error"
    S20 = "[DONE] comes once, at the end; id, created and model stay the same"
    S21 = "calls that were not asked for are left out"
    S22 = "choices of one answer are kept apart"
    S23 = "the model's name is the backend's own"
    S24 = "logprobs, refusal, service_tier and system_fingerprint are passed on"


class Step(NamedTuple):
    """One change."""

    rule: Rule
    where: str  # dotted path, as in "messages.3.tool_calls.0.id"
    is_loss: bool


class Notes:
    """Which rules changed something; with `explain` also where, step by step."""

    __slots__ = ("lost", "repaired", "steps")

    def __init__(self, *, explain: bool = False) -> None:
        """Nothing was changed yet."""
        self.repaired: set[Rule] = set()
        self.lost: set[Rule] = set()  # those of `repaired` that lost something of what the client sent
        self.steps: list[Step] | None = [] if explain else None

    def repair(self, rule: Rule, *where: object) -> None:
        """Note a change that loses nothing. `where`: parts of the path."""
        self.repaired.add(rule)
        if self.steps is not None:
            self.steps.append(Step(rule, ".".join(map(str, where)), is_loss=False))

    def lose(self, rule: Rule, *where: object) -> None:
        """Note a change that loses something."""
        self.repaired.add(rule)
        self.lost.add(rule)
        if self.steps is not None:
            self.steps.append(Step(rule, ".".join(map(str, where)), is_loss=True))

    def ids(self, rules: set[Rule]) -> str:
        """Return ids in the order of the list of rules, as in "R10,R23"."""
        return ",".join(sorted((rule.name for rule in rules), key=_PLACES.__getitem__))


_PLACES = {rule.name: place for place, rule in enumerate(Rule)}
