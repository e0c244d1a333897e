"""Tests against real vLLM servers: `make test-vllm`. They run where ROUTER_VLLM names an installed vLLM.

ROUTER_VLLM          environment (venv) with vLLM in it; unset: everything here is skipped
ROUTER_VLLM_MODELS   folder of the tiny models: v11 and v13, by the versions of their tokenizers
ROUTER_VLLM_CLIENTS  folder with the client SDKs
ROUTER_VLLM_FOLDER   folder for logs and the list of running process groups
ROUTER_VLLM_DIRECT   not empty: no router, one vLLM server; shows whether the tests expect what vLLM does
"""

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import openai
import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from vllm_clients import Clients, ready_clients  # noqa: E402  (found by the line above)
from vllm_cluster import Cluster, Router, Settings, eventually, running_cluster, running_router  # noqa: E402


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


def cluster_of(version: str, *, count: int) -> contextlib.AbstractContextManager[Cluster]:
    """Return a cluster, to be started, of servers whose tokenizer has this version."""
    return running_cluster(
        venv=Path(os.environ["ROUTER_VLLM"]),
        model=Path(os.environ["ROUTER_VLLM_MODELS"]) / version,
        folder=Path(os.environ["ROUTER_VLLM_FOLDER"]),
        count=count,
        direct=bool(os.environ.get("ROUTER_VLLM_DIRECT")),
    )


@pytest.fixture(scope="session")
def started() -> Iterator[Cluster]:
    """Two servers with a v13 tokenizer and the router, started once; `cluster` is what most tests want."""
    with cluster_of("v13", count=2) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def older() -> Iterator[Cluster]:
    """One server with a v11 tokenizer, which renders ids and wants nine letters of them, behind a router of its own."""
    with cluster_of("v11", count=1) as cluster:
        yield cluster


@pytest.fixture(scope="session")
def untranslated(started: Cluster) -> Iterator[Router]:
    """A second router in front of the servers of `started`, which passes everything as it is."""
    settings = Settings(backend={"dialect": "openai"})
    with running_router(started.servers, folder=Path(os.environ["ROUTER_VLLM_FOLDER"]), settings=settings) as router:
        yield router


@pytest.fixture(scope="session")
def clients() -> Iterator[Clients]:
    """The client SDKs, each in a process of its own that is started when it is first asked for."""
    log = Path(os.environ["ROUTER_VLLM_FOLDER"]) / "clients.log"
    with ready_clients(Path(os.environ["ROUTER_VLLM_CLIENTS"]), log=log) as clients:
        yield clients


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
