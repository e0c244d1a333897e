"""Every request of the corpus (tests/translate/corpus) through the router to real vLLM, and every answer strictly
OpenAI's.

vLLM refuses nothing but pictures, as the tiny model cannot see; what no backend could take, the router refuses.
"""

import json
from typing import Any

import pytest
from vllm_cluster import MODEL, Answer, Cluster, fetch

from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.request import translate
from router.translate.profile import STRICTEST
from tests.translate.client import View, check_error, view_of_answer, view_of_stream
from tests.translate.corpus.case import Case
from tests.translate.corpus.requests import ACCEPTED, REFUSED

pytestmark = pytest.mark.through_router
MOST_TOKENS = 16  # of an answer: what stands in it is of no interest here
FORM = AnswerForm()
VERSIONS = pytest.mark.parametrize("version", ["v11", "v13"])


@pytest.fixture
def url(request: pytest.FixtureRequest, version: str) -> str:
    """The router in front of servers whose tokenizer has that version."""
    cluster: Cluster = request.getfixturevalue("older" if version == "v11" else "started")
    cluster.up()
    return cluster.url + "/v1/chat/completions"


def by_name(case: Case) -> str:
    """Name a case for pytest."""
    return case.name


def body_of(case: Case, *, stream: bool) -> dict[str, Any]:
    """Return the request, with a short and repeatable answer where it does not say otherwise."""
    body = {"model": MODEL, "seed": 1, **case.body}
    if not body.keys() & {"max_tokens", "max_completion_tokens"}:
        body["max_tokens"] = MOST_TOKENS
    if stream:
        body["stream"] = True
    else:
        body.pop("stream", None)
    return body


def shows_a_picture(body: dict[str, Any]) -> bool:
    """Whether a user shows one; those in tool results are left out for a model that cannot see."""
    return any(
        isinstance(part, dict) and part.get("type") in {"image_url", "image", "input_image"}
        for message in body["messages"]
        if message.get("role") == "user" and isinstance(message.get("content"), list)
        for part in message["content"]
    )


def asked_of(body: dict[str, Any]) -> Asked:
    """Return what the form of the answer depends on."""
    return translate(json.dumps(body).encode(), STRICTEST).asked


def check_refusal(answer: Answer) -> None:
    """Check that vLLM refused a picture, and that its error is OpenAI's."""
    assert answer.status == 400
    check_error(answer.json())
    assert answer.json()["error"]["message"] == f"{MODEL} is not a multimodal model"
    assert answer.json()["error"]["type"] == "invalid_request_error"


def check_view(view: View, body: dict[str, Any]) -> None:
    """Check that it is whole, with as many choices as asked for."""
    assert view["ending"] == "done"
    assert len(view["choices"]) == body.get("n", 1)
    assert all(choice["finish"] in {"stop", "length", "tool_calls"} for choice in view["choices"])


@VERSIONS
@pytest.mark.parametrize("case", ACCEPTED, ids=by_name)
def test_vllm_takes_the_request(case: Case, url: str) -> None:
    """And its answer in one piece is strictly OpenAI's."""
    body = body_of(case, stream=False)
    answer = fetch(url, body)
    if shows_a_picture(body):
        check_refusal(answer)
    else:
        assert answer.status == 200, answer.body
        check_view(view_of_answer(answer.body, asked_of(body), FORM), body)


@VERSIONS
@pytest.mark.parametrize("case", ACCEPTED, ids=by_name)
def test_vllm_takes_the_request_and_streams(case: Case, url: str) -> None:
    """And every chunk of the answer is strictly OpenAI's, and so is their order."""
    body = body_of(case, stream=True)
    answer = fetch(url, body)
    if shows_a_picture(body):
        check_refusal(answer)
    else:
        assert answer.status == 200, answer.body
        assert answer.headers["content-type"].startswith("text/event-stream")
        check_view(view_of_stream(answer.body, asked_of(body), FORM), body)


@VERSIONS
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
@pytest.mark.parametrize("case", REFUSED, ids=by_name)
def test_the_router_refuses_what_no_backend_could_take(case: Case, url: str, stream: bool) -> None:
    """With OpenAI's error object, which names the field."""
    answer = fetch(url, body_of(case, stream=stream))

    assert answer.status == 400
    check_error(answer.json())
    error = answer.json()["error"]
    assert error["type"] == "invalid_request_error"
    assert error["param"] == case.refused
    assert "x-router-backend" not in answer.headers
