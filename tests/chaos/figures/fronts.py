"""The fronts under test, each with one set of settings, and how each is started, reloaded and replaced.

The peers stand as their manuals advise for such work: answers are not buffered, connections to backends are kept.
`strict` is what each can do against a backend that hangs: short timeouts and checks.
"""

import dataclasses
import json
import os
import shlex
import shutil
import signal
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from bench.processes import free_ports
from tests.chaos.figures.servers import MODEL, Server, ask, wait_for

NGINX, HAPROXY, OURS = "nginx", "haproxy", "ours"

NGINX_CONF = """\
daemon off;
worker_processes 1;
pid {work}/nginx.pid;
error_log {work}/nginx.error.log warn;
events {{ worker_connections 8192; }}
http {{
    access_log {work}/nginx.access.log;
    client_body_temp_path {work}/nginx-body;
    proxy_temp_path {work}/nginx-proxy;
    fastcgi_temp_path {work}/nginx-fastcgi;
    uwsgi_temp_path {work}/nginx-uwsgi;
    scgi_temp_path {work}/nginx-scgi;
    client_body_buffer_size 256k;
    keepalive_requests 100000000;
    tcp_nodelay on;
    upstream backend {{
        {servers}
        keepalive 256;
        keepalive_timeout 4s;
        keepalive_requests 100000000;
    }}
    server {{
        listen 127.0.0.1:{port} backlog=4096;
        location / {{
            proxy_pass http://backend;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_next_upstream {next_upstream} non_idempotent;
            {timeouts}
        }}
    }}
    # {stamp}
}}
"""

HAPROXY_CFG = """\
# {stamp}
global
    maxconn 8000
    stats socket {work}/haproxy.sock mode 600 level admin expose-fd listeners
defaults
    mode http
    timeout connect {connect}
    timeout client 60s
    timeout server {server}
    timeout queue {queue}
    {options}
frontend clients
    bind 127.0.0.1:{port} backlog 4096
    default_backend backends
backend backends
    balance roundrobin
    http-reuse safe
    {backend_options}
    default-server {default_server}
{servers}
"""


@dataclass(frozen=True, slots=True)
class Front:
    """One kind of front with one set of settings."""

    name: str  # as the table shows it
    kind: str  # NGINX, HAPROXY or OURS
    strict: bool = False  # short timeouts and checks
    careful: bool = False  # HAProxy: redispatch, retries, and watching live traffic
    settings: tuple[tuple[str, Any], ...] = ()  # ours: dotted keys of the configuration

    def tuned(self, *settings: tuple[str, Any], name: str | None = None) -> "Front":
        """Return one with further settings (ours), under another name if one is given."""
        return dataclasses.replace(self, name=name or self.name, settings=(*self.settings, *settings))


PEERS = (
    Front("nginx", NGINX),
    Front("haproxy", HAPROXY),
    Front("haproxy-careful", HAPROXY, careful=True),
)
OFF = Front("ours-off", OURS, settings=(("resume.mode", "off"),))
TEXT = Front("ours-text", OURS, settings=(("resume.mode", "text"),))
EXACT = Front("ours-exact", OURS, settings=(("resume.mode", "exact"),))
PLAIN = Front("ours", OURS)  # as it is shipped
STRICT = (("health.interval", "500ms"), ("health.timeout", "500ms"), ("health.fall", 2), ("timeouts.idle", "1s"))


class Running:
    """A front that stands before backends, as a process."""

    def __init__(self, front: Front, backends: Sequence[int], *, work: Path) -> None:
        """`backends`: their ports; `work`: the folder for its files."""
        self.front = front
        self.port = free_ports(1)[0]
        self.backends = tuple(backends)
        self.main: int | None = None  # the process that signals go to, once it is not the first one any more
        self.stamp = 0  # changes with every reload, so that there is something new to read
        self._work = work
        self.config = work / {NGINX: "nginx.conf", HAPROXY: "haproxy.cfg", OURS: "router.yaml"}[front.kind]
        self.server = Server(front.name, self._command(), port=self.port, work=work)

    # ---- life

    def start(self) -> None:
        """Start it; return when requests are answered and, for ours, all backends are known."""
        self.write()
        self.server.start()
        wait_for(self.server, "/v1/chat/completions", body=ONE_TOKEN)
        if self.front.kind == NGINX:
            self.main = int((self._work / "nginx.pid").read_text())
            while parent_of(self.main) == self.server.pid:
                time.sleep(0.05)
        elif self.front.kind == OURS:
            self.wait_usable(len(self.backends))
        elif self.front.kind == HAPROXY:
            time.sleep(0.5)  # its first checks

    def wait_usable(self, count: int, *, within: float = 20.0) -> None:
        """Wait until so many backends may get requests (ours). Raises TimeoutError."""
        until = time.monotonic() + within
        while time.monotonic() < until:
            if sum(backend["usable"] and bool(backend["models"]) for backend in self.health()) == count:
                return
            time.sleep(0.05)
        raise TimeoutError(f"not {count} backends usable within {within} s: {self.health()}")

    def health(self) -> list[dict[str, Any]]:
        """Return what ours tells of each backend."""
        found: list[dict[str, Any]] = json.loads(ask(self.port, "GET", "/health")[1])["backends"]
        return found

    def metrics(self) -> dict[str, float]:
        """Return what ours counts: the sample's name with its labels, and its value."""
        rows = (line.rpartition(" ") for line in ask(self.port, "GET", "/metrics")[1].decode().splitlines())
        return {name: float(value) for name, _, value in rows if not name.startswith("#")}

    def end(self) -> None:
        """End it."""
        self.server.end()

    # ---- the rolling changes

    def reload(self) -> None:
        """Have it take up a changed configuration, in the way of its kind."""
        self.stamp += 1
        self.write()
        # nginx -s reload is a SIGHUP; HAProxy's master starts a new worker on SIGUSR2
        os.kill(self.main or self.server.pid, signal.SIGUSR2 if self.front.kind == HAPROXY else signal.SIGHUP)

    def replace(self) -> None:
        """Have new processes take over from the old ones, as an upgrade does; return when the new one is at work."""
        before = set(self.server.pids)
        old = self.main or self.server.pid
        os.kill(old, signal.SIGUSR2)
        until = time.monotonic() + 20
        while not (fresh := set(self.server.pids) - before) and time.monotonic() < until:
            time.sleep(0.05)
        if not fresh:
            raise TimeoutError(f"{self.front.name}: no successor within 20 s")
        self.main = next(pid for pid in sorted(fresh) if parent_of(pid) not in fresh)
        if self.front.kind == NGINX:
            time.sleep(0.5)  # its workers start; then the old one may go (nginx.org/en/docs/control.html#upgrade)
            os.kill(old, signal.SIGQUIT)

    @property
    def resumed(self) -> float | None:
        """How many broken streams ours has continued on another backend; None for a peer."""
        if self.front.kind != OURS:
            return None
        counts = {name: value for name, value in self.metrics().items() if name.startswith("router_streams_resumed_")}
        return sum(value for name, value in counts.items() if 'result="ok"' in name)

    @property
    def taken_up(self) -> float:
        """How many reloads ours has counted as taken up."""
        counts = {name: value for name, value in self.metrics().items() if name.startswith("router_config_reloads_")}
        return sum(value for name, value in counts.items() if 'result="ok"' in name)

    # ---- its files

    def _command(self) -> list[str]:
        if self.front.kind == NGINX:
            line = [
                find(NGINX),
                "-c",
                str(self.config),
                "-p",
                str(self._work),
                "-e",
                str(self._work / "nginx.error.log"),
            ]
            # It ignores SIGUSR2 as long as the process that has started it lives.
            return ["/bin/sh", "-c", f"{shlex.join(line)} & sleep 0.5"]
        if self.front.kind == HAPROXY:
            return [find(HAPROXY), "-W", "-f", str(self.config), "-p", str(self._work / "haproxy.pid")]
        return [sys.executable, "-m", "router", "serve", "--config", str(self.config)]

    def write(self) -> None:
        """Write its configuration."""
        text = {NGINX: self._nginx, HAPROXY: self._haproxy, OURS: self._ours}[self.front.kind]()
        beside = self.config.with_suffix(".new")
        beside.write_text(text)
        beside.replace(self.config)  # at once, or a watcher reads half of it

    def _nginx(self) -> str:
        servers = " ".join(f"server 127.0.0.1:{port};" for port in self.backends)
        timeouts = "proxy_connect_timeout 1s; proxy_read_timeout 1s;" if self.front.strict else ""
        settings = dict(self.front.settings)
        return NGINX_CONF.format(
            work=self._work,
            port=self.port,
            servers=servers,
            timeouts=timeouts,
            next_upstream=settings.get("next_upstream", "error timeout"),
            stamp=self.stamp,
        )

    def _haproxy(self) -> str:
        checks = "check inter 500ms fall 2 rise 1 on-marked-down shutdown-sessions" if self.front.strict else "check"
        watching = self.front.careful or self.front.strict
        if watching:
            checks += " observe layer4 error-limit 1 on-error mark-down"
        settings = dict(self.front.settings)
        if "inter" in settings:
            checks += f" inter {settings['inter']}"
        if "maxconn" in settings:
            checks += f" maxconn {settings['maxconn']}"
        check = settings.get("check", "500ms" if self.front.strict else None)
        timeout_check = f"timeout check {check}" if check else ""
        lines = [f"    server b{number} 127.0.0.1:{port}" for number, port in enumerate(self.backends)]
        return HAPROXY_CFG.format(
            work=self._work,
            port=self.port,
            connect="1s" if self.front.strict else "5s",
            server="60s",
            options="option redispatch 1\n    retries 3\n    retry-on all-retryable-errors" if watching else "",
            backend_options=f"option httpchk GET /health\n    {timeout_check}",
            queue=settings.get("queue", "30s"),
            default_server=checks,
            servers="\n".join(lines),
            stamp=self.stamp,
        )

    def _ours(self) -> str:
        tree: dict[str, Any] = {
            "server": {"host": "127.0.0.1", "port": self.port, "drain_timeout": "30s"},
            "admin": {"port": 0},
            "backends": [
                {"url": f"http://127.0.0.1:{port}", "name": f"b{number}", "dialect": "openai"}
                for number, port in enumerate(self.backends)
            ],
        }
        if self.stamp % 2:
            tree["backends"][-1]["weight"] = 2
            tree["retry"] = {"max_attempts": 4}
        for key, value in (*(STRICT if self.front.strict else ()), *self.front.settings):
            section, _, name = key.partition(".")
            if section == "backends":
                for backend in tree["backends"]:
                    backend[name] = value
            else:
                tree.setdefault(section, {})[name] = value
        return yaml.safe_dump(tree) + f"# {self.stamp}\n"


ONE_TOKEN = {"model": MODEL, "messages": [{"role": "user", "content": "Are you there?"}], "max_tokens": 1}


def parent_of(pid: int) -> int:
    """Return the parent's id of a process; 0 where it has ended."""
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except OSError:
        return 0


def find(name: str) -> str:
    """Return the path of nginx or haproxy; Debian has both in /usr/sbin. Raises FileNotFoundError."""
    path = shutil.which(name, path=os.environ.get("PATH", os.defpath) + ":/usr/sbin")
    if path is None:
        raise FileNotFoundError(f"{name} is not installed")
    return path


def is_installed(front: Front) -> bool:
    """Whether it can be started here."""
    try:
        return front.kind == OURS or bool(find(front.kind))
    except FileNotFoundError:
        return False
