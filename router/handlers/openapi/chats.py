"""Schemas of conversations and completions: OpenAI's, the Responses API's and the Messages API's.

They name what is common. What else a request says is passed to its backend, what else an answer says to its client:
the backend knows best, and what it takes changes from version to version.
"""

from router.handlers.openapi.words import (
    COUNT,
    COUNT_OR_NONE,
    FLAG,
    FLAG_OR_NONE,
    MODEL,
    NUMBER_OR_NONE,
    OBJECT,
    OBJECT_OR_NONE,
    TEXT,
    TEXT_OR_NONE,
    WHOLE,
    Schema,
    either,
    listed,
    one_of,
    record,
    ref,
    told,
)

_STREAM = told(FLAG_OR_NONE, "Answer with server-sent events, as the text is made.")
_HELLO = [{"role": "user", "content": "Say hello."}]
_SAMPLING: dict[str, Schema] = {
    "max_tokens": told(COUNT_OR_NONE, "At most so many tokens of an answer."),
    "temperature": {"type": ["number", "null"], "minimum": 0},
    "top_p": {"type": ["number", "null"], "exclusiveMinimum": 0, "maximum": 1},
    "top_k": told({"type": ["integer", "null"]}, "vLLM's own."),
    "min_p": told(NUMBER_OR_NONE, "vLLM's own."),
    "n": told({"type": ["integer", "null"], "minimum": 1}, "How many answers."),
    "seed": {"type": ["integer", "null"]},
    "stop": told(either(TEXT_OR_NONE, listed(TEXT)), "Where an answer ends."),
    "presence_penalty": NUMBER_OR_NONE,
    "frequency_penalty": NUMBER_OR_NONE,
    "logit_bias": OBJECT_OR_NONE,
    "stream": _STREAM,
    "stream_options": either(record({"include_usage": FLAG_OR_NONE}), {"type": "null"}),
    "user": TEXT_OR_NONE,
}
_USAGE = record(
    {"prompt_tokens": COUNT, "completion_tokens": COUNT_OR_NONE, "total_tokens": COUNT},
    needs=("prompt_tokens", "total_tokens"),
    tells="What was counted.",
)
_FINISH = told(TEXT_OR_NONE, "`stop`, `length`, `tool_calls` ...; null while it goes on.")
_FRAME: dict[str, Schema] = {
    "id": TEXT,
    "created": WHOLE,
    "model": TEXT,
    "usage": either(ref("Usage"), {"type": "null"}),
}
_CALL = {
    "id": TEXT_OR_NONE,
    "type": TEXT_OR_NONE,
    "index": COUNT,
    "function": record({"name": TEXT_OR_NONE, "arguments": told(TEXT_OR_NONE, "JSON, as text.")}),
}
_SAID = {
    "role": TEXT_OR_NONE,
    "content": TEXT_OR_NONE,
    "reasoning_content": told(TEXT_OR_NONE, "What the model thought; `translation.reasoning` says where it stands."),
}


def _answer(name: str, choice: Schema) -> Schema:
    """Return the schema of an answer or of a chunk with choices."""
    choices = listed({**choice, "required": ["index"]})
    return record({**_FRAME, "object": {"const": name}, "choices": choices}, needs=("id", "object", "choices"))


SCHEMAS: dict[str, Schema] = {
    "Usage": _USAGE,
    "ChatMessage": record(
        {
            "role": told(TEXT, "`system`, `developer`, `user`, `assistant` or `tool`."),
            "content": told(
                either(TEXT_OR_NONE, listed(record({"type": TEXT, "text": TEXT}, needs=("type",)))),
                "A text, or parts: `text`, `image_url`, `input_audio` ...",
            ),
            "name": TEXT_OR_NONE,
            "tool_calls": either(listed(record(_CALL, needs=("function",))), {"type": "null"}),
            "tool_call_id": told(TEXT_OR_NONE, "Of a `tool` message: the call that it answers."),
        },
        needs=("role",),
    ),
    "Tool": record(
        {
            "type": {"const": "function"},
            "function": record(
                {"name": TEXT, "description": TEXT_OR_NONE, "parameters": told(OBJECT_OR_NONE, "A JSON schema.")},
                needs=("name",),
            ),
        },
        needs=("type", "function"),
    ),
    "ChatRequest": record(
        {
            "model": MODEL,
            "messages": listed(ref("ChatMessage"), least=1),
            **_SAMPLING,
            "max_completion_tokens": COUNT_OR_NONE,
            "tools": either(listed(ref("Tool")), {"type": "null"}),
            "tool_choice": told(either(TEXT_OR_NONE, OBJECT), "`auto`, `none`, `required`, or one tool."),
            "parallel_tool_calls": FLAG_OR_NONE,
            "response_format": told(OBJECT_OR_NONE, "`text`, `json_object`, or `json_schema` with one."),
            "logprobs": FLAG_OR_NONE,
            "top_logprobs": COUNT_OR_NONE,
        },
        needs=("messages",),
        tells="A conversation. Fields that are not named here are passed to the backend as they are.",
        example={"messages": _HELLO, "max_tokens": 64},
    ),
    "ChatCompletion": _answer(
        "chat.completion",
        record(
            {
                "index": COUNT,
                "message": record(
                    {**_SAID, "tool_calls": either(listed(record(_CALL)), {"type": "null"})}, needs=("role",)
                ),
                "finish_reason": _FINISH,
                "logprobs": OBJECT_OR_NONE,
            }
        ),
    ),
    "ChatChunk": _answer(
        "chat.completion.chunk",
        record(
            {
                "index": COUNT,
                "delta": record({**_SAID, "tool_calls": either(listed(record(_CALL)), {"type": "null"})}),
                "finish_reason": _FINISH,
                "logprobs": OBJECT_OR_NONE,
            }
        ),
    ),
    "CompletionRequest": record(
        {
            "model": MODEL,
            "prompt": told(
                either(TEXT, listed(TEXT), listed(COUNT), listed(listed(COUNT))), "Texts, or token ids; one or several."
            ),
            **_SAMPLING,
            "echo": told(FLAG_OR_NONE, "The prompt stands before the answer."),
            "logprobs": COUNT_OR_NONE,
            "suffix": TEXT_OR_NONE,
        },
        needs=("prompt",),
        tells="A text to continue. Fields that are not named here are passed to the backend as they are.",
        example={"prompt": "Hello, my name is", "max_tokens": 64},
    ),
    "Completion": _answer(
        "text_completion",
        record({"index": COUNT, "text": TEXT, "finish_reason": _FINISH, "logprobs": OBJECT_OR_NONE}),
    ),
    "ResponseRequest": record(
        {
            "model": MODEL,
            "input": either(TEXT, listed(OBJECT)),
            "instructions": TEXT_OR_NONE,
            "max_output_tokens": COUNT_OR_NONE,
            "temperature": _SAMPLING["temperature"],
            "top_p": _SAMPLING["top_p"],
            "tools": either(listed(OBJECT), {"type": "null"}),
            "stream": _STREAM,
            "store": told(FLAG_OR_NONE, "Kept by the backend that makes it, and asked for there."),
            "previous_response_id": TEXT_OR_NONE,
        },
        needs=("input",),
        tells="Fields that are not named here are passed to the backend as they are.",
        example={"input": "Say hello.", "max_output_tokens": 64},
    ),
    "Response": record(
        {
            "id": TEXT,
            "object": {"const": "response"},
            "created_at": {"type": "number"},
            "model": TEXT,
            "status": TEXT,
            "output": listed(record({"type": TEXT})),
            "usage": OBJECT_OR_NONE,
        },
        needs=("id", "object", "output"),
    ),
    "ResponseEvent": record(
        {"type": told(TEXT, "As the event's name: `response.output_text.delta` ...")}, needs=("type",)
    ),
    "MessageRequest": record(
        {
            "model": MODEL,
            "max_tokens": {"type": "integer", "minimum": 1},
            "messages": listed(
                record(
                    {"role": one_of("user", "assistant"), "content": either(TEXT, listed(OBJECT))},
                    needs=("role", "content"),
                ),
                least=1,
            ),
            "system": either(TEXT_OR_NONE, listed(OBJECT)),
            "stop_sequences": either(listed(TEXT), {"type": "null"}),
            "temperature": _SAMPLING["temperature"],
            "top_p": _SAMPLING["top_p"],
            "tools": either(listed(OBJECT), {"type": "null"}),
            "tool_choice": OBJECT_OR_NONE,
            "stream": _STREAM,
        },
        needs=("messages", "max_tokens"),
        tells="Fields that are not named here are passed to the backend as they are.",
        example={"messages": _HELLO, "max_tokens": 64},
    ),
    "Message": record(
        {
            "id": TEXT,
            "type": {"const": "message"},
            "role": {"const": "assistant"},
            "model": TEXT,
            "content": listed(record({"type": TEXT}, needs=("type",))),
            "stop_reason": TEXT_OR_NONE,
            "usage": record({"input_tokens": COUNT, "output_tokens": COUNT}),
        },
        needs=("id", "type", "role", "content"),
    ),
    "MessageEvent": record({"type": told(TEXT, "As the event's name: `content_block_delta` ...")}, needs=("type",)),
    "CountRequest": record(
        {"model": MODEL, "messages": listed(OBJECT, least=1), "system": either(TEXT_OR_NONE, listed(OBJECT))},
        needs=("messages",),
        example={"messages": _HELLO},
    ),
    "TokenCount": record({"input_tokens": COUNT}, needs=("input_tokens",)),
    "Stored": record({"id": TEXT, "object": TEXT, "deleted": FLAG}, tells="What the backend says of the answer."),
}
