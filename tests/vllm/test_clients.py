"""Tool calls through the SDKs that people use: two turns, the second with the tool's result in the SDK's own history.

The functions are `strict`, so the grammar of vLLM makes even a random model call them with valid arguments. How often
it calls, and whether it then has something to say, differs from seed to seed.
"""

import pytest
from vllm_clients import NAMES, Clients
from vllm_cluster import MODEL, Cluster

pytestmark = pytest.mark.through_router  # vLLM itself refuses the history of some
SEEDS = (3, 8, *range(9, 40))  # the first gives one call, the second gives two, where the CPU rounds as it did here
FINISH = {
    "auto": {"tool_calls"},
    "required": {"tool_calls"},
    "named": {"stop", "tool_calls"},  # "stop" is what OpenAI says; LiteLLM tells "tool_calls" wherever there are calls
}
WHOLE_AND_STREAMED = pytest.mark.parametrize("is_streamed", [False, True], ids=["whole", "streamed"])


@pytest.fixture(params=NAMES)
def name(request: pytest.FixtureRequest, clients: Clients) -> str:
    """The name of a client that is installed."""
    if not clients.has(request.param):
        pytest.skip("needs node and npm")
    return request.param


@WHOLE_AND_STREAMED
@pytest.mark.parametrize("choice", ["auto", "required", "named"])
def test_tool_calls_make_their_round_trip(
    started: Cluster, clients: Clients, name: str, choice: str, is_streamed: bool
) -> None:
    """One call, and several at once: they arrive with their arguments, and the second turn is answered."""
    started.up()
    check_round_trips(started, clients, name, choice=choice, is_streamed=is_streamed)


@WHOLE_AND_STREAMED
def test_tool_calls_make_their_round_trip_where_the_prompt_has_their_ids(
    older: Cluster, clients: Clients, name: str, is_streamed: bool
) -> None:
    """With a v11 tokenizer the ids of calls are a part of the prompt, and have to be nine letters or digits."""
    check_round_trips(older, clients, name, choice="required", is_streamed=is_streamed)


def check_round_trips(cluster: Cluster, clients: Clients, name: str, *, choice: str, is_streamed: bool) -> None:
    """Hold conversations until there was one with one call, one with several, and one with text in the end."""
    wanted = {"one call", "several calls", "text"}
    for seed in SEEDS:
        first, second = clients.converse(
            name, base_url=cluster.url + "/v1", model=MODEL, seed=seed, choice=choice, is_streamed=is_streamed
        )
        check_calls(first["calls"])
        assert first["finish"] in FINISH[choice]
        assert second["calls"] == []
        assert second["finish"] in {"stop", "length"}
        wanted -= {"one call" if len(first["calls"]) == 1 else "several calls", "text" if second["text"] else ""}
        if not wanted:
            return
    pytest.fail(f"not seen in {len(SEEDS)} conversations: {', '.join(wanted)}")


def check_calls(calls: list[dict]) -> None:
    """Check that there are calls, each with an id of its own, the function's name and arguments as its schema wants."""
    assert calls
    assert len({call["id"] for call in calls}) == len(calls)
    for call in calls:
        assert call["id"]
        assert call["name"] == "get_weather"
        assert call["arguments"].keys() == {"city", "unit"}
        assert call["arguments"]["unit"] in {"celsius", "fahrenheit"}
