"""Fields beside the messages. mistral-common never sees them; what vLLM says of them stands in `gives`."""

from tests.translate.corpus.case import ABSENT, MIXED, TAKEN, WEATHER, Case, Json, system, user


def asked(**fields: object) -> Json:
    """Return a plain request with these fields."""
    return {"messages": [system("Be brief."), user("hi")], **fields}


SCHEMA = {"type": "object", "properties": {"answer": {"type": "string"}}, "required": ["answer"]}

CASES = [
    Case(
        "p_stream_options_no_stream",
        TAKEN,
        "R30",
        asked(stream=False, stream_options={"include_usage": True}),
        gives={"stream_options": ABSENT},
    ),
    Case(
        "p_stream_options_no_stream/stream_missing",
        TAKEN,
        "R30",
        asked(stream_options={"include_usage": False}),
        gives={"stream_options": ABSENT},
    ),
    Case(
        "p_stream_options_no_stream/streamed",
        TAKEN,
        "=",
        asked(stream=True, stream_options={"include_usage": True}),
        gives={"stream_options": {"include_usage": True}},
    ),
    Case(
        "p_chat_template_kwargs/qwen_client",
        TAKEN,
        "R31",
        asked(chat_template_kwargs={"enable_thinking": False}),
        gives={"chat_template_kwargs": ABSENT},
    ),
    Case(
        "p_chat_template_kwargs/empty",
        TAKEN,
        "R31",
        asked(chat_template_kwargs={}),
        gives={"chat_template_kwargs": ABSENT},
    ),
    Case(
        "p_chat_template_kwargs/template",
        TAKEN,
        "R31",
        asked(chat_template="{{ messages }}", skip_special_tokens=False),
        gives={"chat_template": ABSENT, "skip_special_tokens": ABSENT},
    ),
    Case("p_reasoning_effort_low", MIXED, "R33", asked(reasoning_effort="low"), gives={"reasoning_effort": ABSENT}),
    Case(
        "p_reasoning_effort_low/high", TAKEN, "R33", asked(reasoning_effort="high"), gives={"reasoning_effort": ABSENT}
    ),
    Case(
        "p_reasoning_effort_low/minimal",
        MIXED,
        "R33",
        asked(reasoning_effort="minimal"),
        gives={"reasoning_effort": ABSENT},
    ),
    Case(
        "p_reasoning_effort_low/openrouter",
        TAKEN,
        "R33",
        asked(reasoning={"effort": "medium"}),
        gives={"reasoning_effort": ABSENT},
    ),
    Case("p_max_tokens_minus1", TAKEN, "R34", asked(max_tokens=-1), gives={"max_tokens": ABSENT}),
    Case(
        "p_max_tokens_minus1/completion",
        TAKEN,
        "R34",
        asked(max_completion_tokens=-1, max_tokens=100),
        gives={"max_completion_tokens": ABSENT, "max_tokens": 100},
    ),
    Case("p_max_tokens_minus1/both_fine", TAKEN, "=", asked(max_completion_tokens=50, max_tokens=100)),
    Case(
        "p_response_json_schema_bare/mistral",
        TAKEN,
        "R35",
        asked(response_format={"type": "json_schema", "schema": SCHEMA}),
        gives={
            "response_format": {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}},
        },
    ),
    Case(
        "p_response_json_schema_bare/nested",
        TAKEN,
        "=",
        asked(response_format={"type": "json_schema", "json_schema": {"name": "r", "schema": SCHEMA, "strict": True}}),
    ),
    Case("p_response_json_schema_bare/object", TAKEN, "=", asked(response_format={"type": "json_object"})),
    Case(
        "p_random_seed_safe_prompt/mistral_sdk",
        TAKEN,
        "R32",
        asked(random_seed=7, safe_prompt=False),
        gives={"seed": 7, "random_seed": ABSENT, "safe_prompt": ABSENT},
    ),
    Case(
        "p_random_seed_safe_prompt/safe",
        TAKEN,
        "R32",
        asked(safe_prompt=True),
        gives={"safe_prompt": ABSENT, "seed": ABSENT},
    ),
    Case(
        "p_openai_extras",
        TAKEN,
        "=",
        asked(
            metadata={"run": "1"},
            store=False,
            user="u-1",
            service_tier="auto",
            prediction={"type": "content", "content": "x"},
            modalities=["text"],
            safety_identifier="s",
            prompt_cache_key="k",
            verbosity="low",
        ),
        gives={"metadata": {"run": "1"}, "store": False, "prompt_cache_key": "k"},
    ),
    Case(
        "p_openai_extras/openrouter",
        TAKEN,
        "=",
        asked(provider={"order": ["a"]}, transforms=[], usage={"include": True}, thinking={"type": "disabled"}),
        gives={"provider": {"order": ["a"]}},
    ),
    Case(
        "p_openai_extras/vllm",
        TAKEN,
        "=",
        asked(top_k=20, min_p=0.05, repetition_penalty=1.1, priority=1, cache_salt="s", return_token_ids=True),
        gives={"top_k": 20, "return_token_ids": True},
    ),
    Case(
        "p_openai_extras/logprobs",
        TAKEN,
        "=",
        asked(tools=[WEATHER], logprobs=True, top_logprobs=2, stop=["\n\n"], n=2, logit_bias={"100": -5}),
        gives={"logprobs": True, "n": 2},
    ),
    Case("p_temperature_2", TAKEN, "=", asked(temperature=2), gives={"temperature": 2}),
    Case(
        "p_temperature_2/penalties",
        TAKEN,
        "=",
        asked(temperature=2.0, presence_penalty=-2, frequency_penalty=2, top_p=1),
    ),
]
