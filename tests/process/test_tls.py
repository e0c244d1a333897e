"""Routers that speak TLS, as processes: certificates renewed under load, and clients that come by https."""

import json
import re
import signal
import socket
import ssl
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import openai
import pytest

from router.cli import DONE, UNUSABLE, main
from router.config.certificates import read_certificate
from tests.authority import Authority, Issued
from tests.process.running import CHAT, Load, Router, Stream, received, two_workers, until

Starter = Callable[..., Router]


class Renewed:
    """The files of a router's certificate, which can be renewed."""

    def __init__(self, authority: Authority, folder: Path) -> None:
        self.cert, self.key = folder / "cert.pem", folder / "key.pem"
        self._authority = authority
        self.now = self.renew(2)

    def renew(self, days: int) -> Issued:
        self.now = self._authority.issue(days=days)
        self.now.put(self.cert, self.key)
        return self.now

    def config(self, **server: Any) -> dict[str, Any]:
        return {"server": {"tls": {"cert_file": str(self.cert), "key_file": str(self.key)}, **server}}


@pytest.fixture
def files(authority: Authority, tmp_path: Path) -> Renewed:
    return Renewed(authority, tmp_path)


def serving(start: Starter, authority: Authority, workers: int, config: dict[str, Any]) -> Router:
    """Start a router that clients come to by TLS."""
    router = start(workers, config)
    router.trusting = authority.trusting()
    until(lambda: router.ask("GET", "/readyz")[0] == 200, "being ready")
    return router


def shown(router: Router) -> bytes:
    """The certificate that a new connection is shown."""
    with router.connect() as sock:
        assert isinstance(sock, ssl.SSLSocket)
        der = sock.getpeercert(binary_form=True)
        assert der is not None
        return der


def everywhere(router: Router, der: bytes) -> bool:
    """Whether whoever accepts shows it; connections go to the workers in turn, more or less."""
    return all(shown(router) == der for _ in range(12))


def shown_to_operators(router: Router) -> bytes:
    with router.connect(router.admin_port) as sock:
        assert isinstance(sock, ssl.SSLSocket)
        der = sock.getpeercert(binary_form=True)
        assert der is not None
        return der


def commanded(router: Router, *words: str) -> int:
    """Run a command of ours that finds the router's operators' listener at its address."""
    return main([*words, "--config", str(router.config_file), "--admin", f"https://127.0.0.1:{router.admin_port}"])


def by_command(router: Router) -> str:
    command = [sys.executable, "-m", "router", "reload", "--config", str(router.config_file)]
    admin = ["--admin", f"http://127.0.0.1:{router.admin_port}"]
    return subprocess.run([*command, *admin], check=True, capture_output=True, text=True).stdout


@pytest.mark.parametrize(("workers", "by"), [(1, "file"), (2, "signal")])
def test_a_renewed_certificate_is_taken_up_under_load_and_streams_go_on(
    start: Starter, authority: Authority, files: Renewed, workers: int, by: str
) -> None:
    router = serving(start, authority, workers, files.config(watch_config=by == "file"))
    if workers == 2:
        two_workers(router)
    assert everywhere(router, files.now.der)
    stream = Stream(router, tokens=120)
    until(stream.has_begun, "a stream")
    with Load(router) as load:
        load.goes_on(10)
        new = files.renew(5)
        if by == "signal":
            router.signal(signal.SIGHUP)
        until(lambda: everywhere(router, new.der), "the new certificate")
        load.goes_on(10)
    assert load.failures == []
    assert stream.is_whole
    ends = read_certificate(str(new.cert)).expires
    assert router.metric("router_tls_certificate_expiry_seconds") == ends
    until(lambda: router.said(r"server\.tls\.cert_file: another certificate, good until"), "the line in the log")


def test_a_bad_certificate_changes_nothing_and_says_why(start: Starter, authority: Authority, files: Renewed) -> None:
    router = serving(start, authority, 2, files.config())
    two_workers(router)
    good = files.now
    files.key.write_bytes(authority.issue().key.read_bytes())

    status, answer = router.admin("POST", "/admin/reload")

    (fault,) = answer["faults"]
    assert status == 422
    assert fault.startswith("server.tls.key_file (line ")
    assert f"is not the key of the certificate in {files.cert}" in fault
    until(lambda: router.said(re.escape(fault)), "the line in the log")
    assert router.metric("router_config_last_reload_successful") == 0
    assert everywhere(router, good.der)
    new = files.renew(3)  # nobody says so: the files are looked at
    until(lambda: everywhere(router, new.der), "the new certificate")
    assert router.metric("router_config_last_reload_successful") == 1


def test_a_successor_begins_with_the_certificate_of_its_time_and_takes_up_others(
    start: Starter, authority: Authority, files: Renewed
) -> None:
    router = serving(start, authority, 2, files.config(watch_config=False))
    stream = Stream(router, tokens=100)
    until(stream.has_begun, "a stream")
    with Load(router) as load:
        load.goes_on(5)
        new = files.renew(4)
        router.hand_over()
        load.goes_on(10)
    assert load.failures == []
    until(lambda: everywhere(router, new.der), "the successor alone")
    assert stream.is_whole
    later = files.renew(5)
    router.admin_port = int(router.said(r"admin calls are taken on 127\.0\.0\.1:(\d+)") or 0)
    assert "another certificate, good until" in by_command(router)
    assert everywhere(router, later.der)


def running(backends: list[str]) -> float:
    """How many requests are at work at the backends, by their own counts."""
    pages = [urllib.request.urlopen(f"{url}/metrics").read().decode() for url in backends]
    counts = [count for page in pages for count in re.findall(r"^vllm:num_requests_running\S* (\S+)", page, re.M)]
    return sum(map(float, counts))


def test_a_client_that_leaves_its_stream_frees_the_backend_at_once(
    start: Starter, authority: Authority, files: Renewed, backends: list[str]
) -> None:
    router = serving(start, authority, 1, files.config())
    until(lambda: running(backends) == 0, "an idle backend")
    stream = Stream(router, tokens=3000)  # a minute
    until(stream.has_begun, "a stream")
    assert running(backends) == 1
    stream.sock.shutdown(socket.SHUT_RDWR)
    until(lambda: running(backends) == 0, "a backend that is free", seconds=5)
    until(lambda: router.metric("router_requests_total", 'outcome="client_gone"') == 1, "the count", seconds=5)


def test_the_openai_sdk_comes_by_https_with_the_authority_to_trust(
    start: Starter, authority: Authority, files: Renewed
) -> None:
    router = serving(start, authority, 1, files.config())
    base = f"https://localhost:{router.port}/v1"
    asked: dict[str, Any] = {"model": "simulated-model", "max_tokens": 5}
    messages: Any = [{"role": "user", "content": "x" * 130_000}]
    trusting = openai.DefaultHttpxClient(verify=authority.trusting())
    with openai.OpenAI(base_url=base, api_key="k", http_client=trusting) as sdk:
        for _ in range(2):
            assert sdk.chat.completions.create(messages=messages, **asked).choices[0].message.content
        pieces = list(sdk.chat.completions.create(messages=messages, stream=True, **asked))
        assert sum(bool(piece.choices and piece.choices[0].delta.content) for piece in pieces) == 5
    with (
        openai.OpenAI(base_url=base, api_key="k", max_retries=0) as sdk,
        pytest.raises(openai.APIConnectionError),  # it trusts the usual authorities
    ):
        sdk.models.list()
    until(lambda: router.metric("router_tls_handshakes_failed_total") == 1, "the count")


def test_a_client_s_certificate_is_asked_for_and_told_in_the_access_line(
    start: Starter, authority: Authority, stranger: Authority, files: Renewed
) -> None:
    config = files.config()
    config["server"]["tls"] |= {"client_auth": "required", "client_ca_file": str(authority.ca)}
    config["logging"] = {"format": "json"}
    router = start(1, config)
    for refused in (None, stranger.issue()):
        router.trusting = authority.trusting(refused)
        with pytest.raises((OSError, EOFError)):
            router.ask("GET", "/v1/models")
    name = 'agent "1", ' + "x" * 40
    router.trusting = authority.trusting(authority.issue(subject=f"/O=Example/CN={name}"))
    assert router.ask("GET", "/v1/models")[0] == 200
    until(lambda: router.said("client_cert"), "the line")
    lines = [json.loads(line) for line in router.log().splitlines() if "client_cert" in line]
    subject = 'CN=agent \\"1\\"\\, ' + "x" * 40 + ",O=Example"
    assert [(line["client_cert"], line["tenant"]) for line in lines] == [(subject, f"cert:{subject}")]
    assert router.ask("GET", "/livez", port=router.admin_port)[0] == 200  # probes need no certificate there


def test_clients_of_one_address_are_told_apart_by_their_certificates(
    start: Starter, authority: Authority, files: Renewed
) -> None:
    """They say the same, with the same key; one of them is refused by the wire besides."""
    config = files.config()
    config["server"]["tls"] |= {"client_auth": "required", "client_ca_file": str(authority.ca)}
    config |= {"logging": {"format": "json"}, "sessions": {"enabled": True}}
    router = start(1, config)
    for name in ("one", "two"):
        router.trusting = authority.trusting(authority.issue(subject=f"/CN={name}"))
        for _ in range(2):
            assert router.ask("POST", "/v1/chat/completions", CHAT, lines="Authorization: Bearer EMPTY\r\n")[0] == 200
    for line in (b"Authorization: Bearer EMPTY\r\n", b""):
        with router.connect() as sock:
            sock.sendall(b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n" + line + b"\r\n")
            assert received(sock, b"").startswith(b"HTTP/1.1 400 ")
    until(lambda: router.log().count('"status":400') == 2, "the last lines")
    lines = [json.loads(line) for line in router.log().splitlines() if '"client_cert"' in line]

    key = lines[0]["tenant"].partition(" ")[0]
    assert key.startswith("key:")
    one, two = [f"{key} cert:CN={name}" for name in ("one", "two")]
    assert [line["tenant"] for line in lines] == [one, one, two, two, two, "cert:CN=two"]
    first, again, other, again_other = [line["session"] for line in lines[:4]]
    assert first == again != other == again_other


def test_operators_come_by_tls_to_all_that_their_listener_has(
    start: Starter, authority: Authority, files: Renewed, capsys: pytest.CaptureFixture[str]
) -> None:
    router = start(2, {"admin": files.config()["server"]})
    two_workers(router)
    with pytest.raises((OSError, EOFError)):
        router.ask("GET", "/livez", port=router.admin_port)  # plain
    router.admin_trusting = authority.trusting()

    for path in ("/livez", "/metrics", "/status", "/config", "/openapi.json"):
        assert router.ask("GET", path, port=router.admin_port)[0] == 200, path
    assert router.ask("GET", "/livez")[0] == 200  # the clients' listener is as plain as before
    with router.connect(router.admin_port) as sock:
        sock.sendall(b"GET /status/events HTTP/1.1\r\nHost: localhost\r\n\r\n")
        told = b""
        while told.count(b"\ndata: ") < 3:  # it goes on
            told += received(sock, told)
    assert b"text/event-stream" in told
    status, answer = router.admin("POST", "/admin/backends", {"url": "http://127.0.0.1:1", "name": "new"})
    assert (status, "new" in answer["message"]) == (201, True)

    trusting = ("--cacert", str(authority.ca))
    for words in (("drain", "new"), ("undrain", "new"), ("remove", "new"), ("list",)):
        assert commanded(router, "backends", *words, *trusting) == DONE
    assert commanded(router, "log-level", "debug", *trusting) == DONE
    capsys.readouterr()
    assert commanded(router, "backends") == UNUSABLE
    assert "is not to be trusted: unable to get local issuer certificate. Name who vouches" in capsys.readouterr().err
    until(lambda: router.metric("router_tls_handshakes_failed_total") == 2, "the count")


def test_the_operators_certificate_is_renewed_without_a_restart_and_a_bad_one_changes_nothing(
    start: Starter, authority: Authority, files: Renewed
) -> None:
    router = start(2, {"admin": files.config()["server"], "server": {"watch_config": False}})
    two_workers(router)
    router.admin_trusting = authority.trusting()
    assert all(shown_to_operators(router) == files.now.der for _ in range(4))
    good, pid = files.now, router.pid

    files.key.write_bytes(authority.issue().key.read_bytes())
    status, answer = router.admin("POST", "/admin/reload")
    assert status == 422
    assert answer["faults"][0].startswith("admin.tls.key_file (line ")
    assert all(shown_to_operators(router) == good.der for _ in range(4))

    new = files.renew(5)
    assert commanded(router, "reload", "--cacert", str(authority.ca)) == DONE
    assert all(shown_to_operators(router) == new.der for _ in range(8))
    until(lambda: router.said(r"admin\.tls\.cert_file: another certificate, good until"), "the line in the log")
    assert router.metric("router_tls_certificate_expiry_seconds") == read_certificate(str(new.cert)).expires
    assert router.pid == pid

    router.write({**router.config, "admin": {"port": 0}})  # without TLS
    assert commanded(router, "reload", "--cacert", str(authority.ca)) == DONE
    router.admin_trusting = None
    assert router.ask("GET", "/livez", port=router.admin_port)[0] == 200


def test_only_operators_with_a_certificate_are_let_in_where_it_is_required(
    start: Starter, authority: Authority, stranger: Authority, files: Renewed, capsys: pytest.CaptureFixture[str]
) -> None:
    tls = files.config()["server"]["tls"]
    tls |= {"client_auth": "required", "client_ca_file": str(authority.ca), "min_version": "1.3"}
    router = start(1, {"admin": {"tls": tls}})
    old = {"maximum_version": ssl.TLSVersion.TLSv1_2}
    for context in (
        authority.trusting(),
        authority.trusting(stranger.issue()),
        authority.trusting(authority.issue(), **old),
    ):
        router.admin_trusting = context
        with pytest.raises((OSError, EOFError)):
            router.ask("GET", "/livez", port=router.admin_port)
    mine = authority.issue(subject="/CN=operator")
    router.admin_trusting = authority.trusting(mine)
    assert router.ask("GET", "/livez", port=router.admin_port)[0] == 200

    trusting = ("--cacert", str(authority.ca))
    assert commanded(router, "backends", *trusting) == UNUSABLE
    assert "no answer from https://127.0.0.1" in capsys.readouterr().err
    assert commanded(router, "backends", *trusting, "--cert", str(mine.cert), "--key", str(mine.key)) == DONE


def test_commands_trust_the_certificate_that_the_configuration_names(
    start: Starter, authority: Authority, tool: Callable[[str], str], tmp_path: Path
) -> None:
    """One that nobody else vouches for, as `openssl req -x509` makes it; its key stands in the same file."""
    own = Authority(tmp_path, tool("openssl"), "own", "-addext", "subjectAltName=IP:127.0.0.1")
    both = tmp_path / "both.pem"
    both.write_bytes(own.key.read_bytes() + own.ca.read_bytes())
    router = start(1, {"admin": {"tls": {"cert_file": str(both)}}})
    assert commanded(router, "backends") == DONE
    assert commanded(router, "backends", "--cacert", str(authority.ca)) == UNUSABLE  # only that one, then
