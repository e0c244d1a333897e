from typing import Any

import pytest

from router.simulator.routes import ROUTES
from router.simulator.settings import Settings
from tests.simulator.asking import HELLO, ask, run, simulated

BODIES: dict[str, Any] = {
    "/v1/chat/completions": HELLO,
    "/v1/completions": {"prompt": "x"},
    "/v1/embeddings": {"input": "x"},
    "/v1/responses": {"input": "x"},
    "/v1/messages": {**HELLO, "max_tokens": 5},
    "/v1/messages/count_tokens": HELLO,
    **{path: {"query": "x", "documents": ["x"]} for path in ("/v1/rerank", "/v2/rerank", "/rerank")},
    **{path: {"text_1": "x", "text_2": "y"} for path in ("/v1/score", "/score")},
    "/classify": {"input": "x"},
    "/pooling": {"input": "x"},
    "/v2/embed": {"texts": ["x"]},
    "/tokenize": {"prompt": "x"},
    "/detokenize": {"tokens": [1]},
}
SPEECH = ("/v1/audio/transcriptions", "/v1/audio/translations")


@pytest.mark.parametrize("path", BODIES)
def test_every_path_answers_and_refuses_a_wrong_model_in_its_own_shape(path: str) -> None:
    async def test() -> None:
        async with simulated(Settings(tokens=3)) as simulator:
            assert (await ask(simulator, "POST", path, BODIES[path])).status == 200
            wrong = await ask(simulator, "POST", path, {**BODIES[path], "model": "nope"})
        assert wrong.status == 404
        assert ("type" in wrong.json) is path.startswith("/v1/messages")

    run(test)


def test_every_route_is_tested() -> None:
    assert {*BODIES, *SPEECH} == set(ROUTES)


@pytest.mark.parametrize(
    ("path", "name"), [("/v1/chat/completions", None), ("/v1/messages", "error"), ("/v1/responses", "error")]
)
def test_an_error_within_a_stream_has_the_form_of_its_api(path: str, name: str | None) -> None:
    first = ROUTES[path].error_events[0]

    assert first.startswith(b"data: " if name is None else b"event: error\n")
    assert (len(ROUTES[path].error_events) == 2) is (name is None)  # only OpenAI's streams have [DONE]
