"""What a model would have written: tokens with their texts, and why they end. Pure, and the same for the same input."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from router.simulator.body import Body, integer, stops
from router.simulator.refusals import Refusal, bad_value
from router.simulator.tokens import END, decode, encode, generated, walk

_MOST_LOGPROBS = 20  # vLLM's --max-logprobs
_MOST_CHOICES = 128  # of one request; bounds the work


@dataclass(frozen=True, slots=True)
class Piece:
    """One token with its text; the token that ends an answer has none."""

    token: int
    text: str


@dataclass(frozen=True, slots=True)
class Generation:
    """One choice of an answer."""

    pieces: tuple[Piece, ...]
    finish: str  # "stop" or "length"
    stop_reason: str | None = None  # the stop string that ended it

    @property
    def text(self) -> str:
        """The whole text."""
        return "".join(piece.text for piece in self.pieces)

    @property
    def ids(self) -> list[int]:
        """The ids of all tokens."""
        return [piece.token for piece in self.pieces]


@dataclass(frozen=True, slots=True)
class Sampling:
    """The parameters of a request that change what is generated."""

    limit: int  # tokens of one choice at most
    natural: int  # tokens after which it ends by itself
    least: int = 0  # it does not end by itself before
    ignore_end: bool = False
    seed: int | None = None
    stop: tuple[str, ...] = ()
    choices: int = 1
    logprobs: int | None = None  # how many alternatives are shown; None: no log probabilities
    token_ids: bool = False  # ids are asked for


def read_sampling(body: Body, limit: int, *, natural: int, logprobs: int | None) -> Sampling:
    """Return the parameters of a request whose answer may have `limit` tokens. Raises Refusal."""
    choices = integer(body, "n", 1) or 1
    if choices > _MOST_CHOICES:
        raise bad_value(f"n must be at most {_MOST_CHOICES}, got {choices}.", param="n", value=choices)
    if logprobs is not None and logprobs > _MOST_LOGPROBS:
        raise too_many_logprobs(logprobs)
    return Sampling(
        limit=limit,
        natural=natural,
        least=integer(body, "min_tokens", 0) or 0,
        ignore_end=bool(body.get("ignore_eos")),
        seed=integer(body, "seed"),
        stop=stops(body),
        choices=choices,
        logprobs=logprobs,
        token_ids=bool(body.get("return_token_ids")),
    )


def too_many_logprobs(asked: int) -> Refusal:
    """Return the 400 of more alternatives than the server gives."""
    text = f"Requested sample logprobs of {asked}, which is greater than max allowed: {_MOST_LOGPROBS}"
    return bad_value(text, param="logprobs", value=asked)


def generate(prompt: Sequence[int], sampling: Sampling, *, choice: int = 0, text: str | None = None) -> Generation:
    """Return one choice; `text` is what it must say (a tool call, JSON), where that is not the model's to decide."""
    words: Iterator[int]
    if text is not None:
        words = iter([*encode(text), END])
    else:
        count = max(0, sampling.natural - 1 - generated(prompt, seed=sampling.seed), sampling.least)
        if sampling.ignore_end:
            count = sampling.limit
        words = itertools.chain(
            itertools.islice(walk(prompt, seed=sampling.seed, choice=choice), min(count, sampling.limit)), (END,)
        )
    ids = list(itertools.islice(words, sampling.limit))
    pieces = [Piece(token, "" if token == END else decode((token,))) for token in ids]
    finish = "stop" if ids and ids[-1] == END else "length"
    return _cut_at_stop(Generation(tuple(pieces), finish), sampling.stop)


def _cut_at_stop(whole: Generation, stop: tuple[str, ...]) -> Generation:
    """End a generation before the first stop string in its text."""
    if not stop:
        return whole
    text = whole.text
    found = [(text.find(item), item) for item in stop if item in text]
    if not found:
        return whole
    at, reason = min(found)
    pieces: list[Piece] = []
    length = 0
    for piece in whole.pieces:
        pieces.append(Piece(piece.token, piece.text[: max(0, at - length)]))
        length += len(piece.text)
        if length >= at + len(reason):
            break
    return Generation(tuple(pieces), "stop", reason)


def logprob(piece: Piece, alternatives: int) -> dict[str, Any]:
    """Return a token's log probabilities in the form of chat completions; the figures are invented, but stable."""
    text = piece.text or decode((piece.token,))
    shown = [_entry(text, -0.25)]
    shown += [_entry(decode((32 + (piece.token + rank) % 60,)), -1.5 - rank) for rank in range(1, alternatives)]
    return {**_entry(text, -0.25), "top_logprobs": shown[:alternatives]}


def _entry(text: str, value: float) -> dict[str, Any]:
    return {"token": text, "logprob": value, "bytes": list(text.encode("utf-8", "replace"))}
