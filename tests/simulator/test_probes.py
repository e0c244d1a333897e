import json

from router.simulator.metrics import no_figures
from router.simulator.probes import Seen, models_body, recent_requests, stats_body
from router.simulator.settings import Settings

SEEN = Seen("POST", "/v1/chat/completions", ((b"Host", b"sim"), (b"X-Trace", b"1")), b"x" * 5000)


def test_every_alias_is_listed_with_the_longest_prompt() -> None:
    listed = json.loads(models_body(Settings(models=("a", "b"), max_model_len=99), created=5))["data"]

    assert [(model["id"], model["max_model_len"], model["created"]) for model in listed] == [("a", 99, 5), ("b", 99, 5)]


def test_headers_are_found_whatever_their_case() -> None:
    assert (SEEN.header("x-trace"), SEEN.header("other")) == ("1", None)


def test_the_last_requests_are_told_and_their_bodies_bounded() -> None:
    requests = recent_requests()
    for _ in range(200):
        requests.append(SEEN)
    figures = no_figures(Settings())

    def told(shown: str | None) -> int:
        return len(json.loads(stats_body(figures, requests, started=0, shown=shown))["requests"])

    assert (told(None), told("0"), told("3"), told("999"), told("x")) == (8, 0, 3, 64, 8)
    first = json.loads(stats_body(figures, requests, started=0, shown="1"))["requests"][0]
    assert len(first["body"]) == 4096
