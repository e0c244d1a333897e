"""The simulator answers as a real vLLM did: every recorded request is sent to it, and the answers are compared.

What is compared: the status, the names of headers, the shape of a body (of each event, for a stream), and the whole
text of errors but for figures. What is generated differs, of course.
"""

import asyncio
import json
import re
from typing import Any

import pytest

from router.simulator.settings import Settings
from tests.captures import Capture, load
from tests.simulator.asking import ask, events_of, run, send, simulated
from tests.simulator.shapes import shape

LIKE_RECORDED = {"models": ("tiny-mistral",), "max_model_len": 1024, "vision": False, "version": "0.32.0", "tokens": 12}
MISTRAL = Settings(**LIKE_RECORDED)
HERMES = Settings(**LIKE_RECORDED, tool_parser="hermes", api_key="sk-test", request_id_headers=True)

# Whether tools are called under "auto" is the model's own decision, and so is what it does with them.
DECIDED_BY_THE_MODEL = {"tool-auto", "tool-auto-stream", "continue-final-tools"}
# Texts that name what only a real tokenizer or grammar compiler would say; status and shape are still compared.
OTHER_WORDS = {"err-bad-schema", "err-content-null", "err-prompt-too-long", "err-prompt-too-long-stream"}
# Headers that say something of the connection; the recordings were made with Connection: close.
CONNECTION_HEADERS = {"connection", "transfer-encoding"}


def replayable(folder: str) -> list[Capture]:
    names = DECIDED_BY_THE_MODEL | {"get-metrics-after", "abort-stream-client-close"}
    return [one for one in load(folder) if one.request and one.name.split("/")[1] not in names]


def without_figures(value: Any) -> Any:
    return json.loads(re.sub(r"\d+", "0", json.dumps(value)))


def event_shapes(body: bytes) -> list[frozenset[str] | str]:
    """Return the different shapes of a stream's events, in the order in which they first come."""
    return list(dict.fromkeys(map(shape_but_flags, events_of(body))))


def shape_but_flags(value: Any) -> frozenset[str] | str:
    """Leave out what the hermes server's --enable-prompt-tokens-details adds."""
    if isinstance(value, dict) and isinstance(value.get("usage"), dict):
        value = {**value, "usage": {**value["usage"], "prompt_tokens_details": None}}
    return value if isinstance(value, str) else shape(value)


async def assert_like(settings: Settings, one: Capture) -> None:
    async with simulated(settings) as simulator:
        answer = Capture(one.name, b"", await send(simulator, one.request))

    assert answer.status == one.status
    ours, theirs = answer.headers.keys() - CONNECTION_HEADERS, one.headers.keys() - CONNECTION_HEADERS
    assert ours - {"vary"} == theirs - {"vary"}
    if one.is_stream:
        assert sorted(map(str, event_shapes(answer.body))) == sorted(map(str, event_shapes(one.body)))
        assert event_shapes(answer.body)[0] == event_shapes(one.body)[0]
        assert event_shapes(answer.body)[-2:] == event_shapes(one.body)[-2:]
    elif not one.body:
        assert not answer.body
    else:
        told, recorded = json.loads(answer.body), json.loads(one.body)
        assert shape_but_flags(told) == shape_but_flags(recorded)
        if one.status >= 400 and one.name.split("/")[1] not in OTHER_WORDS:
            assert without_figures(told) == without_figures(recorded)


@pytest.mark.parametrize("one", replayable("tekken-v13"), ids=lambda one: one.name.split("/")[1])
def test_answers_are_those_of_a_server_in_mistral_mode(one: Capture) -> None:
    run(lambda: assert_like(MISTRAL, one))


# A call that is cut off is text to the hermes parser; that is not simulated. The other one was ended by its length.
HERMES_TOOLS = [
    one
    for one in replayable("hf-hermes")
    if any(kind in one.name for kind in ("/tool-", "/no-key", "/err-401"))
    and not any(kind in one.name for kind in ("truncated", "result-turn"))
]


@pytest.mark.parametrize("one", HERMES_TOOLS, ids=lambda one: one.name.split("/")[1])
def test_tool_calls_and_keys_are_those_of_a_server_with_the_hermes_parser(one: Capture) -> None:
    run(lambda: assert_like(HERMES, one))


@pytest.mark.parametrize("suffix", ["", "-stream"])
def test_a_tool_called_under_auto_looks_as_recorded(suffix: str) -> None:
    """The simulator calls the tool that the user names, so that the user's words are changed here."""
    one = next(one for one in load("tekken-v13") if one.name.endswith(f"/tool-auto{suffix}"))
    body = json.loads(one.request_body)
    body["messages"] = [{"role": "user", "content": "Call add."}]

    async def test() -> None:
        async with simulated(MISTRAL) as simulator:
            answer = await ask(simulator, "POST", one.target, body)
        if suffix:
            assert set(map(str, event_shapes(answer.body))) == set(map(str, event_shapes(one.body)))
        else:
            assert shape(answer.json) == shape(json.loads(one.body))

    run(test)


def test_every_metric_has_the_type_and_the_labels_that_were_recorded() -> None:
    recorded = next(one for one in load("tekken-v13") if one.name.endswith("/get-metrics-after"))

    async def test() -> None:
        async with simulated(MISTRAL) as simulator:
            answer = await ask(simulator, "GET", "/metrics")
        ours, theirs = metrics_of(answer.body), metrics_of(recorded.body)
        assert answer.headers["content-type"] == recorded.headers["content-type"]
        assert ours.keys() <= theirs.keys()
        assert {name: ours[name] for name in ours if "cache_config" not in name} == {
            name: theirs[name] for name in ours if "cache_config" not in name
        }

    run(test)


def metrics_of(text: bytes) -> dict[str, Any]:
    """Return type, and label sets with the bounds of buckets, of every family of vLLM's."""
    found: dict[str, Any] = {}
    for line in text.decode().splitlines():
        if line.startswith("# TYPE vllm:"):
            _, _, name, kind = line.split()
            found[name] = [kind]
        elif line.startswith("vllm:"):
            name, labels = re.match(r"(vllm:\w+)\{(.*)\}", line).groups()
            found.setdefault(name, []).append(tuple(sorted(re.findall(r'(\w+)="([^"]*)"', labels))))
    return {name: sorted(map(str, value)) for name, value in found.items()}


def test_a_full_queue_is_told_as_recorded() -> None:
    """One answer runs, one waits, the third is refused."""
    recorded = next(one for one in load("lifecycle") if one.name.endswith("rejected-plain-503"))
    settings = Settings(**LIKE_RECORDED, ttft=30.0, max_num_seqs=1, max_num_queued_reqs=1)

    async def test() -> None:
        hello = {"messages": [{"role": "user", "content": "x"}], "stream": True}
        async with simulated(settings) as simulator:
            others = [asyncio.ensure_future(ask(simulator, "POST", "/v1/chat/completions", hello)) for _ in range(2)]
            while simulator.figures.running + simulator.figures.waiting < 2:
                await asyncio.sleep(0.005)
            answer = await ask(simulator, "POST", "/v1/chat/completions", hello)
            for other in others:
                other.cancel()
        assert (answer.status, answer.json) == (503, json.loads(recorded.body))

    run(test)
