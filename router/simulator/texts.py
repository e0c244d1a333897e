"""Routes about the text itself: its tokens, and speech made text."""

from typing import Any

from tornado.httputil import HTTPFile, HTTPInputError, parse_body_arguments

from router.simulator.answers import CREATED, DONE, IDENT, Answer, event, plain
from router.simulator.body import Body, check_length, items, model_of, required
from router.simulator.chat import usage_of
from router.simulator.generation import Sampling, generate
from router.simulator.prompt import render
from router.simulator.refusals import missing, refusal
from router.simulator.settings import Settings
from router.simulator.tokens import BEGIN, INST, INST_END, decode, encode


def answer_tokenize(body: Body, settings: Settings) -> Answer:
    """Return the ids of a text, or of a conversation. Raises Refusal."""
    model_of(body, settings)
    if body.get("messages") is not None:
        ids = render(body, settings)
    else:
        prompt = str(required(body, "prompt"))
        ids = encode(prompt) if body.get("add_special_tokens") is False else [BEGIN, *encode(prompt)]
    return plain(
        {
            "count": len(ids),
            "max_model_len": settings.max_model_len,
            "tokens": ids,
            "token_strs": [decode((token,)) for token in ids] if body.get("return_token_strs") else None,
        }
    )


def answer_detokenize(body: Body, settings: Settings) -> Answer:
    """Return the text of ids. Raises Refusal."""
    model_of(body, settings)
    tokens = items(body, "tokens")
    return plain({"prompt": decode([token for token in tokens if isinstance(token, int)])})


def read_form(raw: bytes, content_type: str) -> tuple[dict[str, str], dict[str, HTTPFile]]:
    """Return the fields and files of a multipart body. Raises Refusal."""
    arguments: dict[str, list[bytes]] = {}
    files: dict[str, list[HTTPFile]] = {}
    try:
        parse_body_arguments(content_type, raw, arguments, files)
    except HTTPInputError as error:
        raise refusal(400, f"There was an error parsing the body: {error}", kind="Bad Request") from error
    fields = {name: values[-1].decode("utf-8", "replace") for name, values in arguments.items()}
    return fields, {name: values[-1] for name, values in files.items()}


def answer_speech(raw: bytes, content_type: str, settings: Settings) -> Answer:
    """Return what an uploaded recording says: words that its bytes decide. Raises Refusal."""
    fields, files = read_form(raw, content_type)
    if "file" not in files:
        raise missing("file", dict.fromkeys(fields))
    model = model_of({"model": fields.get("model")}, settings)
    heard = encode(repr(files["file"].body))
    limit = check_length(0, None, settings)
    sampling = Sampling(limit=limit, natural=settings.tokens)
    generation = generate([INST, *heard, INST_END], sampling)
    if fields.get("stream", "").lower() in ("true", "1"):
        return _streamed(model, [piece.text for piece in generation.pieces if piece.text], with_usage=fields)
    text = generation.text.strip()
    payload = {"text": text, "usage": {"type": "duration", "seconds": 1}}
    return plain(payload, completion=len(generation.pieces), moments=len(generation.pieces))


def _streamed(model: str, texts: list[str], *, with_usage: dict[str, str]) -> Answer:
    frame: dict[str, Any] = {
        "id": f"trsc-{IDENT}",
        "object": "transcription.chunk",
        "created": CREATED,
        "model": model,
    }

    def chunk(text: str, finish: str | None) -> bytes:
        choice = {"delta": {"content": text}, "finish_reason": finish, "stop_reason": None}
        return event({**frame, "choices": [choice]})

    steps = tuple((chunk(text, "stop" if index == len(texts) - 1 else None),) for index, text in enumerate(texts))
    closing: tuple[bytes, ...] = (DONE,)
    if with_usage.get("stream_include_usage", "").lower() in ("true", "1"):
        closing = (event({**frame, "choices": [], "usage": usage_of(0, len(texts))}), DONE)
    return Answer(0, len(texts), "stop", steps=steps, closing=closing, aborted=(DONE,), moments=len(steps))
