"""Rules of router/handlers/tapped.py, by a whole router in this process: what middlewares see and change."""

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from router.access.tenant import note_tenants
from router.config import Config, Loaded
from router.exchange import Exchange
from router.simulator.faults import Break
from router.simulator.settings import Settings
from tests.front import CHAT, QUICK, Front, broken, front, merged, run, until
from tests.middleware.samples import RAISED, Recorder
from tests.relay.scripted import DONE as MARK
from tests.relay.scripted import END, ROLE, TEXT, chunk, says, scripted
from tests.relay.scripted import HEAD as STREAM_HEAD

SAMPLES = "tests.middleware.samples"
RECORDER = {"type": f"{SAMPLES}:Recorder"}
ALL = ["on_request", "on_response", "on_event", "on_end"]


def changing(mark: str) -> dict[str, Any]:
    return {"type": f"{SAMPLES}:Changing", "config": {"mark": mark}}


def with_them(*entries: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"middlewares": list(entries), **more}


def recorder(it: Front, place: int = 0) -> Recorder:
    found = it.app._tapping.slots[place]._middleware
    assert isinstance(found, Recorder)
    return found


async def text_of(it: Front, **fields: object) -> tuple[int, bytes]:
    got: list[bytes] = []
    body = {**CHAT, "stream": True, "max_tokens": 20, **fields}
    answer = await it.ask("/v1/chat/completions", body, streaming_callback=got.append)
    return answer.code, b"".join(got) or answer.body or b""


def test_a_plain_answer_and_a_stream_are_seen_as_the_client_gets_them() -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER)) as it:
            answer = await it.chat()
            seen = recorder(it)
            await until(lambda: len(seen.seen) == 4)
            assert [hook for hook, _ in seen.seen] == ALL
            assert seen.of("on_event") == [answer.body]
            request = seen.of("on_request")[0]
            assert (request.method, request.path, json.loads(request.body)) == ("POST", "/v1/chat/completions", CHAT)
            seen.seen.clear()

            _, text = await text_of(it)
            await until(lambda: bool(seen.of("on_end")))
            assert b"".join(seen.of("on_event")) == text
            assert len(seen.of("on_event")) == text.count(b"\n\n") > 20
            (ending, model, is_stream) = seen.of("on_end")[0]
            assert (ending.outcome, ending.status, model, is_stream) == ("ok", 200, "simulated-model", True)
            assert it.app.metrics.dump()["router_body_bytes"].samples['direction="out"'] == len(text) + len(answer.body)

    run(test)


def test_requests_and_answers_may_be_changed_in_order() -> None:
    async def test() -> None:
        async with front(config=with_them(changing("1"), changing("2"))) as it:
            answer = await it.chat()
            code, text = await text_of(it)
            (sent, _) = [seen for seen in it.backends[0].requests if seen.method == "POST"]
            assert (answer.code, code) == (200, 200)
            assert json.loads(sent.body)["messages"][0]["content"] == "Say hello21."
            assert [value for name, value in sent.headers if name == b"X-Mark"] == [b"1", b"2"]
            content = json.loads(answer.body)["choices"][0]["message"]["content"]
            assert content.startswith("12")
            assert int(answer.headers["Content-Length"]) == len(answer.body)
            assert text.count(b'"content":"12') == text.count(b'"content":"') > 10
            assert text.endswith(MARK)

    run(test)


def test_who_changes_the_credentials_says_whose_a_request_is(tmp_path: Path) -> None:
    log, one = tmp_path / "log", Exchange("", "", "", 0.0, credentials="the owner")
    note_tenants([one])

    async def test() -> None:
        more = {"logging": {"file": str(log)}, "sessions": {"enabled": True}}
        knowing = {"type": f"{SAMPLES}:Knowing"}
        async with front(config=with_them(knowing, **more)) as it:
            asked = [await it.ask("/v1/chat/completions", CHAT, headers={"Authorization": key}) for key in ("a", "b")]
            assert asked[0].headers["X-Router-Session"] == asked[1].headers["X-Router-Session"]

    run(test)
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    assert [line["tenant"] for line in lines if line["logger"] == "router.access"] == [one.tenant] * 2


def test_a_request_may_be_refused_and_no_backend_is_bothered() -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER, changing("1"))) as it:
            answer = await it.chat(messages=[{"role": "user", "content": "refuse me"}])
            assert answer.code == 422
            assert json.loads(answer.body)["error"] == {
                "message": "No.", "type": "invalid_request_error", "param": "messages", "code": "no",
            }  # fmt: skip
            assert not [seen for seen in it.backends[0].requests if seen.method == "POST"]
            seen = recorder(it)
            await until(lambda: bool(seen.of("on_end")))
            assert seen.of("on_end")[0][0].outcome == "rejected"
            assert [failure.status for failure in seen.of("on_error")] == [422]
            assert await it.metric("router_middleware_errors_total") == 0

    run(test)


@pytest.mark.parametrize("more", [{}, {"content": "refuse me"}])
def test_the_size_of_a_request_is_that_of_what_the_client_sent(more: dict[str, str], tmp_path: Path) -> None:
    """Whether it is changed on its way or refused."""
    body = json.dumps({"model": "simulated-model", "messages": [{"role": "user", "content": "Say hello.", **more}]})

    async def test() -> None:
        async with front(config=with_them(changing("a long mark"), logging={"file": str(tmp_path / "log")})) as it:
            await it.ask("/v1/chat/completions", body.encode())

    run(test)
    (line,) = [json.loads(each) for each in (tmp_path / "log").read_text().splitlines() if "router.access" in each]
    assert line["bytes_in"] == len(body)


def test_what_the_router_refuses_itself_is_seen_once_the_request_is_whole() -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER)) as it:
            seen = recorder(it)
            assert (await it.ask("/v1/chat/completions", b"{")).code == 400
            await until(lambda: bool(seen.of("on_end")))
            assert [hook for hook, _ in seen.seen] == ["on_request", "on_response", "on_error", "on_event", "on_end"]
            assert "not valid JSON" in seen.of("on_error")[0].message
            seen.seen.clear()
            assert (await it.ask("/v1/chat/completions", b"x", headers={"Content-Type": "text/plain"})).code == 415
            assert (await it.ask("/v1/chat/completions", method="GET")).code == 405
            assert (await it.ask("/v1/models")).code == 200
            assert (await it.ask("/nothing", b"{}")).code == 404
            assert not seen.seen

    run(test)


def test_an_error_of_a_backend_is_seen_as_the_client_is_told_it() -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER, changing("1"))) as it:
            seen = recorder(it)
            answer = await it.chat(model="no-such-model")
            await until(lambda: bool(seen.of("on_end")))
            assert answer.code == 404
            assert seen.of("on_event") == [answer.body]
            assert (seen.of("on_error")[0].status, seen.of("on_error")[0].code) == (404, "model_not_found")

    run(test)


@pytest.mark.parametrize("what", RAISED)
def test_one_that_raises_in_every_hook_breaks_nothing(what: str) -> None:
    async def test() -> None:
        bad = {"type": f"{SAMPLES}:Raising", "config": {"what": what}}
        async with front(config=with_them(bad, RECORDER)) as it:
            plain, (code, text) = await it.chat(), await text_of(it)
            assert (plain.code, code) == (200, 200)
            assert text.endswith(MARK)
            assert (await it.ask("/v1/chat/completions", b"{")).code == 400
            seen = recorder(it, 1)
            await until(lambda: len(seen.of("on_end")) == 3)
            assert b"".join(seen.of("on_event")[1:-1]) == text
            least = {"on_request": 3, "on_response": 3, "on_event": 20, "on_error": 1, "on_end": 3}
            for hook, count in least.items():
                counted = await it.metric("router_middleware_errors_total", middleware=bad["type"], hook=hook)
                assert counted >= count, hook
            assert await it.metric("router_middleware_errors_total", middleware=RECORDER["type"]) == 0

    run(test)


def test_a_slow_one_is_told_of_and_its_request_is_answered(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> None:
        slow = {"type": f"{SAMPLES}:Slow"}
        async with front(config=with_them(slow)) as it:
            assert (await it.chat()).code == 200
            assert await it.metric("router_middleware_slow_calls_total", hook="on_response") == 1
            assert "in which nobody was served" in caplog.text

    run(test)


def test_a_client_that_leaves_ends_its_call_once() -> None:
    async def test() -> None:
        async with front(Settings(itl=0.05), config=with_them(RECORDER)) as it:
            seen = recorder(it)
            raw = json.dumps({**CHAT, "stream": True, "max_tokens": 1000}).encode()
            head = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
            await it.exchange(head + b"Content-Length: %d\r\n\r\n" % len(raw) + raw, until=b'"content"')
            await until(lambda: bool(seen.of("on_end")))
            await asyncio.sleep(0.2)
            assert [ending.outcome for ending, _, _ in seen.of("on_end")] == ["client_gone"]
            assert [hook for hook, _ in seen.seen].count("on_request") == 1

    run(test)


def test_a_stream_that_another_backend_finishes_is_seen_whole_and_once() -> None:
    async def test() -> None:
        async with front(Settings(), Settings(), config=with_them(RECORDER, changing("."))) as it:
            seen, attempts = recorder(it), []
            broken(it.backends[0], break_as=Break.RESET, break_after=6)
            for _ in range(4):
                code, text = await text_of(it)
                await until(lambda: len(seen.of("on_end")) == len(attempts) + 1)
                assert code == 200
                assert text.endswith(MARK)
                assert text.count(MARK) == 1
                shown, seen.seen[:] = b"".join(seen.of("on_event")), [("on_end", each) for each in seen.of("on_end")]
                assert shown == b"\n\n".join(part for part in text.split(b"\n\n") if not part.startswith(b":"))
                assert text.count(b'"content":".') == text.count(b'"content":"')
                attempts.append(len(seen.of("on_end")[-1][0].attempts))
            assert max(attempts) >= 2, "no stream broke"
            assert await it.metric("router_streams_resumed_total", result="ok") >= 1

    run(test)


def test_a_stream_that_nobody_can_finish_ends_with_an_error_that_nobody_can_hide() -> None:
    async def test() -> None:
        async def cut(asked: Any) -> None:
            asked.writer.write(STREAM_HEAD + chunk(ROLE) + chunk(TEXT))
            await asked.writer.drain()
            asked.writer.close()

        config = with_them(RECORDER, {"type": f"{SAMPLES}:Hiding"}, resume={"mode": "off"})
        async with scripted(cut, config=config) as (it, _):
            code, text = await text_of(it)
            seen = recorder(it)
            await until(lambda: bool(seen.of("on_end")))
            assert code == 200
            assert MARK not in text
            assert text.count(b"\n\n") == 1
            assert b'"error"' in text
            assert [failure.has_begun for failure in seen.of("on_error")] == [True]
            assert seen.of("on_end")[0][0].outcome == "broken"

    run(test)


def test_a_reload_takes_changes_up_and_exchanges_under_way_end_with_what_they_began_with() -> None:
    async def test() -> None:
        async with front(Settings(itl=0.02, tokens=200), config=with_them(RECORDER)) as it:
            old = recorder(it)
            streaming = asyncio.create_task(text_of(it, max_tokens=150))
            await until(lambda: len(old.of("on_event")) > 3)
            tree = merged(QUICK, with_them(changing("1")))
            tree["backends"] = [each.model_dump() for each in it.app.config.backends]
            lines = it.app.apply(Loaded(Config.model_validate(tree)))
            assert "middlewares: changed" in lines
            new = await it.chat(max_tokens=2)
            assert json.loads(new.body)["choices"][0]["message"]["content"].startswith("1")
            assert old.closed == 0
            _, text = await streaming
            await until(lambda: old.closed == 1)
            assert b"".join(old.of("on_event")) == text
            assert len(old.of("on_request")) == len(old.of("on_end")) == 1
            tree["middlewares"] = []
            it.app.apply(Loaded(Config.model_validate(tree)))
            plain = await it.chat(max_tokens=2)
            assert not json.loads(plain.body)["choices"][0]["message"]["content"].startswith("1")

    run(test)


def test_a_reload_that_cannot_be_taken_up_leaves_all_as_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER)) as it:
            old = recorder(it)
            tree = merged(QUICK, with_them({"type": f"{SAMPLES}:Strict", "config": {"word": "bad"}}))
            tree["backends"] = [each.model_dump() for each in it.app.config.backends]
            with pytest.raises(Exception, match="constructor raised"):
                it.app.apply(Loaded(Config.model_validate(tree)))
            tree = merged(QUICK, with_them(changing("1"), logging={"file": str(tmp_path / "no" / "such" / "file")}))
            tree["backends"] = [each.model_dump() for each in it.app.config.backends]
            with pytest.raises(Exception, match="cannot be opened"):
                it.app.apply(Loaded(Config.model_validate(tree)))
            assert recorder(it) is old
            await it.chat()
            await until(lambda: bool(old.of("on_end")))
            assert old.closed == 0

    run(test)


def test_a_hedged_call_is_seen_once() -> None:
    async def test() -> None:
        config = with_them(RECORDER, hedge={"after": "50ms"})
        async with front(Settings(ttft=0.5), Settings(), config=config) as it:
            seen = recorder(it)
            answers: list[Any] = []
            for _ in range(2):
                answers.append((await it.ask("/v1/embeddings", {"model": "simulated-model", "input": "a"})).body)
                await until(lambda: len(seen.of("on_end")) == len(answers))
                assert seen.of("on_event") == answers
            assert [hook for hook, _ in seen.seen] == ALL * 2

    run(test)


def test_without_any_the_handler_and_the_answer_are_the_plain_ones() -> None:
    async def test() -> None:
        off = {**RECORDER, "enabled": False}
        async with front(config=with_them(off)) as it:
            assert it.app.delegate._relayed.__name__ == "RelayedHandler"
            assert (await it.chat()).code == 200
            assert "router_middleware" not in it.app.metrics.render("")[1].decode()
        async with front(config=with_them(RECORDER)) as it:
            assert it.app.delegate._relayed.__name__ == "TappedHandler"

    run(test)


@pytest.mark.parametrize("is_on", [True, False])
def test_the_session_of_a_request_is_known_from_its_answer_on_where_sessions_are_on(is_on: bool) -> None:
    async def test() -> None:
        async with front(config=with_them(RECORDER, sessions={"enabled": is_on})) as it:
            answer = await it.chat()
            sessions = recorder(it).sessions
            await until(lambda: len(sessions) == 3)
            name = answer.headers.get("X-Router-Session")
            assert (name is not None) is is_on
            assert sessions == [("on_request", None), ("on_response", name), ("on_end", name)]

    run(test)


@pytest.mark.parametrize("line_end", [b"\n", b"\r\n", b"\r"])
def test_events_may_be_changed_whatever_their_lines_end_with(line_end: bytes) -> None:
    async def test() -> None:
        events = [event.replace(b"\n", line_end) for event in (ROLE, TEXT, TEXT, MARK)]
        answer = STREAM_HEAD + b"".join(map(chunk, events)) + END
        async with scripted(says(answer), config=with_them(changing("1"))) as (it, _):
            _, text = await text_of(it)
            assert text == b"".join(events).replace(b'"content":"', b'"content":"1')
            assert await it.metric("router_middleware_errors_total") == 0

    run(test)
