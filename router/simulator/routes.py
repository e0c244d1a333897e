"""Which paths generate something, and how: one table."""

import json
from collections.abc import Callable
from dataclasses import dataclass

from router.simulator.answers import DONE, Answer, named_event
from router.simulator.anthropic import answer_messages, count_tokens
from router.simulator.body import Body, read_object
from router.simulator.chat import answer_chat
from router.simulator.completions import answer_completion
from router.simulator.pooling import (
    answer_classify,
    answer_embed,
    answer_embeddings,
    answer_pooling,
    answer_rerank,
    answer_score,
)
from router.simulator.refusals import DEAD, Refusal, anthropic, error_body
from router.simulator.responses import answer_response
from router.simulator.settings import Settings
from router.simulator.texts import answer_detokenize, answer_speech, answer_tokenize

Build = Callable[[bytes, str, Settings], Answer]

# vLLM writes this event with Python's json, hence its spaces; an Anthropic stream and the Responses API name it.
_ERROR = (b"data: " + json.dumps(error_body(500, DEAD)).encode() + b"\n\n", DONE)
_ANTHROPIC_ERROR = (named_event("error", {"type": "error", "error": {"type": "internal_error", "message": DEAD}}),)
_RESPONSES_FAULT = {"type": "error", "code": "server_error", "message": DEAD, "param": None, "sequence_number": 2}
_RESPONSES_ERROR = (named_event("error", _RESPONSES_FAULT),)


@dataclass(frozen=True, slots=True)
class Route:
    """One path that takes POST. `build` is given the body's bytes and their content type, and may raise Refusal."""

    build: Build
    generates: bool = True  # takes a seat in the engine; what only counts tokens does not
    error_events: tuple[bytes, ...] = _ERROR
    keeps: bool = False  # the answer can be fetched again


def _json(answer: Callable[[Body, Settings], Answer]) -> Build:
    def build(raw: bytes, content_type: str, settings: Settings) -> Answer:
        return answer(read_object(raw, content_type), settings)

    return build


def _anthropic(answer: Callable[[Body, Settings], Answer]) -> Build:
    def build(raw: bytes, content_type: str, settings: Settings) -> Answer:
        try:
            return answer(read_object(raw, content_type), settings)
        except Refusal as refused:
            raise anthropic(refused) from None

    return build


_RERANK = Route(_json(answer_rerank))
_SCORE = Route(_json(answer_score))
_SPEECH = Route(answer_speech)

ROUTES: dict[str, Route] = {
    "/v1/chat/completions": Route(_json(answer_chat)),
    "/v1/completions": Route(_json(answer_completion)),
    "/v1/embeddings": Route(_json(answer_embeddings)),
    "/v1/responses": Route(_json(answer_response), error_events=_RESPONSES_ERROR, keeps=True),
    "/v1/messages": Route(_anthropic(answer_messages), error_events=_ANTHROPIC_ERROR),
    "/v1/messages/count_tokens": Route(_anthropic(count_tokens), generates=False),
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/rerank": _RERANK,
    "/v1/score": _SCORE,
    "/score": _SCORE,
    "/classify": Route(_json(answer_classify)),
    "/pooling": Route(_json(answer_pooling)),
    "/v2/embed": Route(_json(answer_embed)),
    "/tokenize": Route(_json(answer_tokenize), generates=False),
    "/detokenize": Route(_json(answer_detokenize), generates=False),
    "/v1/audio/transcriptions": _SPEECH,
    "/v1/audio/translations": _SPEECH,
}
