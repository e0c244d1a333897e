"""Rules of router/handlers/relayed.py: what is refused before a backend is bothered, and what reaches it."""

import asyncio
import json
import socket
import struct

import pytest

from router.simulator.settings import Settings
from tests.front import CHAT, Front, broken, front, run, until
from tests.relay.scripted import DONE, END, HEAD, TEXT, Asked, chat, chunk, gone, plain, says, scripted, stream

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

        async with front(config={"resume": {"mode": "off"}}) as cluster:
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


@pytest.mark.parametrize("way", ["close", "half-close", "reset"])
@pytest.mark.parametrize("split", [False, True], ids=["at once", "head first"])
def test_a_client_that_leaves_right_behind_its_request_is_noticed(way: str, split: bool) -> None:
    """Its end may be read before anything was begun on its behalf, or just after: no backend is left at work."""

    async def test() -> None:
        async with front(config={"health": {"interval": 30}}) as cluster:
            broken(cluster.backends[0], hang=True)
            raw = chat(stream=False)
            head = raw.index(b"\r\n\r\n") + 4 if split else len(raw)
            for number in range(1, 21):
                client = socket.create_connection(("127.0.0.1", cluster.port))
                client.sendall(raw[:head])
                if split:
                    await until(lambda: cluster.app.in_flight == 1)
                    client.sendall(raw[head:])
                if way == "reset":
                    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                if way == "half-close":
                    client.shutdown(socket.SHUT_WR)
                else:
                    client.close()
                while way != "reset" and await cluster.metric("router_requests_total") < number:
                    await asyncio.sleep(0.001)
                client.close()
            await asyncio.sleep(0.05)
            await until(lambda: cluster.server.connections == 0 and cluster.app.in_flight == 0)
            figures = cluster.backends[0].figures
            await until(lambda: figures.aborted == figures.struck)
            assert await cluster.metric("router_attempts_total", outcome="ok") == 0
            ended = await cluster.metric("router_requests_total")
            assert ended == await cluster.metric("router_requests_total", outcome="client_gone")
            assert ended == 20 or way == "reset", "what a reset overtakes is never read"

    run(test)


@pytest.mark.parametrize("pipelined", [False, True])
def test_the_end_of_one_exchange_leaves_the_next_on_its_connection_watched(pipelined: bool) -> None:
    """A client that leaves during the second answer frees its backend."""

    async def test() -> None:
        async with scripted(says(stream(TEXT, DONE), b"")) as (cluster, asked):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat() * 2 if pipelined else chat())
            await reader.readuntil(END)
            if not pipelined:
                writer.write(chat())
            await until(lambda: len(asked) == 2)
            await asyncio.sleep(0.1)
            writer.close()
            await gone(asked[1])
            await until(lambda: cluster.app.in_flight == 0)
            assert await cluster.metric("router_requests_total", outcome="client_gone") == 1

    run(test)


def test_a_backend_that_is_slow_behind_its_end_mark_leaves_the_next_exchange_watched() -> None:
    async def test() -> None:
        released = asyncio.Event()

        async def script(one: Asked) -> None:
            if len(asked) == 1:
                one.writer.write(HEAD + chunk(TEXT) + chunk(DONE))
                await released.wait()
                one.writer.write(END)

        async with scripted(script) as (cluster, asked):
            reader, writer = await asyncio.open_connection("127.0.0.1", cluster.port)
            writer.write(chat())
            await reader.readuntil(END)
            writer.write(chat())
            await until(lambda: len(asked) == 2)
            released.set()
            await until(lambda: cluster.app.in_flight == 1)
            await asyncio.sleep(0.05)
            writer.close()
            await gone(asked[1])

    run(test)


@pytest.mark.parametrize("name", ["Content-Type", "Content-Encoding"])
@pytest.mark.parametrize("second", ["text/plain", "application/json", "identity", "gzip"])
def test_two_headers_that_say_how_to_read_the_body_are_refused(name: str, second: str) -> None:
    """Whoever reads the other one reads another request."""

    async def test() -> None:
        async with front() as cluster:
            first = "application/json" if name == "Content-Type" else "identity"
            lines = f"{name.lower()}: {second}\r\n"
            if name == "Content-Encoding":
                lines = f"{name}: {first}\r\n" + lines
            got = await cluster.exchange(chat(stream=False, lines=(lines + "Connection: close\r\n").encode()))
            assert got.startswith(b"HTTP/1.1 400 ")
            assert json.loads(got.partition(b"\r\n\r\n")[2])["error"]["param"] == name
            assert asked(cluster) == []

    run(test)


@pytest.mark.parametrize(
    "content_type", ["Application/JSON; charset=utf-8", "APPLICATION/VND.X+JSON", "application/json"]
)
def test_json_is_taken_in_any_spelling_of_its_type(content_type: str) -> None:
    async def test() -> None:
        async with scripted(says(plain(200, {}))) as (cluster, seen):
            answer = await cluster.ask("/v1/chat/completions", CHAT, headers={"Content-Type": content_type})
            assert answer.code == 200
            assert seen[0].headers(b"content-type") == [content_type.encode()]

    run(test)


def test_a_form_is_taken_in_any_spelling_of_its_type() -> None:
    async def test() -> None:
        async with scripted(says(plain(200, {}))) as (cluster, seen):
            headers = {"Content-Type": "Multipart/Form-Data; Boundary=xyz"}
            assert (await cluster.ask("/v1/audio/transcriptions", AUDIO, headers=headers)).code == 200
            assert seen[0].body == AUDIO

    run(test)


@pytest.mark.parametrize("line", [b"", b"Content-Type:\r\n"])
def test_a_missing_type_is_filled_in_as_vllm_insists_on_it(line: bytes) -> None:
    async def test() -> None:
        async with scripted(says(plain(200, {}))) as (cluster, seen):
            raw = chat(stream=False, lines=b"Connection: close\r\n")
            raw = raw.replace(b"Content-Type: application/json\r\n", line)
            assert (await cluster.exchange(raw)).startswith(b"HTTP/1.1 200 ")
            assert seen[0].headers(b"content-type") == [b"application/json"]
            assert json.loads(seen[0].body) == {**CHAT, "stream": False}

    run(test)


def test_after_a_redeploy_under_a_new_name_a_missing_model_is_the_new_one() -> None:
    async def test() -> None:
        async with scripted(says(plain(200, {})), config={"backend_options": [{"models": []}]}) as (cluster, seen):
            registry = cluster.app.registry
            for name in ("old", "new"):
                registry.listed(registry.backends[0], [{"id": name}], now=0.0)
            assert (await cluster.ask("/v1/chat/completions", {"messages": []})).code == 200
            assert json.loads(seen[0].body) == {"messages": [], "model": "new"}

    run(test)


def test_a_model_is_filled_in_whatever_else_the_body_holds() -> None:
    async def test() -> None:
        async with scripted(says(plain(200, {}))) as (cluster, seen):
            body = b'{"messages": [], "tools": [{"model": 1}], "x": 1e999, "seed": 123456789012345678901234567890}'
            assert (await cluster.ask("/v1/chat/completions", body)).code == 200
            assert seen[0].body == body[:-1] + b', "model": "simulated-model"}'

    run(test)


@pytest.mark.parametrize("path", ["/v1/messages", "/v1/messages/count_tokens", "/v1/responses"])
@pytest.mark.parametrize(
    ("body", "headers", "method", "status"),
    [
        (b"{bad", {}, "POST", 400),
        (b"{}", {"Content-Type": "text/plain"}, "POST", 415),
        (b"{}", {"Content-Encoding": "gzip"}, "POST", 415),
        (b"{}", {"X-Request-Timeout": "x"}, "POST", 400),
        (b'{"model": "nope"}', {}, "POST", 404),
        (None, {}, "GET", 405),
    ],
)
def test_our_own_refusals_have_the_form_of_the_api_that_was_asked(
    path: str, body: bytes | None, headers: dict[str, str], method: str, status: int
) -> None:
    """Clients of the Messages and Responses APIs tell errors by their `type`."""

    async def test() -> None:
        async with front() as cluster:
            answer = await cluster.ask(path, body, headers=headers, method=method)
            fields = json.loads(answer.body)
            assert (answer.code, fields["type"]) == (status, "error")
            assert fields["error"]["message"]
            assert "type" not in json.loads((await cluster.ask("/v1/completions", b"{bad")).body)

    run(test)
