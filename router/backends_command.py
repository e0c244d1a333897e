"""`devstral-router backends`, `reload` and `log-level`: a running router, from the shell.

They ask its operators' listener, found by --admin, or by the section `admin` of the configuration that it runs with,
the rest of which may have faults. The default address is asked only where there is no file. By https the router has to
show a certificate of an authority of the system or of --cacert, or the very one of `admin.tls`. Exit codes: 0 done, 1
the router refused, cannot be reached or trusted, or nothing tells where it is, 2 the command line itself is wrong.
"""

import argparse
import http.client
import json
import os
import shutil
import ssl
import sys
import time
import urllib.parse
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from router.backends_table import clean, table
from router.config import find_config
from router.config.load import load_admin
from router.config.schema import AdminConfig
from router.errors import ConfigError

ACTIONS = ("list", "add", "drain", "undrain", "remove")
TIMEOUT = 60.0  # seconds; a reload reads files, and a router with many workers waits for all of them
WATCH_EVERY = 1.0  # seconds
CLEAR = "\x1b[H\x1b[2J"


class CannotAsk(Exception):
    """The router cannot be asked, or refused; the text says why, and what to do."""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom to believe by https, and what to show; files in PEM form."""

    authorities: tuple[str, ...] = ()  # beside those of the system; or instead of them, where `is_given`
    is_given: bool = False
    cert_file: str | None = None  # ours
    key_file: str | None = None  # None: in cert_file

    def context(self) -> ssl.SSLContext:
        """Return what to connect with. Raises CannotAsk."""
        named = [path for path in (*self.authorities, self.cert_file, self.key_file) if path is not None]
        try:
            context = ssl.create_default_context(cafile=self.authorities[0] if self.is_given else None)
            for path in self.authorities:
                context.load_verify_locations(path)
            if self.cert_file is not None:
                context.load_cert_chain(self.cert_file, self.key_file)
        except OSError as error:  # ssl's own errors are such too
            raise CannotAsk(f"cannot use {' or '.join(named)}: {error.strerror or error}") from error
        return context


@dataclass(frozen=True, slots=True)
class Listener:
    """Where a router listens for operators."""

    scheme: str
    host: str
    port: int
    token: str | None = field(default=None, repr=False)
    trust: Trust = Trust()

    @property
    def shown(self) -> str:
        """Return it as a person writes it."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


def add_arguments(parser: argparse.ArgumentParser, *, reload: bool = False) -> None:
    """Add the flags of `backends`, or of what changes the whole router."""
    parser.add_argument("--admin", metavar="URL", help="the operators' listener, e.g. http://127.0.0.1:9001")
    parser.add_argument("--token", metavar="TOKEN", help="admin.token (seen in process lists: prefer --config)")
    parser.add_argument("--config", metavar="FILE", default=argparse.SUPPRESS, help="where both stand")
    parser.add_argument("--cacert", metavar="FILE", help="by https: the authorities to trust, not the system's")
    parser.add_argument("--cert", metavar="FILE", help="by https: our own certificate, for admin.tls.client_auth")
    parser.add_argument("--key", metavar="FILE", help="its key (default: it is in the same file)")
    parser.add_argument("--env-file", metavar="FILE", default=argparse.SUPPRESS, help="a .env file to read")
    parser.add_argument("--json", action="store_true", help="print the router's answer as it is")
    if reload:
        return
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="(default: list)")
    parser.add_argument("backend", nargs="?", metavar="URL|NAME", help="the URL to add, else the backend's name")
    parser.add_argument("--watch", action="store_true", help="of list: show it anew each second, until Ctrl-C")
    parser.add_argument("--name", help="of add: what to call it (default: host:port)")
    parser.add_argument("--zone", help="of add: where it stands, for people")
    parser.add_argument("--weight", help="of add: its share of requests, 1 to 100")
    parser.add_argument("--max-connections", metavar="N", help="of add: requests in flight at most")
    parser.add_argument("--force", action="store_true", help="of remove: also the last one")


def take_name(arguments: argparse.Namespace, left: list[str]) -> list[str]:
    """Return what is left of what argparse has not understood, once the backend is taken: where a flag stands between
    the action and the name, the argparse of Python before 3.13 takes the name for too much."""
    if arguments.backend is None and not left[0].startswith("-"):
        arguments.backend, *left = left
    return left


def run(arguments: argparse.Namespace) -> int:
    """Run `backends`, and return the exit code."""
    action, backend = arguments.action, arguments.backend
    if (action == "list") == (backend is not None):
        missing = {"list": "takes no name", "add": "needs a URL"}.get(action, "needs the name of a backend")
        return _fail(f"backends {action} {missing}", code=2)
    try:
        listener = find_listener(arguments)
        if action == "list":
            return _list(listener, arguments)
        answer = ask(listener, *_order(arguments))
    except CannotAsk as error:
        return _fail(str(error))
    if arguments.json:
        _say(json.dumps(answer))
        return 0
    _say(clean(answer.get("message")))
    left = answer.get("in_flight")
    if left and action in ("drain", "remove"):
        _say(f"{left} request{' is' if left == 1 else 's are'} still at work there.")
    return 0


def run_change(arguments: argparse.Namespace) -> int:
    """Run `reload` or `log-level`, and return the exit code."""
    path, fields = ("/admin/log", {"level": arguments.level}) if "level" in arguments else ("/admin/reload", None)
    try:
        answer = ask(find_listener(arguments), "POST", path, fields)
    except CannotAsk as error:
        return _fail(str(error))
    if arguments.json:
        _say(json.dumps(answer))
        return 0
    _say(clean(answer.get("message")))
    for line in answer.get("changes") or ():
        _say(f"  - {clean(line)}")
    return 0


def find_listener(arguments: argparse.Namespace) -> Listener:
    """Return where to ask. Raises CannotAsk."""
    given, token = getattr(arguments, "admin", None), arguments.token or None
    trust = _trust(arguments)
    if given is not None and token is not None:
        return _parsed(given, token, trust)
    path = getattr(arguments, "config", None) or find_config()
    try:
        configured = load_admin(path, environ=os.environ, env_file=getattr(arguments, "env_file", None), token=token)
    except ConfigError as error:
        if given is None or getattr(arguments, "config", None) is not None:
            raise CannotAsk(_unusable(path, error)) from error
        configured = AdminConfig()
    if token is None and configured.token is not None:
        token = configured.token.get_secret_value()
    shown = configured.tls.cert_file
    if shown is not None and not trust.is_given:
        trust = replace(trust, authorities=(shown,))
    if given is not None:
        return _parsed(given, token, trust)
    if not configured.enabled:
        raise CannotAsk(f"admin.enabled is off in {path}: this router takes no admin calls")
    if configured.port == 0:
        raise CannotAsk(f"admin.port is 0 in {path}: its log tells the port; give it as --admin URL")
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(configured.host, configured.host)
    return Listener("http" if shown is None else "https", host, configured.port, token, trust)


def _trust(arguments: argparse.Namespace) -> Trust:
    authorities, cert, key = arguments.cacert, arguments.cert, arguments.key
    if key is not None and cert is None:
        raise CannotAsk("--key needs --cert beside it")
    return Trust(() if authorities is None else (authorities,), authorities is not None, cert, key)


def _unusable(path: str | None, error: ConfigError) -> str:
    """Say why nobody is asked: at the usual address another router than the one meant may listen."""
    head = f"{path or 'the environment'} does not tell where the router takes admin calls:"
    faults = [f"  - {fault}" for fault in error.faults]
    return "\n".join([head, *faults, "Say where: --admin http://127.0.0.1:9001, and --token TOKEN if it has one"])


def _parsed(given: str, token: str | None, trust: Trust) -> Listener:
    parts = urllib.parse.urlsplit(given if "://" in given else f"http://{given}")
    try:
        port = parts.port
    except ValueError:
        port = -1
    host = parts.hostname or ""
    is_host = host.isprintable() and host != "" and " " not in host
    if parts.scheme not in ("http", "https") or not is_host or port == -1 or parts.path not in ("", "/"):
        raise CannotAsk(f"--admin must be a URL such as http://127.0.0.1:9001, not {clean(given)}")
    return Listener(parts.scheme, host, port or {"http": 80, "https": 443}[parts.scheme], token, trust)


def _order(arguments: argparse.Namespace) -> tuple[str, str, dict[str, object] | None]:
    """Return method, path and body of what is asked for."""
    action, backend = arguments.action, arguments.backend
    if action == "add":
        given = {key: getattr(arguments, key) for key in ("name", "zone", "weight", "max_connections")}
        return "POST", "/admin/backends", {"url": backend, **{k: v for k, v in given.items() if v is not None}}
    path = f"/admin/backends/{urllib.parse.quote(backend, safe='')}"
    if action == "remove":
        return "DELETE", path + ("?force=true" if arguments.force else ""), None
    return "POST", f"{path}/{action}", None


def ask(listener: Listener, method: str, path: str, fields: Mapping[str, object] | None = None) -> dict[str, Any]:
    """Return the JSON object of an answer. Raises CannotAsk: no answer, or a refusal."""
    headers = {"Content-Type": "application/json", "Accept": "application/json"}
    if listener.token is not None:
        headers["Authorization"] = f"Bearer {listener.token}"
    connection = _connection(listener)
    try:
        connection.request(method, path, None if fields is None else json.dumps(fields), headers)
        answer = connection.getresponse()
        status, body = answer.status, answer.read()
    except ConnectionRefusedError as error:
        raise CannotAsk(
            f"nobody listens on {listener.shown}: is the router running, and admin.enabled not off?"
            " If it listens elsewhere: --admin URL, or --config with the file that it runs with"
        ) from error
    except ssl.SSLCertVerificationError as error:
        raise CannotAsk(
            f"the certificate of {listener.shown} is not to be trusted: {clean(error.verify_message)}."
            " Name who vouches for it: --cacert FILE; or the router by a name that stands in it: --admin https://NAME:9001"
        ) from error
    except UnicodeEncodeError as error:  # a header cannot hold it
        raise CannotAsk("the token or the address has signs that cannot be sent: use ASCII characters") from error
    except (OSError, http.client.HTTPException, ValueError) as error:
        raise CannotAsk(f"no answer from {listener.shown}: {clean(error) or type(error).__name__}") from error
    finally:
        connection.close()
    try:
        found = json.loads(body)
    except ValueError:
        found = None
    if not isinstance(found, dict) or (status >= 400 and not isinstance(found.get("error"), dict)):
        raise CannotAsk(f"{listener.shown} is not the admin listener of a router: it answered {status}")
    if status >= 400:
        raise CannotAsk(_refusal(listener, status, found))
    return found


def _connection(listener: Listener) -> http.client.HTTPConnection:
    if listener.scheme == "http":
        return http.client.HTTPConnection(listener.host, listener.port, timeout=TIMEOUT)
    context = listener.trust.context()
    return http.client.HTTPSConnection(listener.host, listener.port, timeout=TIMEOUT, context=context)


def _refusal(listener: Listener, status: int, found: Mapping[str, Any]) -> str:
    error = found["error"]
    faults = [str(fault).split("\n") for fault in found.get("faults") or ()]  # some come with an example below
    lines = [clean(error.get("message"))]
    lines += [clean(line if below else f"  - {line}") for fault in faults for below, line in enumerate(fault)]
    if error.get("code") == "unknown_url":
        lines = [f"{listener.shown} is not the admin listener (it answers as the clients' one does): see admin.port"]
    if status == 401:
        lines.append("Give it as --token, or name the file that has it: --config FILE")
    return "\n".join(lines)


def _list(listener: Listener, arguments: argparse.Namespace) -> int:
    if not arguments.watch:
        _show(ask(listener, "GET", "/admin/backends"), arguments)
        return 0
    try:
        while True:
            try:
                found = ask(listener, "GET", "/admin/backends")
                _begin_again(listener, arguments)
                _show(found, arguments)
            except CannotAsk as error:  # it may be restarting
                _begin_again(listener, arguments)
                _say(str(error))
            time.sleep(WATCH_EVERY)
    except KeyboardInterrupt:
        return 0


def _begin_again(listener: Listener, arguments: argparse.Namespace) -> None:
    if sys.stdout.isatty() and not arguments.json:
        _say(f"{CLEAR}{listener.shown}  {time.strftime('%H:%M:%S')}\n")


def _show(found: dict[str, Any], arguments: argparse.Namespace) -> None:
    if arguments.json:
        _say(json.dumps(found))
        return
    is_terminal = sys.stdout.isatty()
    width = shutil.get_terminal_size().columns if is_terminal else None
    colour = is_terminal and not os.environ.get("NO_COLOR") and os.environ.get("TERM") != "dumb"
    listed, predecessor = found.get("data") or [], found.get("predecessor")
    for line in table(listed, width=width, colour=colour, predecessor=predecessor):
        _say(line)


def _fail(message: str, *, code: int = 1) -> int:
    _say(f"devstral-router: {message}", to_stderr=True)
    return code


def _say(text: str, *, to_stderr: bool = False) -> None:
    """Write a line; signs that the terminal's encoding does not have are replaced."""
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "replace").decode(encoding) + "\n")
    stream.flush()
