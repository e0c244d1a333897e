"""Real vLLM finds more of what conversations say again in its prefix cache where they stay at one server."""

import os
import random
from collections.abc import Iterator
from pathlib import Path

import pytest
from vllm_cluster import MODEL, Cluster, Router, Settings, fetch, running_router

CONVERSATIONS, TURNS, WORDS = 6, 5, 60

pytestmark = pytest.mark.through_router


@pytest.fixture(scope="module")
def sticky(started: Cluster) -> Iterator[Router]:
    """A second router in front of the servers of `started`, which knows sessions."""
    settings = Settings(more={"sessions": {"enabled": True}})
    with running_router(started.servers, folder=Path(os.environ["ROUTER_VLLM_FOLDER"]), settings=settings) as router:
        yield router


def words(dice: random.Random) -> str:
    """Return what nobody has said before."""
    return " ".join("".join(dice.choices("abcdefghijklmnopqrstuvwxyz", k=5)) for _ in range(WORDS))


def tokens(cluster: Cluster) -> tuple[float, float]:
    """Return how many tokens of prompts the servers have looked for in their caches, and how many they found."""
    names = ("prefix_cache_queries_total", "prefix_cache_hits_total")
    queries, hits = (sum(server.metric(name) for server in cluster.servers) for name in names)
    return queries, hits


def talk(cluster: Cluster, url: str, seed: int) -> tuple[float, list[set[str]]]:
    """Have conversations, a turn of each in turn; return the part found in caches, and which servers each has met."""
    dice = random.Random(seed)
    said: list[list[dict[str, str]]] = [[] for _ in range(CONVERSATIONS)]
    met: list[set[str]] = [set() for _ in range(CONVERSATIONS)]
    before = tokens(cluster)
    for _ in range(TURNS):
        for number in dice.sample(range(CONVERSATIONS), CONVERSATIONS):  # else taking turns might keep them apart
            said[number].append({"role": "user", "content": words(dice)})
            body = {"model": MODEL, "messages": said[number], "max_tokens": 8}
            answer = fetch(url + "/v1/chat/completions", body)
            assert answer.status == 200, answer.body
            met[number].add(answer.headers["x-router-backend"])
            content = answer.json()["choices"][0]["message"]["content"]
            said[number].append({"role": "assistant", "content": content or "."})
    queries, hits = tokens(cluster)
    return (hits - before[1]) / (queries - before[0]), met


def test_conversations_stay_where_their_cache_is(cluster: Cluster, sticky: Router) -> None:
    taking_turns, _ = talk(cluster, cluster.url, seed=1)
    kept, met = talk(cluster, sticky.url, seed=2)

    print(f"found in caches: {taking_turns:.1%} where requests take turns, {kept:.1%} with sessions")
    assert all(len(each) == 1 for each in met)
    assert kept > taking_turns + 0.05
