"""Rules of router/handlers/routes.py."""

import pytest

from router.handlers.routes import RELAYED, Match, ModelsMatch, RouteTable

TABLE = RouteTable(("/v1", "/api/v1", "/"), extra=[("POST", "/v1/custom"), ("GET", "/server_info")])
VLLM = [
    "/v1/chat/completions", "/v1/completions", "/v1/embeddings", "/v1/responses", "/v1/messages",
    "/v1/messages/count_tokens", "/v1/rerank", "/v2/rerank", "/rerank", "/v1/score", "/score", "/classify", "/pooling",
    "/v2/embed", "/tokenize", "/detokenize", "/v1/audio/transcriptions", "/v1/audio/translations",
]  # fmt: skip


def route_of(path: str, method: str = "POST") -> str | None:
    match = TABLE.find(path)
    return match.routes[method].path if isinstance(match, Match) else None


@pytest.mark.parametrize("path", VLLM)
def test_each_path_of_vllm_is_served_as_itself(path: str) -> None:
    assert route_of(path) == path
    assert {route.path for route in RELAYED} == set(VLLM)


@pytest.mark.parametrize("path", [path for path in VLLM if path.startswith("/v1/")])
def test_paths_under_v1_are_served_without_it_and_under_api_v1(path: str) -> None:
    rest = path.removeprefix("/v1")
    assert route_of("/api" + path) == path
    assert route_of(rest) == (path if rest not in VLLM else rest)


def test_other_paths_are_served_under_the_prefixes_too() -> None:
    assert route_of("/v1/tokenize") == "/tokenize"


@pytest.mark.parametrize(
    "path",
    ["/v1/chat/completions/", "/v1//chat/completions", "/V1/chat/completions", "/v1/chat", "/v1/../v1/chat/completions",
     "/v1/chat%2fcompletions", "/v1/load_lora_adapter", "/sleep", "/metrics/", "", "v1/chat/completions",
     "/v1/responses/a/b", "/v1/responses/../models", "/v1/responses/a%2fb", "/v1/responses/", "/v1/models/"],
)  # fmt: skip
def test_nothing_else_is_served(path: str) -> None:
    assert TABLE.find(path) is None


def test_stored_responses_are_asked_for_by_id() -> None:
    match = TABLE.find("/v1/responses/resp_1")
    assert isinstance(match, Match)
    assert (set(match.routes), match.rest) == ({"GET", "DELETE"}, "responses/resp_1")
    assert route_of("/responses/resp_1/cancel") == "/v1/responses/{id}/cancel"


@pytest.mark.parametrize(
    ("path", "name"),
    [("/v1/models", None), ("/models", None), ("/api/v1/models", None), ("/v1/models/a/b", "a/b"), ("/models/x", "x")],
)
def test_models_are_listed_and_asked_for_by_name(path: str, name: str | None) -> None:
    assert TABLE.find(path) == ModelsMatch(name)


def test_configured_routes_are_passed_through() -> None:
    assert route_of("/v1/custom") == "/v1/custom"
    assert route_of("/server_info", "GET") == "/server_info"


def test_without_the_bare_prefix_only_documented_paths_are_served() -> None:
    table = RouteTable(("/v1",))
    assert table.find("/chat/completions") is None
    assert table.find("/v1/chat/completions") is not None
