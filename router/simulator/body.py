"""From a request's bytes to a JSON object and its fields; every way to be wrong is answered in vLLM's own words."""

import json
from collections.abc import Collection
from typing import Any

import orjson

from router.simulator.refusals import bad, bad_value, detail, invalid, missing, refusal, unknown_model
from router.simulator.settings import Settings

Body = dict[str, Any]


def read_object(raw: bytes, content_type: str) -> Body:
    """Return the object that a request carries. Raises Refusal."""
    if content_type.partition(";")[0].strip().lower() != "application/json":
        fault = "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
        raise refusal(400, fault, kind="Bad Request")
    if not raw:
        raise invalid("missing", "body", "Field required", given="None")
    try:
        value = orjson.loads(raw)
    except ValueError:
        value = _read_as_python_does(raw)
    if not isinstance(value, dict):
        given = f"<list of {len(value)} items>" if isinstance(value, list) else str(value)
        text = "Input should be a valid dictionary or object to extract fields from"
        raise invalid("model_attributes_type", "body", text, given=given)
    return value


def _read_as_python_does(raw: bytes) -> Any:
    """Python's own reader takes more than orjson (NaN, lone surrogates), and its errors are the ones vLLM quotes."""
    try:
        return json.loads(raw)
    except UnicodeDecodeError:
        raise detail(400, "There was an error parsing the body") from None
    except json.JSONDecodeError as error:
        given = "<dict of 0 items>"
        context = f"{{'error': {error.msg!r}}}"
        raise invalid("json_invalid", f"body.{error.pos}", "JSON decode error", given=given, context=context) from None
    except RecursionError:
        raise detail(400, "There was an error parsing the body") from None


def model_of(body: Body, settings: Settings) -> str:
    """Return the model's name as the answer carries it. Raises Refusal for one that is not served."""
    model = body.get("model")
    if model is None or model == "":
        return settings.model
    if not isinstance(model, str):
        raise invalid("string_type", "body.model", "Input should be a valid string", given=str(model))
    if model not in settings.models:
        raise unknown_model(model, settings.models)
    return model


def required(body: Body, name: str) -> Any:
    """Return a field that must be there. Raises Refusal."""
    if body.get(name) is None:
        raise missing(name, body)
    return body[name]


def items(body: Body, name: str) -> list[Any]:
    """Return a list that must be there. Raises Refusal."""
    value = required(body, name)
    if not isinstance(value, list):
        raise invalid("list_type", f"body.{name}", "Input should be a valid list", given=str(value))
    return value


def number(body: Body, name: str, default: float | None = None) -> float | None:
    """Return a number, or `default`. Raises Refusal."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, str):
        try:
            return float(value)
        except ValueError:
            text = "Input should be a valid number, unable to parse string as a number"
            raise invalid("float_parsing", f"body.{name}", text, given=value) from None
    if not isinstance(value, int | float):
        raise invalid("float_type", f"body.{name}", "Input should be a valid number", given=str(value))
    return float(value)


def integer(body: Body, name: str, default: int | None = None) -> int | None:
    """Return a whole number, or `default`. Raises Refusal."""
    value = body.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or value != int(value):
        raise invalid("int_type", f"body.{name}", "Input should be a valid integer", given=str(value))
    return int(value)


def choice_of(body: Body, name: str, allowed: Collection[str], *, default: str) -> str:
    """Return one of some words. Raises Refusal."""
    value = body.get(name, default)
    if value not in allowed:
        words = " or ".join(repr(word) for word in allowed)
        raise invalid("literal_error", f"body.{name}", f"Input should be {words}", given=str(value))
    return str(value)


def check_sampling(body: Body) -> None:
    """Refuse the sampling parameters that vLLM refuses. Raises Refusal."""
    temperature = number(body, "temperature")
    if temperature is not None and temperature < 0:
        raise bad_value(f"temperature must be non-negative, got {temperature}.", param="temperature", value=temperature)
    top_p = number(body, "top_p")
    if top_p is not None and not 0 < top_p <= 1:
        raise bad_value(f"top_p must be in (0, 1], got {top_p}.", param="top_p", value=top_p)
    count = integer(body, "n", 1)
    if count is not None and count < 1:
        raise bad(f"n must be at least 1, got {count}.")
    if body.get("stream_options") is not None and not body.get("stream"):
        raise bad_value("Stream options can only be defined when `stream=True`.", param="stream_options")


def check_length(prompt: int, max_tokens: int | None, settings: Settings) -> int:
    """Return how many tokens an answer may have, given the tokens of its prompt. Raises Refusal."""
    longest = settings.max_model_len
    if max_tokens is not None and max_tokens < 1:
        raise bad_value(f"max_tokens must be at least 1, got {max_tokens}.", param="max_tokens", value=max_tokens)
    if max_tokens is not None and max_tokens > longest:
        text = (
            f"max_tokens={max_tokens} cannot be greater than max_model_len={longest}. "
            "Please request fewer output tokens."
        )
        raise bad_value(text, param="max_tokens", value=max_tokens)
    if prompt >= longest:
        raise bad_value(_too_long(longest, prompt), param="input_tokens", value=prompt)
    if max_tokens is not None and prompt + max_tokens > longest:
        text = (
            f"This model's maximum context length is {longest} tokens. However, you requested {max_tokens} output "
            f"tokens and your prompt contains {prompt} input tokens, for a total of {prompt + max_tokens} tokens. "
            "Please reduce the length of the input prompt or the number of requested output tokens."
        )
        raise bad_value(text, param="input_tokens", value=prompt)
    return longest - prompt if max_tokens is None else max_tokens


def _too_long(longest: int, prompt: int) -> str:
    return (
        f"This model's maximum context length is {longest} tokens. However, your prompt contains {prompt} input "
        "tokens, which exceeds this limit even without any output tokens. Please reduce the length of the input prompt."
    )


def stops(body: Body) -> tuple[str, ...]:
    """Return the stop strings."""
    stop = body.get("stop")
    if isinstance(stop, str):
        return (stop,) if stop else ()
    return tuple(item for item in stop if isinstance(item, str) and item) if isinstance(stop, list) else ()
