"""The keys of OpenAI's answers, object by object: what stands in none of these tables is not passed on (S1).

They are what openai-python 3.52 declares, which tests/translate/mistral/test_fields.py holds. Reasoning (S17) stands
apart: OpenAI has no field for it, and vLLM has used two names.
"""

# Answers in one piece.
ANSWER_KEYS = frozenset(
    (
        *("id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"),
        *("metadata", "moderation"),
    )
)
ANSWER_CHOICE_KEYS = frozenset(("index", "message", "logprobs", "finish_reason"))
MESSAGE_KEYS = frozenset(("role", "content", "refusal", "annotations", "audio", "function_call", "tool_calls"))
ANSWER_CALL_KEYS = frozenset(("id", "type", "function"))

# Streams.
CHUNK_KEYS = frozenset(
    (
        *("id", "object", "created", "model", "choices", "usage", "service_tier", "system_fingerprint"),
        *("moderation", "obfuscation"),
    )
)
CHOICE_KEYS = frozenset(("index", "delta", "logprobs", "finish_reason"))
DELTA_KEYS = frozenset(("role", "content", "refusal", "audio", "function_call", "tool_calls"))
CALL_KEYS = frozenset(("index", "id", "type", "function"))

# Both.
FUNCTION_KEYS = frozenset(("name", "arguments"))
USAGE_KEYS = frozenset(
    ("prompt_tokens", "completion_tokens", "total_tokens", "prompt_tokens_details", "completion_tokens_details")
)
PROMPT_DETAILS_KEYS = frozenset(("audio_tokens", "cache_write_tokens", "cached_tokens", "image_tokens", "text_tokens"))
COMPLETION_DETAILS_KEYS = frozenset(
    (
        *("accepted_prediction_tokens", "audio_tokens", "reasoning_tokens", "rejected_prediction_tokens"),
        "text_tokens",
    )
)
FINISH_REASONS = frozenset(("stop", "length", "tool_calls", "content_filter", "function_call"))
SERVICE_TIERS = frozenset(("auto", "default", "flex", "scale", "priority", "fast"))

# Reasoning, newest name first: `reasoning` (vLLM 0.33), both (0.11 to 0.14), `reasoning_content` (0.10).
REASONING_KEYS = ("reasoning", "reasoning_content")

# Keys of vLLM's own, by the object that they stand in. A request may ask for them (`Asked.extras`), then they stay.
VLLM_ANSWER_KEYS = frozenset(
    (
        *("prompt_logprobs", "prompt_token_ids", "prompt_text", "kv_transfer_params", "ec_transfer_params"),
        "metrics",
    )
)
VLLM_CHUNK_KEYS = frozenset(("prompt_token_ids", "prompt_text"))
VLLM_CHOICE_KEYS = frozenset(("stop_reason", "token_ids", "routed_experts"))
VLLM_ONLY = VLLM_ANSWER_KEYS | VLLM_CHOICE_KEYS
