"""The fronts that the router is held beside: how each is got by name, and with which settings it runs.

One process or thread for its work each, upstream connections kept, no retries switched off, access log as it comes.
Whatever is not installed goes into an environment of its own in the cache folder. Only versions that are named here.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bench import fronts
from bench.figures import PEER
from bench.fronts import CACHE, Server
from bench.processes import free_port

INSTALL_TIMEOUT = 600.0  # seconds: LiteLLM's proxy brings a hundred packages

HAPROXY = """\
global
    nbthread 1
    maxconn 9500
    log stdout format raw local0
defaults
    mode http
    log global
    option httplog
    option http-keep-alive
    option http-no-delay
    http-reuse always
    timeout connect 5s
    timeout client 600s
    timeout server 600s
    timeout http-keep-alive 75s
listen router
    bind 127.0.0.1:{port}
{servers}
"""
LITELLM = """\
model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: 'http://127.0.0.1:{backend}/v1', api_key: none}}
litellm_settings: {{telemetry: false}}
general_settings: {{master_key: sk-bench}}
"""


class Missing(Exception):
    """A peer that cannot be had here; says why."""


@dataclass(frozen=True, slots=True)
class Peer:
    """One front beside ours."""

    find: Callable[[], str]  # -> its program; raises Missing
    serve: Callable[[str, int, int, Path], Server]  # program, port, port of the backend, work folder
    is_slow: bool = False  # so it is given fewer streams


def from_debian(program: str, package: str) -> Callable[[], str]:
    """Return what finds a program that run.sh installs."""

    def find() -> str:
        # Debian has daemons in /usr/sbin, which is not in everybody's PATH.
        found = shutil.which(program, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
        if found is None:
            raise Missing(f"it is not installed (Debian: apt-get install {package})")
        return found

    return find


def from_pypi(name: str, requirement: str, program: str) -> Callable[[], str]:
    """Return what installs a program with pip into an environment of its own, once."""

    def find() -> str:
        folder = CACHE / name
        if _is_new(folder, requirement):
            _run([sys.executable, "-m", "venv", "--clear", str(folder)])
            _run([str(folder / "bin" / "pip"), "install", "-qq", "--disable-pip-version-check", requirement])
            (folder / ".installed").write_text(requirement)
        return str(folder / "bin" / program)

    return find


def from_npm(name: str, package: str, script: str) -> Callable[[], str]:
    """Return what installs a package with npm into a folder of its own, once; none of its scripts are run by that."""

    def find() -> str:
        if shutil.which("npm") is None or shutil.which("node") is None:
            raise Missing("there is no npm (Debian: apt-get install npm)")
        folder = CACHE / name
        if _is_new(folder, package):
            folder.mkdir(parents=True, exist_ok=True)
            words = ["npm", "install", "--prefix", str(folder), "--no-audit", "--no-fund", "--ignore-scripts", package]
            _run(words)
            (folder / ".installed").write_text(package)
        return str(folder / "node_modules" / script)

    return find


def _is_new(folder: Path, wanted: str) -> bool:
    mark = folder / ".installed"
    return not mark.exists() or mark.read_text() != wanted


def _run(words: list[str]) -> None:
    print(f"bench: {' '.join(words)}", file=sys.stderr, flush=True)
    try:
        subprocess.run(words, check=True, stdout=sys.stderr, timeout=INSTALL_TIMEOUT)
    except (subprocess.SubprocessError, OSError) as error:
        raise Missing(f"it could not be installed: {error}") from error


def vllm_router(program: str, port: int, backend: int, _: Path) -> Server:
    """With the policy that the router has too (its own default keeps a tree of prompts), else its defaults."""
    command = [program, "--host", "127.0.0.1", "--port", str(port), "--worker-urls", f"http://127.0.0.1:{backend}"]
    command += ["--policy", "round_robin", "--prometheus-host", "127.0.0.1", "--prometheus-port", str(free_port())]
    return Server(PEER, tuple(command), port)


def sglang_router(program: str, port: int, backend: int, work: Path) -> Server:
    """The same of the project that vllm-router was made from."""
    made = vllm_router(program, port, backend, work)
    return replace(made, name="sglang-router", command=(program, "launch", *made.command[1:]))


def haproxy(program: str, port: int, backend: int, work: Path, *, others: Sequence[int] = ()) -> Server:
    """One thread; its log goes to standard output, which is a file here. `others`: ports of further backends."""
    config = work / "haproxy.cfg"
    servers = "\n".join(f"    server backend-{each} 127.0.0.1:{each} check" for each in (backend, *others))
    config.write_text(HAPROXY.format(port=port, servers=servers))
    return Server("haproxy", (program, "-db", "-f", str(config)), port)


def litellm(program: str, port: int, backend: int, work: Path) -> Server:
    """The proxy without a database, one worker. It does not start without a key: all loads send this one."""
    config = work / "litellm.yaml"
    config.write_text(LITELLM.format(model=fronts.MODEL, backend=backend))
    command = (program, "--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--num_workers", "1")
    return Server("litellm", command, port)


def portkey(script: str, port: int, backend: int, _: Path) -> Server:
    """Where it sends a request stands in headers, which only its load has."""
    headers = ("x-portkey-provider: openai", f"x-portkey-custom-host: http://127.0.0.1:{backend}/v1")
    command = ("node", script, f"--port={port}", "--headless")
    return Server("portkey", command, port, headers)


PEERS = {
    "nginx": Peer(from_debian("nginx", "nginx-light"), fronts.nginx),
    "haproxy": Peer(from_debian("haproxy", "haproxy"), haproxy),
    PEER: Peer(from_pypi(PEER, os.environ.get("VLLM_ROUTER", "vllm-router==0.1.17"), "vllm-router"), vllm_router),
    "sglang-router": Peer(from_pypi("sglang-router", "sglang-router==0.3.2", "sglang-router"), sglang_router),
    "litellm": Peer(from_pypi("litellm", "litellm[proxy]==1.106.12", "litellm"), litellm, is_slow=True),
    "portkey": Peer(
        from_npm("portkey", "@portkey-ai/gateway@1.15.2", "@portkey-ai/gateway/build/start-server.js"),
        portkey,
        is_slow=True,
    ),
}
USUAL = ("nginx", PEER)  # the floor, and whom the bars are set against


def chosen(words: str) -> list[str]:
    """Return the peers that are asked for: `all`, or names with commas between. Raises ValueError for another name."""
    names = list(PEERS) if words == "all" else [word for word in words.split(",") if word]
    for name in names:
        if name not in PEERS:
            raise ValueError(f"no peer {name!r}: there are {', '.join(PEERS)}")
    return names
