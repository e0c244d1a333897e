"""Rules of router/handlers/status.py."""

import asyncio
import gzip
import json
import random
import time

from prometheus_client.openmetrics.parser import text_string_to_metric_families as parse_openmetrics

from router import __version__
from router.exchange import Attempt, AttemptOutcome
from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until


def test_health_tells_the_state_of_the_cluster_in_the_fields_that_clients_know() -> None:
    async def test() -> None:
        async with front(Settings(), Settings()) as cluster:
            fields = json.loads((await cluster.ask("/health")).body)
            assert (fields["status"], fields["vllm_status"], len(fields["backends"])) == ("healthy", "connected", 2)
            known = {
                "service",
                "proxy",
                "version",
                "uptime",
                "debug_mode",
                "supported_models",
                "timestamp",
                "auth_enabled",
            }
            assert known <= fields.keys()
            assert "target" not in fields, "addresses are told only where that is configured"
            broken(cluster.backends[0], refuse=True)
            while json.loads((await cluster.ask("/health")).body)["vllm_status"] != "degraded":
                await asyncio.sleep(0.02)
            answer = await cluster.ask("/health")
            assert answer.code == 200
            causes = {each["name"]: each["cause"] for each in json.loads(answer.body)["backends"]}
            gone, well = [each.url.removeprefix("http://") for each in cluster.backends]
            assert causes == {gone: "refused", well: None}

    run(test)


def test_a_cluster_without_backends_is_not_connected() -> None:
    async def test() -> None:
        async with front(urls=[]) as cluster:
            answer = await cluster.ask("/health")
            assert answer.code == 503
            assert json.loads(answer.body)["vllm_status"] == "disconnected"

    run(test)


def test_addresses_are_told_where_that_is_configured() -> None:
    async def test() -> None:
        async with front(config={"server": {"public_details": True}}) as cluster:
            fields = json.loads((await cluster.ask("/health")).body)
            assert fields["vllm_target"] == fields["backends"][0]["url"] == cluster.backends[0].url

    run(test)


def test_models_are_the_union_of_what_backends_list() -> None:
    async def test() -> None:
        async with front(Settings(models=("a", "org/b")), Settings(models=("a", "c"))) as cluster:
            listing = json.loads((await cluster.ask("/v1/models")).body)
            assert listing["object"] == "list"
            assert [model["id"] for model in listing["data"]] == ["a", "org/b", "c"]
            for path, name in (("/v1/models/org/b", "org/b"), ("/models/org%2Fb", "org/b"), ("/api/v1/models/c", "c")):
                answer = await cluster.ask(path)
                assert (answer.code, json.loads(answer.body)["id"]) == (200, name)
            missing = await cluster.ask("/v1/models/nope")
            assert (missing.code, json.loads(missing.body)["error"]["code"]) == (404, "model_not_found")

    run(test)


def test_the_models_of_a_backend_that_is_down_are_still_models() -> None:
    """Asking for them is told 503, so they are not denied either."""

    async def test() -> None:
        async with front(Settings(models=("a",)), Settings(models=("b",))) as cluster:
            broken(cluster.backends[1], refuse=True)
            await until(lambda: cluster.app.registry.usable_count(time.monotonic()) == 1)
            listing = json.loads((await cluster.ask("/v1/models")).body)
            assert [model["id"] for model in listing["data"]] == ["a", "b"]
            answer = await cluster.ask("/v1/models/b")
            assert (answer.code, json.loads(answer.body)["id"]) == (200, "b")
            assert (await cluster.chat(model="b")).code == 503

    run(test)


def test_before_any_backend_has_told_its_models_they_are_not_denied() -> None:
    async def test() -> None:
        async with front(urls=["http://127.0.0.1:9"], ready=False) as cluster:
            for answer in (await cluster.ask("/v1/models"), await cluster.chat()):
                assert (answer.code, "Retry-After" in answer.headers) == (503, True)

    run(test)


def test_not_ready_while_draining() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert (await cluster.ask("/readyz")).code == 200
            cluster.app.drain()
            answer = await cluster.ask("/readyz")
            assert (answer.code, json.loads(answer.body)["reason"]) == (503, "draining")

    run(test)


def test_what_this_is_and_which_version() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert json.loads((await cluster.ask("/")).body)["name"] == "devstral-router"
            assert json.loads((await cluster.ask("/version")).body) == {"version": __version__}
            assert (await cluster.ask("/ping", b"")).code == 200

    run(test)


def test_metrics_are_prometheus_text_and_a_made_up_model_is_no_label() -> None:
    async def test() -> None:
        async with front() as cluster:
            await cluster.chat()
            await cluster.chat(model="made-up")
            answer = await cluster.ask("/metrics")
            page = answer.body.decode()
            assert answer.headers["Content-Type"].startswith("text/plain")
            labels = 'route="/v1/chat/completions",model="simulated-model",status="200",outcome="ok"'
            assert f"router_requests_total{{{labels}}} 1" in page
            assert 'model="other",status="404"' in page
            assert "made-up" not in page
            assert 'router_backend_up{backend="' in page

    run(test)


def test_many_metrics_are_packed_for_who_takes_that_and_few_are_not() -> None:
    async def test() -> None:
        asked = {"headers": {"Accept-Encoding": "deflate, gzip"}}
        quiet = {"health": {"enabled": False, "interval": 3600, "models_interval": 3600, "load_interval": 3600}}
        async with front() as cluster:
            answer = await cluster.ask("/metrics", **asked)
            assert "Content-Encoding" not in answer.headers
            assert "Accept-Encoding" in answer.headers["Vary"]
        urls = [f"http://127.0.0.1:{port}" for port in range(20_000, 20_200)]
        async with front(urls=urls, config=quiet, ready=False) as cluster:
            plain = await cluster.ask("/metrics")
            answer = await cluster.ask("/metrics", **asked)
            assert answer.headers["Content-Encoding"] == "gzip"
            assert int(answer.headers["Content-Length"]) == len(answer.body) < len(plain.body) / 4
            rows = gzip.decompress(answer.body).decode().splitlines()
            assert len([row for row in rows if row.startswith("router_backend_up{")]) == 200

    run(test)


def test_metrics_come_in_the_form_that_is_asked_for() -> None:
    async def test() -> None:
        async with front() as cluster:
            await cluster.chat()
            for path, accept in (("/metrics", "application/json"), ("/metrics?format=json", "*/*")):
                answer = await cluster.ask(path, headers={"Accept": accept})
                assert answer.headers["Content-Type"] == "application/json"
                told = json.loads(answer.body)["metrics"]["router_requests"]["samples"]
                assert [(one["labels"]["model"], one["value"]) for one in told] == [("simulated-model", 1)]
            answer = await cluster.ask("/metrics?format=xml")
            assert answer.headers["Content-Type"].startswith("text/plain")

    run(test)


def test_a_clients_trace_is_the_example_of_its_request() -> None:
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"

    async def test() -> None:
        async with front() as cluster:
            for header in ({"traceparent": f"00-{trace}-00f067aa0ba902b7-01"}, {"traceparent": "made-up"}, {}):
                await cluster.ask("/v1/chat/completions", CHAT, headers=header)
            answer = await cluster.ask("/metrics", headers={"Accept": "application/openmetrics-text"})
            families = list(parse_openmetrics(answer.body.decode()))
            marked = [sample for family in families for sample in family.samples if sample.exemplar is not None]
            assert [sample.exemplar.labels for sample in marked] == [{"trace_id": trace}] * 2
            assert [sample.name for sample in marked] == [
                "router_request_duration_seconds_bucket",
                "router_time_to_first_token_seconds_bucket",
            ]

    run(test)


ROUNDS = 400


def test_random_clients_sessions_models_and_paths_make_no_series() -> None:
    """With sessions on; those of a client that is served, too."""
    draw = random.Random(20)
    forms = ("text/plain", "application/openmetrics-text", "application/json")

    def drawn() -> str:
        return f"random-{draw.getrandbits(64):x}"

    async def ask_all(cluster: Front) -> None:
        for method in ("GET", "POST"):
            await cluster.ask(f"/{drawn()}", b"{}" if method == "POST" else None, method=method)
        await cluster.ask(f"/v1/models/{drawn()}")
        for model in (CHAT["model"], drawn()):
            key = {"Authorization": f"Bearer {drawn()}"} if draw.random() < 0.5 else {"X-Api-Key": drawn()}
            own = {"X-Session-Id": drawn(), "User-Agent": drawn(), "X-Request-Id": drawn()}
            body = {**CHAT, "model": model, "user": drawn()}
            answer = await cluster.ask("/v1/chat/completions", body, headers={**key, **own})
            assert answer.code == (200 if model == CHAT["model"] else 404)

    async def series(cluster: Front) -> list[str]:
        rows = (await cluster.ask("/metrics")).body.decode().splitlines()
        return [row.rpartition(" ")[0] for row in rows]

    async def test() -> None:
        async with front(config={"sessions": {"enabled": True}}) as cluster:
            await ask_all(cluster)
            first = await series(cluster)
            for _ in range(ROUNDS):
                await ask_all(cluster)
            assert await series(cluster) == first
            assert await cluster.metric("router_sessions_created_total") == ROUNDS + 1
            for form in forms:
                page = await cluster.ask("/metrics", headers={"Accept": form})
                assert b"random" not in page.body

    run(test, timeout=120.0)


def test_the_page_with_500_backends_is_quick() -> None:
    """Measured: 24 ms of CPU, with attempts of two models at each; the bound leaves room for a busy machine."""
    names = [f"127.0.0.1:{number}" for number in range(20_000, 20_500)]
    config = {"health": {"enabled": False}, "backend_options": [{"models": ["m", "n"]}] * len(names)}

    async def test() -> None:
        async with front(urls=[f"http://{name}" for name in names], config=config, ready=False) as cluster:
            for name in names:
                for model in ("m", "n"):
                    for outcome in (AttemptOutcome.OK, AttemptOutcome.OVERLOADED, AttemptOutcome.CUT):
                        cluster.app.metrics.attempt_closed(Attempt(name, 1.0, outcome, 200, 2.0), model, began=1.5)
            times = []
            for _ in range(5):
                begun = time.perf_counter()
                answer = await cluster.ask("/metrics")
                times.append(time.perf_counter() - begun)
                assert answer.body.count(b"\nrouter_backend_usable{") == 500
                assert answer.body.count(b"\nrouter_attempts_total{") == 3000
            assert min(times) < 1.0

    run(test)
