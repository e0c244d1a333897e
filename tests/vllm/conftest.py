"""Tests against real vLLM servers: `make test-vllm`. They run where ROUTER_VLLM names an installed vLLM.

ROUTER_VLLM         environment (venv) with vLLM in it; unset: everything here is skipped
ROUTER_VLLM_MODEL   folder of the tiny model
ROUTER_VLLM_FOLDER  folder for logs and the list of running process groups
ROUTER_VLLM_DIRECT  not empty: no router, one vLLM server; shows whether the tests expect what vLLM does
"""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from vllm_cluster import Cluster, eventually, running_cluster  # noqa: E402  (found by the line above)


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "through_router: tests the router itself, so not without it")


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Skip, before anything is started, what cannot run."""
    if not os.environ.get("ROUTER_VLLM"):
        pytest.skip("needs real vLLM servers: run `make test-vllm`")
    if os.environ.get("ROUTER_VLLM_DIRECT") and item.get_closest_marker("through_router"):
        pytest.skip("needs the router, and ROUTER_VLLM_DIRECT is set")


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    """The servers and the router, started once; `cluster` is what most tests want."""
    with running_cluster(
        venv=Path(os.environ["ROUTER_VLLM"]),
        model=Path(os.environ["ROUTER_VLLM_MODEL"]),
        folder=Path(os.environ["ROUTER_VLLM_FOLDER"]),
        direct=bool(os.environ.get("ROUTER_VLLM_DIRECT")),
    ) as cluster:
        yield cluster


@pytest.fixture
def cluster(started: Cluster) -> Cluster:
    """The servers and the router, all running and idle, whatever the last test left."""
    started.up()
    eventually(started.is_idle, within=10, what="the servers are idle")
    return started


@pytest.fixture
def client(cluster: Cluster) -> Iterator[openai.OpenAI]:
    """The real SDK, which must not hide failures by trying again."""
    with openai.OpenAI(base_url=cluster.url + "/v1", api_key="none", max_retries=0, timeout=60) as client:
        yield client
