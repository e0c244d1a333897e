"""Rules of router/handlers/relayed.py: what is refused before a backend is bothered, and what reaches it."""

import json

import pytest

from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run

FORM = "multipart/form-data; boundary=xyz"
AUDIO = (
    b'--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\nContent-Type: audio/wav\r\n\r\n'
    b"RIFF\x00\xff\r\n--xyz\r\n"
    b'Content-Disposition: form-data; name="model"\r\n\r\nsimulated-model\r\n--xyz--\r\n'
)


def asked(cluster: Front) -> list[bytes]:
    return [seen.body for backend in cluster.backends for seen in backend.requests if seen.method == "POST"]


@pytest.mark.parametrize(
    ("body", "headers", "status", "part"),
    [
        (b"{", {}, 400, "not valid JSON"),
        (b"[]", {}, 400, "JSON object"),
        (b"", {}, 400, "no body"),
        (b"\xff{}", {}, 400, "UTF-8"),
        (b'{"model": 1}', {}, 400, "model"),
        (b"a=b", {"Content-Type": "application/x-www-form-urlencoded"}, 415, "application/json"),
        (b"{}", {"Content-Type": "text/plain"}, 415, "application/json"),
        (b"{}", {"Content-Encoding": "gzip"}, 415, "compressed"),
        (b'{"model": "gpt-4"}', {}, 404, "simulated-model"),
        (b"{}", {"X-Request-Timeout": "soon"}, 400, "X-Request-Timeout"),
        (b"{}", {"X-Request-Timeout": "-1"}, 400, "X-Request-Timeout"),
    ],
)
def test_what_no_backend_could_take_is_refused_and_none_is_bothered(
    body: bytes, headers: dict[str, str], status: int, part: str
) -> None:
    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.ask("/v1/chat/completions", body, headers=headers)
            error = json.loads(answer.body)["error"]
            assert (answer.code, error["type"]) == (status, "invalid_request_error")
            assert part.lower() in error["message"].lower()
            assert asked(cluster) == []
            assert await cluster.metric("router_requests_total", outcome="rejected") == 1

    run(test)


def test_a_body_over_the_limit_is_refused_while_it_is_sent() -> None:
    async def test() -> None:
        async with front(config={"server": {"max_body": 1000}}) as cluster:
            answer = await cluster.ask("/v1/chat/completions", b"x" * 5000)
            assert answer.code == 413
            assert json.loads(answer.body)["error"]["type"] == "invalid_request_error"

    run(test)


def test_untouched_bytes_stay_untouched() -> None:
    async def test() -> None:
        async with front() as cluster:
            body = b'{ "model":"simulated-model" ,"messages": [{"role":"user","content":"\\u00e4 \xc3\xa4"}], "x":1e2 }'
            assert (await cluster.ask("/v1/chat/completions", body)).code == 200
            assert asked(cluster) == [body]

    run(test)


def test_a_missing_model_is_filled_in_where_exactly_one_is_served() -> None:
    async def test() -> None:
        async with front() as cluster:
            assert (await cluster.ask("/v1/chat/completions", {"messages": CHAT["messages"]})).code == 200
            assert json.loads(asked(cluster)[0])["model"] == "simulated-model"

    run(test)


def test_a_missing_model_is_asked_for_where_several_are_served() -> None:
    async def test() -> None:
        async with front(Settings(models=("a",)), Settings(models=("b",))) as cluster:
            answer = await cluster.ask("/v1/chat/completions", {"messages": CHAT["messages"]})
            assert (answer.code, json.loads(answer.body)["error"]["param"]) == (400, "model")
            for model in ("a", "b"):
                assert json.loads((await cluster.chat(model=model)).body)["model"] == model

    run(test)


@pytest.mark.parametrize(
    ("path", "seen"),
    [
        ("/v1/chat/completions", "/v1/chat/completions"),
        ("/chat/completions", "/v1/chat/completions"),
        ("/api/v1/chat/completions?beta=true", "/v1/chat/completions?beta=true"),
        ("/tokenize", "/tokenize"),
        ("/v1/tokenize", "/tokenize"),
    ],
)
def test_each_way_to_a_route_leads_to_the_backends_own_path(path: str, seen: str) -> None:
    async def test() -> None:
        async with front() as cluster:
            await cluster.ask(path, CHAT)
            assert [each.target for each in cluster.backends[0].requests if each.method == "POST"] == [seen]

    run(test)


def test_a_form_is_relayed_as_it_is_by_its_model_part() -> None:
    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.ask("/v1/audio/transcriptions", AUDIO, headers={"Content-Type": FORM})
            assert answer.code == 200
            assert asked(cluster) == [AUDIO]
            wrong = AUDIO.replace(b"simulated-model", b"whisper-9999999")
            assert (await cluster.ask("/v1/audio/transcriptions", wrong, headers={"Content-Type": FORM})).code == 404
            assert (await cluster.ask("/v1/audio/transcriptions", b"{}")).code == 415

    run(test)


def test_ids_and_traces_travel_and_the_clients_credentials_do_not() -> None:
    async def test() -> None:
        options = [{"api_key": "sk-backend"}]
        async with front(Settings(api_key="sk-backend"), config={"backend_options": options}) as cluster:
            trace = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"
            sent = {
                "Authorization": "Bearer sk-client", "Cookie": "a=b", "X-Request-Id": "mine", "Traceparent": trace,
                "X-Forwarded-For": "1.2.3.4", "Connection": "X-Hop", "X-Hop": "1", "X-Kept": "1",
            }  # fmt: skip
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers=sent)
            assert (answer.code, json.loads(answer.body)["id"]) == (200, "chatcmpl-mine")
            got = next(seen for seen in cluster.backends[0].requests if seen.method == "POST")
            names = [name.decode().lower() for name, _ in got.headers]
            seen = {name.decode().lower(): value.decode() for name, value in got.headers}
            assert names.count("authorization") == 1
            assert seen["authorization"] == "Bearer sk-backend"
            assert (seen["x-request-id"], seen["traceparent"], seen["x-kept"]) == ("mine", trace, "1")
            assert not {"cookie", "x-forwarded-for", "x-hop"} & set(names)
            assert seen["host"] == f"127.0.0.1:{cluster.backends[0].port}"

    run(test)


def test_streams_tell_proxies_not_to_hold_them_back() -> None:
    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.chat(stream=True)
            assert answer.headers["Cache-Control"] == "no-cache"
            assert answer.headers["X-Accel-Buffering"] == "no"
            assert answer.headers["Content-Type"].startswith("text/event-stream")

    run(test)


def test_which_backend_answered_is_told_only_where_it_is_switched_on() -> None:
    async def test() -> None:
        async with front(config={"server": {"reveal_backend": False}}) as cluster:
            assert not [name for name in (await cluster.chat()).headers if name.startswith("X-Router")]
        async with front() as cluster:
            assert (await cluster.chat()).headers["X-Router-Attempts"] == "1"

    run(test)


def test_the_largest_answer_passes_and_its_length_is_kept() -> None:
    async def test() -> None:
        async with front(Settings(tokens=200_000, max_model_len=1_000_000)) as cluster:
            answer = await cluster.chat(max_tokens=200_000)
            assert answer.code == 200
            assert len(json.loads(answer.body)["choices"][0]["message"]["content"]) > 500_000

    run(test)


BODIES: dict[str, dict[str, object]] = {
    "/v1/embeddings": {"input": "a"},
    "/v1/completions": {"prompt": "a"},
    "/v1/responses": {"input": "a"},
    "/v1/messages": {"max_tokens": 5, "messages": CHAT["messages"]},
    "/v1/score": {"text_1": "a", "text_2": "b"},
    "/v1/rerank": {"query": "a", "documents": ["b"]},
    "/pooling": {"input": "a"},
    "/classify": {"input": "a"},
    "/detokenize": {"tokens": [1, 2]},
    "/v1/messages/count_tokens": {"messages": CHAT["messages"]},
}


@pytest.mark.parametrize("path", BODIES)
def test_every_route_reaches_its_backend(path: str) -> None:
    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.ask(path, {"model": "simulated-model", **BODIES[path]})
            assert (answer.code, len(asked(cluster))) == (200, 1)

    run(test)


@pytest.mark.parametrize(
    ("path", "body", "end"),
    [
        ("/v1/completions", {"prompt": "a"}, b"data: [DONE]\n\n"),
        ("/v1/messages", {"max_tokens": 5, "messages": CHAT["messages"]}, b"message_stop"),
        ("/v1/responses", {"input": "a"}, b"response.completed"),
    ],
)
def test_streams_of_every_api_end_with_their_own_mark_or_with_an_error(
    path: str, body: dict[str, object], end: bytes
) -> None:
    async def test() -> None:
        from router.simulator.faults import Break

        async with front() as cluster:
            fields = {"model": "simulated-model", "stream": True, **body}
            answer = await cluster.ask(path, fields)
            assert (answer.code, end in answer.body[-2000:]) == (200, True)
            assert await cluster.metric("router_requests_total", outcome="ok") == 1
            broken(cluster.backends[0], break_as=Break.CUT, break_after=6)
            answer = await cluster.ask(path, fields)
            assert end not in answer.body
            assert b'"error"' in answer.body

    run(test)


def test_the_clients_credentials_travel_where_configured_but_never_beside_ours() -> None:
    async def test() -> None:
        server = {"server": {"forward_authorization": True}}
        for options, seen in (([{}], ["Bearer sk-client"]), ([{"api_key": "sk-ours"}], ["Bearer sk-ours"])):
            async with front(config={**server, "backend_options": options}) as cluster:
                await cluster.ask("/v1/chat/completions", CHAT, headers={"Authorization": "Bearer sk-client"})
                posted = next(each for each in cluster.backends[0].requests if each.method == "POST")
                assert [value.decode() for name, value in posted.headers if name.lower() == b"authorization"] == seen

    run(test)
