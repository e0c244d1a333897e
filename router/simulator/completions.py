"""Text completions: of a text or of token ids (a half generated answer among them), whole and streamed."""

from dataclasses import dataclass
from typing import Any

from router.simulator.answers import CREATED, DONE, IDENT, Answer, event, interleave, plain
from router.simulator.body import Body, check_length, check_sampling, integer, model_of, required
from router.simulator.chat import forced_text, usage_of
from router.simulator.generation import Generation, Piece, Sampling, generate, read_sampling
from router.simulator.prompt import truncated
from router.simulator.refusals import bad
from router.simulator.settings import Settings
from router.simulator.tokens import BEGIN, decode, encode

_ID = f"cmpl-{IDENT}"
_DEFAULT_MAX_TOKENS = 16  # OpenAI's, and vLLM's, for this route


@dataclass(frozen=True, slots=True)
class Completion:
    """A completion request, understood."""

    model: str
    prompts: list[list[int]]
    sampling: Sampling
    echo: bool
    forced: str | None
    include_usage: bool
    continuous_usage: bool
    settings: Settings

    def generations(self) -> list[tuple[list[int], Generation]]:
        """Return every choice with its prompt, in the order of their indexes."""
        return [
            (prompt, generate(prompt, self.sampling, choice=choice, text=self.forced))
            for prompt in self.prompts
            for choice in range(self.sampling.choices)
        ]

    @property
    def prompt_tokens(self) -> int:
        """Tokens of all prompts."""
        return sum(map(len, self.prompts))


def prompts_of(body: Body) -> list[list[int]]:
    """Return the prompts: one text, several, one list of ids, or several. Raises Refusal."""
    prompt = required(body, "prompt")
    if isinstance(prompt, str):
        return [[BEGIN, *encode(prompt)]]
    if isinstance(prompt, list) and prompt:
        if all(isinstance(item, str) for item in prompt):
            return [[BEGIN, *encode(item)] for item in prompt]
        if all(_is_id(item) for item in prompt):
            return [prompt]
        if all(isinstance(item, list) and item and all(map(_is_id, item)) for item in prompt):
            return prompt
    raise bad("prompt must be a string, array of strings, array of tokens, or array of token arrays")


def _is_id(item: Any) -> bool:
    return isinstance(item, int) and not isinstance(item, bool) and item >= 0


def answer_completion(body: Body, settings: Settings) -> Answer:
    """Return the answer to a text completion. Raises Refusal."""
    model = model_of(body, settings)
    check_sampling(body)
    prompts = [truncated(prompt, body) for prompt in prompts_of(body)]
    longest = max(map(len, prompts))
    limit = check_length(longest, integer(body, "max_tokens", _DEFAULT_MAX_TOKENS), settings)
    options = body.get("stream_options") or {}
    request = Completion(
        model=model,
        prompts=prompts,
        sampling=read_sampling(body, limit, natural=settings.tokens, logprobs=integer(body, "logprobs")),
        echo=bool(body.get("echo")),
        forced=forced_text(body.get("response_format")),
        include_usage=bool(options.get("include_usage")),
        continuous_usage=bool(options.get("include_usage") and options.get("continuous_usage_stats")),
        settings=settings,
    )
    return _streamed(request) if body.get("stream") else _whole(request)


def _frame(request: Completion, choices: list[dict[str, Any]]) -> dict[str, Any]:
    return {"id": _ID, "object": "text_completion", "created": CREATED, "model": request.model, "choices": choices}


def _logprobs(request: Completion, pieces: tuple[Piece, ...]) -> dict[str, Any] | None:
    """Return log probabilities in the form of this route; the figures are invented, but stable."""
    if request.sampling.logprobs is None:
        return None
    texts = [piece.text or decode((piece.token,)) for piece in pieces]
    offsets = [sum(map(len, texts[:index])) for index in range(len(texts))]
    top = [{text: -0.25} for text in texts] if request.sampling.logprobs else [None for _ in texts]
    return {
        "text_offset": offsets,
        "token_logprobs": [-0.25] * len(texts),
        "tokens": texts,
        "top_logprobs": top,
    }


def _whole(request: Completion) -> Answer:
    generations = request.generations()
    shows_ids = request.sampling.token_ids
    choices = [
        {
            "index": index,
            "text": (decode(prompt[1:]) if request.echo else "") + generation.text,
            "logprobs": _logprobs(request, generation.pieces),
            "finish_reason": generation.finish,
            "stop_reason": generation.stop_reason,
            "token_ids": generation.ids if shows_ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": prompt if shows_ids else None,
            "routed_experts": None,
        }
        for index, (prompt, generation) in enumerate(generations)
    ]
    total = sum(len(generation.pieces) for _, generation in generations)
    payload = _frame(request, choices) | {
        "service_tier": None,
        "system_fingerprint": request.settings.fingerprint,
        "usage": {
            **usage_of(request.prompt_tokens, total),
            "prompt_tokens_details": None,
            "completion_tokens_details": None,
        },
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }
    longest = max(len(generation.pieces) for _, generation in generations)
    finish = generations[0][1].finish
    return plain(payload, prompt=request.prompt_tokens, completion=total, finish=finish, moments=longest)


def _streamed(request: Completion) -> Answer:
    generations = request.generations()
    rows = [_events(request, index, prompt, generation) for index, (prompt, generation) in enumerate(generations)]
    total = sum(len(generation.pieces) for _, generation in generations)
    closing: tuple[bytes, ...] = (DONE,)
    if request.include_usage:
        usage = {"usage": usage_of(request.prompt_tokens, total), "system_fingerprint": request.settings.fingerprint}
        closing = (event(_frame(request, []) | usage), DONE)
    aborted = [event(_frame(request, [_piece(index, "", finish="abort")])) for index in range(len(rows))]
    return Answer(
        prompt_tokens=request.prompt_tokens,
        completion_tokens=total,
        finish=generations[0][1].finish,
        choices=len(rows),
        steps=interleave(rows),
        closing=closing,
        aborted=(*aborted, DONE),
        moments=max(map(len, rows)),
    )


def _piece(index: int, text: str, *, finish: str | None = None, stop_reason: str | None = None) -> dict[str, Any]:
    return {
        "index": index,
        "text": text,
        "logprobs": None,
        "finish_reason": finish,
        "stop_reason": stop_reason,
        "prompt_token_ids": None,
        "token_ids": None,
    }


def _events(request: Completion, index: int, prompt: list[int], generation: Generation) -> list[bytes]:
    """Return one event for each token of a choice, the last one with its finish_reason."""
    events = []
    for step, piece in enumerate(generation.pieces):
        is_last = step == len(generation.pieces) - 1
        text = (decode(prompt[1:]) if request.echo and step == 0 else "") + piece.text
        choice = _piece(index, text)
        choice["logprobs"] = _logprobs(request, (piece,))
        if is_last:
            choice["finish_reason"], choice["stop_reason"] = generation.finish, generation.stop_reason
        if request.sampling.token_ids:
            choice["token_ids"] = [piece.token]
            choice["prompt_token_ids"] = prompt if step == 0 else None
        chunk = _frame(request, [choice])
        if request.continuous_usage:
            chunk["usage"] = {**usage_of(len(prompt), step + 1), "completion_tokens_details": None}
        if is_last and not request.include_usage:
            chunk["system_fingerprint"] = request.settings.fingerprint
        events.append(event(chunk))
    return events
