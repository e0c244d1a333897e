"""Runs one version of mistral-common, in a process of its own: one JSON line in, one JSON line out.

    {"tokenizer": PATH, "how": "openai" | "direct", "mode": "test" | "serving", "bodies": [REQUEST, ...]}
    -> {"results": [{"tokens": [...], "text": "...", "images": [...]} | {"error": "..."}, ...]}
    ("errors_only": null instead of what was accepted)
    {"template": {arguments of generate_chat_template}, "bodies": [...]} -> {"results": [{"text": "..."} | ...]}
    {"version": true} -> {"version": "1.13.1", "tokenizers": ["v1", ...]}

The version is the one that PYTHONPATH names. Only what vLLM hands over is handed over: messages, tools and, for
tokenizers that know it, reasoning_effort.
"""

import hashlib
import json
import sys
import warnings
from functools import cache
from importlib.metadata import version
from typing import Any


def shrink(image: Any, size: tuple[int, int]) -> Any:
    """Stand in for what would need OpenCV: the same picture in the same size, its pixels smoothed otherwise."""
    import numpy

    return numpy.asarray(image.convert("RGB").resize(size), dtype=numpy.float32).transpose(2, 0, 1)


@cache
def tokenizer(path: str, mode: str) -> Any:
    from mistral_common.protocol.instruct.validator import ValidationMode
    from mistral_common.tokens.tokenizers import image
    from mistral_common.tokens.tokenizers.mistral import MistralTokenizer

    image.transform_image = shrink
    return MistralTokenizer.from_file(path, mode=ValidationMode(mode))


def request(body: dict[str, Any], how: str, *, settings: bool) -> Any:
    """Build mistral-common's request as vLLM 0.11 and later ("openai") or 0.10 ("direct") do."""
    from mistral_common.protocol.instruct.request import ChatCompletionRequest

    messages, tools, last = body["messages"], body.get("tools"), body.get("continue_final_message") is True
    effort = {"reasoning_effort": body["reasoning_effort"]} if settings and body.get("reasoning_effort") else {}
    if how == "openai":
        return ChatCompletionRequest.from_openai(
            messages=messages, tools=tools, continue_final_message=last, model="m", **effort
        )
    if last and messages and messages[-1].get("role") == "assistant":
        messages = [*messages[:-1], {**messages[-1], "prefix": True}]
    return ChatCompletionRequest(messages=messages, tools=tools, model="m", **effort)


def encode(path: str, how: str, mode: str, bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    chosen = tokenizer(path, mode)
    settings = int(str(chosen.instruct_tokenizer.tokenizer.version.value).lstrip("v").partition("m")[0]) >= 15
    results: list[dict[str, Any]] = []
    for body in bodies:
        try:
            done = chosen.encode_chat_completion(request(body, how, settings=settings))
        except Exception as error:  # whatever it is, vLLM makes a refusal of it
            results.append({"error": f"{type(error).__name__}: {error}"[:600]})
            continue
        pictures = [hashlib.sha256(image.tobytes()).hexdigest()[:16] for image in done.images or []]
        results.append({"tokens": done.tokens, "text": done.text, "images": pictures})
    return results


@cache
def template(arguments: str) -> Any:
    import jinja2.sandbox
    from mistral_common.integrations.chat_templates.chat_templates import generate_chat_template
    from mistral_common.tokens.tokenizers.base import TokenizerVersion

    chosen = json.loads(arguments)
    chosen["tokenizer_version"] = TokenizerVersion(chosen["tokenizer_version"])
    made = jinja2.sandbox.ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    made.globals["raise_exception"] = refuse
    made.filters["tojson"] = lambda value, **_: json.dumps(value, ensure_ascii=False)
    return made.from_string(generate_chat_template(**chosen))


def refuse(message: str) -> None:
    raise ValueError(message)


def render(arguments: dict[str, Any], bodies: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Render as vLLM does in its Hugging Face mode: arguments of calls are parsed before the template sees them."""
    chosen = template(json.dumps(arguments))
    results: list[dict[str, Any]] = []
    for body in bodies:
        last = body.get("continue_final_message") is True
        for call in (call for message in body["messages"] for call in message.get("tool_calls", ())):
            call["function"]["arguments"] = parsed(call["function"]["arguments"])
        try:
            text = chosen.render(
                messages=body["messages"], tools=body.get("tools"), add_generation_prompt=not last,
                bos_token="<s>", eos_token="</s>",
            )  # fmt: skip
        except Exception as error:
            results.append({"error": f"{type(error).__name__}: {error}"[:600]})
            continue
        results.append({"text": text})
    return results


def parsed(arguments: str) -> Any:
    try:
        return json.loads(arguments)
    except ValueError:
        return {}


def answer(asked: dict[str, Any]) -> dict[str, Any]:
    if "version" in asked:
        from mistral_common.tokens.tokenizers.base import TokenizerVersion

        return {"version": version("mistral-common"), "tokenizers": list(TokenizerVersion.__members__)}
    if "template" in asked:
        return {"results": render(asked["template"], asked["bodies"])}
    results = encode(asked["tokenizer"], asked["how"], asked["mode"], asked["bodies"])
    return {"results": [None if asked["errors_only"] and "error" not in each else each for each in results]}


def main() -> None:
    warnings.simplefilter("ignore")
    answers, sys.stdout = sys.stdout, sys.stderr  # what a library prints is no answer
    for line in sys.stdin:
        answers.write(json.dumps(answer(json.loads(line))) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
