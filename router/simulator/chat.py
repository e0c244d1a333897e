"""Chat completions, whole and streamed, in the shape that vLLM 0.32 was recorded with."""

from dataclasses import dataclass
from typing import Any

import orjson

from router.simulator.answers import CREATED, DONE, IDENT, Answer, event, interleave, plain, with_prompt
from router.simulator.body import Body, check_length, check_sampling, integer, model_of
from router.simulator.generation import Generation, Piece, Sampling, generate, logprob, read_sampling
from router.simulator.prompt import messages_of, render, text_of, truncated
from router.simulator.schemas import smallest
from router.simulator.settings import Settings
from router.simulator.tokens import decode
from router.simulator.tools import Call, deltas, read_call, whole

ID = f"chatcmpl-{IDENT}"


@dataclass(frozen=True, slots=True)
class Chat:
    """A chat request, understood."""

    model: str
    prompt: list[int]
    sampling: Sampling
    call: Call | None
    forced: str | None  # the JSON text that a response_format asks for
    echo: str  # the final message, where it is to be continued and shown
    stream: bool
    include_usage: bool
    continuous_usage: bool
    settings: Settings

    def generations(self) -> list[Generation]:
        """Return every choice."""
        text = self.call.arguments if self.call else self.forced
        return [
            generate(self.prompt, self.sampling, choice=choice, text=text) for choice in range(self.sampling.choices)
        ]

    def usage(self, generations: list[Generation]) -> dict[str, Any]:
        """Return the token counts."""
        return usage_of(len(self.prompt), sum(len(generation.pieces) for generation in generations))


def usage_of(prompt: int, completion: int) -> dict[str, Any]:
    """Return token counts as every answer shows them."""
    return {"prompt_tokens": prompt, "total_tokens": prompt + completion, "completion_tokens": completion}


def read_chat(body: Body, settings: Settings) -> Chat:
    """Return a request, understood. Raises Refusal."""
    model = model_of(body, settings)
    messages = messages_of(body)
    check_sampling(body)
    prompt = truncated(render(body, settings), body)
    users = [text_of(message, settings)[0] for message in messages if message.get("role") == "user"]
    call = read_call(body, prompt=prompt, parser=settings.tool_parser, asked=users[-1] if users else "")
    asked = integer(body, "max_completion_tokens", integer(body, "max_tokens"))
    logprobs = (integer(body, "top_logprobs", 0) or 0) if body.get("logprobs") else None
    options = body.get("stream_options") or {}
    continues = bool(body.get("continue_final_message"))
    limit = check_length(len(prompt), asked, settings)
    return Chat(
        model=model,
        prompt=prompt,
        sampling=read_sampling(body, limit, natural=settings.tokens, logprobs=logprobs),
        call=call,
        forced=None if call else forced_text(body.get("response_format")),
        echo=text_of(messages[-1], settings)[0] if continues and body.get("echo") else "",
        stream=bool(body.get("stream")),
        include_usage=bool(options.get("include_usage")),
        continuous_usage=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        settings=settings,
    )


def forced_text(wanted: Any) -> str | None:
    """Return the JSON that a `response_format` asks for, or None. Raises Refusal."""
    if not isinstance(wanted, dict):
        return None
    if wanted.get("type") == "json_object":
        return "{}"
    if wanted.get("type") == "json_schema" and isinstance(wanted.get("json_schema"), dict):
        return orjson.dumps(smallest(wanted["json_schema"].get("schema") or {})).decode()
    return None


def answer_chat(body: Body, settings: Settings) -> Answer:
    """Return the answer to a chat completion. Raises Refusal."""
    chat = read_chat(body, settings)
    return with_prompt(_streamed(chat) if chat.stream else _whole(chat), chat.prompt, settings)


def _whole(chat: Chat) -> Answer:
    generations = chat.generations()
    payload = {
        "id": ID,
        "object": "chat.completion",
        "created": CREATED,
        "model": chat.model,
        "choices": [_choice(chat, index, generation) for index, generation in enumerate(generations)],
        "service_tier": None,
        "system_fingerprint": chat.settings.fingerprint,
        "usage": {**chat.usage(generations), "prompt_tokens_details": None, "completion_tokens_details": None},
        "prompt_logprobs": _prompt_logprobs(chat),
        "prompt_token_ids": chat.prompt if chat.sampling.token_ids else None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    total = sum(len(generation.pieces) for generation in generations)
    longest = max(len(generation.pieces) for generation in generations)
    finish = finish_of(chat.call, generations[0])
    return plain(payload, prompt=len(chat.prompt), completion=total, finish=finish, moments=longest)


def finish_of(call: Call | None, generation: Generation) -> str:
    """Return the finish_reason of a choice."""
    return call.finish if call and generation.finish == "stop" else generation.finish


def _choice(chat: Chat, index: int, generation: Generation) -> dict[str, Any]:
    content: str | None = chat.echo + generation.text
    message: dict[str, Any] = {
        "role": "assistant",
        "content": chat.call.content if chat.call else content,
        "refusal": None,
        "annotations": None,
        "audio": None,
        "function_call": None,
    }
    if chat.call:
        message["tool_calls"] = [whole(chat.call, generation)]
    message["reasoning"] = None
    return {
        "index": index,
        "message": message,
        "logprobs": _logprobs(chat, generation.pieces),
        "finish_reason": finish_of(chat.call, generation),
        "stop_reason": generation.stop_reason,
        "token_ids": generation.ids if chat.sampling.token_ids else None,
        "routed_experts": None,
    }


def _logprobs(chat: Chat, pieces: tuple[Piece, ...]) -> dict[str, Any] | None:
    if chat.sampling.logprobs is None:
        return None
    return {"content": [logprob(piece, chat.sampling.logprobs) for piece in pieces]}


def _prompt_logprobs(chat: Chat) -> list[Any] | None:
    """vLLM shows them with `echo`, for every token of the prompt but the first."""
    if not chat.echo:
        return None
    shown = [{str(token): {"logprob": -0.5, "rank": 1, "decoded_token": decode((token,))}} for token in chat.prompt[1:]]
    return [None, *shown]


def _streamed(chat: Chat) -> Answer:
    generations = chat.generations()
    rows = [_choice_events(chat, index, generation) for index, generation in enumerate(generations)]
    total = sum(len(generation.pieces) for generation in generations)
    return Answer(
        prompt_tokens=len(chat.prompt),
        completion_tokens=total,
        finish=finish_of(chat.call, generations[0]),
        choices=len(generations),
        opening=_opening(chat),
        steps=interleave(rows),
        closing=(*_last_usage(chat, generations), DONE),
        aborted=(
            *(event(_chunk(chat, _delta(chat, index, {}, (), finish="abort"))) for index in range(len(generations))),
            DONE,
        ),
        moments=max(len(row) for row in rows),
    )


def _opening(chat: Chat) -> tuple[bytes, ...]:
    role = {"role": "assistant", "content": ""}
    events = []
    for index in range(chat.sampling.choices):
        chunk = _chunk(chat, {"index": index, "delta": role, "logprobs": None, "finish_reason": None})
        if chat.continuous_usage:
            chunk["usage"] = {**usage_of(len(chat.prompt), 0), "completion_tokens_details": None}
        chunk["prompt_token_ids"] = chat.prompt if chat.sampling.token_ids else None
        chunk["prompt_text"] = None
        events.append(event(chunk))
        if chat.echo:
            echoed = {"index": index, "delta": {"content": chat.echo}, "logprobs": None, "finish_reason": None}
            events.append(event(_chunk(chat, echoed)))
    return tuple(events)


def _chunk(chat: Chat, choice: dict[str, Any] | None) -> dict[str, Any]:
    return {
        "id": ID,
        "object": "chat.completion.chunk",
        "created": CREATED,
        "model": chat.model,
        "choices": [choice] if choice else [],
    }


def _delta(
    chat: Chat,
    index: int,
    delta: dict[str, Any],
    pieces: tuple[Piece, ...],
    *,
    finish: str | None = None,
    stop_reason: str | None = None,
) -> dict[str, Any]:
    choice = {
        "index": index,
        "delta": delta,
        "logprobs": _logprobs(chat, pieces) if pieces else None,
        "finish_reason": finish,
    }
    if finish is not None:
        choice["stop_reason"] = stop_reason
    choice["token_ids"] = [piece.token for piece in pieces] if chat.sampling.token_ids else None
    return choice


def _choice_events(chat: Chat, index: int, generation: Generation) -> list[bytes]:
    """Return one event for each token of a choice, the last one with its finish_reason."""
    if chat.call:
        shown = deltas(chat.call, generation, parser=chat.settings.tool_parser)
    else:
        texts = told_texts([piece.text for piece in generation.pieces], held_back=chat.settings.held_back)
        shown = [{"content": text} if text else {} for text in texts]
    events = []
    for step, delta in enumerate(shown):
        is_last = step == len(shown) - 1
        pieces = generation.pieces[step:] if is_last else generation.pieces[step : step + 1]
        finish = finish_of(chat.call, generation) if is_last else None
        stop_reason = generation.stop_reason if is_last else None
        chunk = _chunk(chat, _delta(chat, index, delta, pieces, finish=finish, stop_reason=stop_reason))
        if chat.continuous_usage:
            so_far = len(generation.pieces) if is_last else step + 1
            chunk["usage"] = {**usage_of(len(chat.prompt), so_far), "completion_tokens_details": None}
        if is_last and not chat.include_usage:
            chunk["system_fingerprint"] = chat.settings.fingerprint
        events.append(event(chunk))
    return events


def told_texts(texts: list[str], *, held_back: str) -> list[str]:
    """Return what is told with each token, where these characters at a text's end come with the next one only."""
    told, held = [], ""
    for position, text in enumerate(texts, 1):
        text = held + text
        sent = text.rstrip(held_back) if held_back and position < len(texts) else text
        told.append(sent)
        held = text[len(sent) :]
    return told


def _last_usage(chat: Chat, generations: list[Generation]) -> tuple[bytes, ...]:
    if not chat.include_usage:
        return ()
    chunk = _chunk(chat, None)
    chunk["usage"] = chat.usage(generations)
    chunk["system_fingerprint"] = chat.settings.fingerprint
    return (event(chunk),)
