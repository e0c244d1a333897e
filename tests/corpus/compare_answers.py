"""The same answers behind nginx and HAProxy: `python -m tests.corpus.compare_answers` prints tables in Markdown.

A backend answers each proxy as the cases of responses/ say, and one client asks, and then another one. What the first
got is judged by one rule for all, whatever a case says of the router:

- What is a whole answer comes as one, with its status.
- Of anything else the client can tell: by an error's status, or as its answer does not end as its framing says, or,
  where it is a stream, as it has an error in it or no end mark. Cases marked `own` are such that HTTP lets a proxy
  pass on, mended or as they are: of them only what stands below is asked.
- What comes is an answer in HTTP, with nothing behind its end; no line of its head was none in the backend's head, and
  none has a control character; it comes to an end, or bytes go on coming.
- The other client gets its own answer.

uvicorn is not asked: it has no backends.
"""

import argparse
import asyncio
import enum
import re
import sys
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import uvloop

from tests.chaos.figures.fronts import find
from tests.corpus import ResponseCase, responses
from tests.corpus.compare import HAPROXY, NGINX, NGINX_BEGINNING, OURS, Commands, peer
from tests.corpus.notation import written
from tests.corpus.play import GOOD, HOLDS, Recorder
from tests.corpus.stand import ANSWERING, ASKED, stand, unframed
from tests.wire.served import Client

SILENCE = 3.0  # seconds without a byte after which nothing more is waited for: longer than all time limits below
LONGEST = 8.0  # seconds that an answer may go on
MOST = 16 << 20  # bytes of it that are read
PEERS = (NGINX, HAPROXY)
STATUS_LINE = re.compile(rb"HTTP/1\.[01] ([1-9][0-9]{2})(?: [^\r\n]*)?\Z")
INTERIM = re.compile(rb"(?:HTTP/1\.[01] 1(?!01)[0-9]{2}(?:(?!\r\n\r\n).)*\r\n\r\n)+", re.DOTALL)
CONTROL = re.compile(rb"[\0-\x08\x0b\x0c\x0e-\x1f\x7f]|\r(?!\n)|(?<!\r)\n")
NAME = re.compile(rb"(?:\A|[\r\n])([A-Za-z][A-Za-z0-9-]*):")
# A proxy says these itself, wherever else they stand.
PROXYS = {b"connection", b"content-length", b"content-type", b"date", b"keep-alive", b"server", b"transfer-encoding"}
END_MARK = re.compile(rb"(?:\A|\n)data: \[DONE\]\r?\n")

NGINX_CONF = (
    NGINX_BEGINNING
    + """\
    upstream backends {{
        server 127.0.0.1:{backend} max_fails=0;
        keepalive 8;
    }}
    server {{
        listen 127.0.0.1:{port};
        location / {{
            proxy_pass http://backends;
            proxy_http_version 1.1;
            proxy_set_header Connection "";
            proxy_buffering off;
            proxy_read_timeout 1s;
        }}
    }}
}}
"""
)
HAPROXY_CFG = """\
defaults
    mode http
    timeout connect 2s
    timeout client 5s
    timeout server 1s
    http-reuse always
frontend clients
    bind 127.0.0.1:{port}
    default_backend backends
backend backends
    server b 127.0.0.1:{backend}
"""


class Ending(enum.Enum):
    """How a connection of a client ended."""

    END, RESET = "end", "reset"
    SILENT = "silent"  # it did not, and nothing came
    FLOWING = "flowing"  # it did not, and bytes went on coming


class Fault(enum.Enum):
    """What of the rule does not hold."""

    LOST = "lost"  # a whole answer does not come as one
    UNTOLD = "looks whole"  # and is not
    RAW = "no HTTP"  # bytes of the backend that are no answer
    BEHIND = "bytes behind"
    INJECTED = "injected"
    HELD = "held"  # no end, and nothing comes
    MIXED = "next one's answer"


@dataclass(frozen=True, slots=True)
class Came:
    """What came of one case behind one server."""

    status: int  # 0: no answer
    is_whole: bool
    ending: Ending
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Got:
    """An answer as its client reads it."""

    status: int
    fields: tuple[bytes, ...]  # lines of the head
    is_whole: bool
    rest: bytes  # behind its end


def judge(case: ResponseCase, raw: bytes, ending: Ending, *, is_clean: bool) -> Came:
    """Judge what a client got by the module's rule; `is_clean`: the next one got its own answer."""
    got = read(raw, ending)
    is_told = not got.is_whole or got.status >= 400
    is_sound = case.client == 200 and case.whole and not case.own
    faults = {
        Fault.LOST: is_sound and is_told,
        Fault.UNTOLD: not is_sound and not case.own and not is_told,
        Fault.RAW: bool(raw) and not got.status and not INTERIM.fullmatch(raw),
        Fault.BEHIND: bool(got.rest),
        Fault.INJECTED: is_injected(got.fields, case.raw),
        Fault.HELD: not got.is_whole and ending is Ending.SILENT,
        Fault.MIXED: not is_clean,
    }
    return Came(got.status, got.is_whole, ending, tuple(fault for fault, holds in faults.items() if holds))


def final(raw: bytes) -> bytes:
    """Return an answer without the 1xx before it."""
    informed = INTERIM.match(raw)
    return raw[informed.end() :] if informed else raw


def read(raw: bytes, ending: Ending) -> Got:
    """Read an answer as a client of HTTP/1.1 does."""
    raw = final(raw)
    head, end, body = raw.partition(b"\r\n\r\n")
    first, *fields = head.split(b"\r\n")
    match = STATUS_LINE.match(first)
    if match is None or not end:
        return Got(0, (), is_whole=False, rest=b"")
    status = int(match[1])
    plain, is_whole, rest = _body(fields, body, has_none=status in (101, 204, 304), is_ended=ending is Ending.END)
    if any(line.lower().startswith(b"content-type: text/event-stream") for line in fields):
        is_plain = not any(line.lower().startswith(b"content-encoding:") for line in fields)
        is_whole &= not is_plain or (b'"error"' not in plain and bool(END_MARK.search(plain)))
    return Got(status, (first, *fields), is_whole, rest)


def _body(fields: Sequence[bytes], body: bytes, *, has_none: bool, is_ended: bool) -> tuple[bytes, bool, bytes]:
    """Return a body out of its framing, whether it is whole, and what is behind it."""
    values = {name.lower(): value.strip() for name, _, value in (line.partition(b":") for line in fields)}
    if has_none:
        return b"", True, body
    if b"transfer-encoding" in values:
        return _unchunked(body) if values[b"transfer-encoding"].lower() == b"chunked" else (body, False, b"")
    if b"content-length" in values:
        length = values[b"content-length"]
        if not length.isdigit():
            return body, False, b""
        return body[: int(length)], len(body) >= int(length), body[int(length) :]
    return body, is_ended, b""


def _unchunked(body: bytes) -> tuple[bytes, bool, bytes]:
    plain, at = b"", 0
    while match := re.compile(rb"([0-9A-Fa-f]{1,16})(?:;[^\r\n]*)?\r\n").match(body, at):
        size, at = int(match[1], 16), match.end()
        if not size:
            end = at if body.startswith(b"\r\n", at) else body.find(b"\r\n\r\n", at) + 2
            return plain, end >= at and body.startswith(b"\r\n", end), body[end + 2 :] if end >= at else b""
        plain += body[at : at + size]
        at += size
        if not body.startswith(b"\r\n", at):
            break
        at += 2
    return plain, False, b""


def is_injected(fields: Sequence[bytes], sent: bytes) -> bool:
    """Whether a client's head has what was no header of the backend's head."""
    if any(CONTROL.search(line) for line in fields):
        return True
    head, _, rest = final(sent).partition(b"\r\n\r\n")
    informed = sent.removesuffix(final(sent))
    first, *lines = head.split(b"\r\n")
    names = {line.partition(b":")[0].strip().lower() for line in lines}
    elsewhere = {name.lower() for text in (informed, first, *lines, rest) for name in NAME.findall(text)}
    got = {line.partition(b":")[0].lower() for line in fields[1:]}
    return bool(got & elsewhere - names - PROXYS)


async def ask(port: int, asked: bytes) -> tuple[bytes, Ending]:
    """Send a request that ends its connection; return all that comes, and how it ended."""
    client = await Client.to(port, limit=HOLDS)
    raw = bytearray()
    loop = asyncio.get_running_loop()
    end = loop.time() + LONGEST
    try:
        await client.send(asked.replace(b"\r\n", b"\r\nConnection: close\r\n", 1))
        while len(raw) < MOST and loop.time() < end:
            data = await asyncio.wait_for(client.reader.read(2**16), SILENCE)
            if not data:
                return bytes(raw), Ending.END
            raw += data
        return bytes(raw), Ending.FLOWING
    except TimeoutError:
        return bytes(raw), Ending.SILENT
    except ConnectionError:
        return bytes(raw), Ending.RESET
    finally:
        client.reset()


async def play(port: int, backend: Recorder, cases: Sequence[ResponseCase]) -> dict[str, Came]:
    """Play cases one after the other."""
    found = {}
    expected = written(GOOD).partition(b"\r\n\r\n")[2]
    for case in cases:
        backend.answer = case.steps
        raw, ending = await ask(port, ASKED[case.ask])
        backend.answer = GOOD
        again, _ = await ask(port, ASKED["plain"])
        is_clean = again.startswith(b"HTTP/1.1 200 ") and unframed(again)[0].endswith(b"\r\n\r\n" + expected)
        found[case.name] = judge(case, raw, ending, is_clean=is_clean)
    backend.take()
    return found


# ---- the servers


@asynccontextmanager
async def ours() -> AsyncIterator[tuple[int, Recorder]]:
    """Run our own."""
    async with stand(ANSWERING) as it:
        yield it.port, it.backend


def nginx(work: Path, port: int, backend: int) -> list[str]:
    """Return what starts nginx."""
    path = work / "nginx.conf"
    path.write_text(NGINX_CONF.format(work=work, port=port, backend=backend))
    return [find("nginx"), "-c", str(path), "-p", str(work), "-e", str(work / "error.log")]


def haproxy(work: Path, port: int, backend: int) -> list[str]:
    """Return what starts HAProxy."""
    path = work / "haproxy.cfg"
    path.write_text(HAPROXY_CFG.format(port=port, backend=backend))
    return [find("haproxy"), "-f", str(path), "-db"]


COMMANDS: Commands = {NGINX: nginx, HAPROXY: haproxy}


async def play_all(names: Sequence[str], cases: Sequence[ResponseCase]) -> dict[str, dict[str, Came]]:
    """Play cases behind these servers at once; those that are not installed are left out, with a line that says so."""
    async with AsyncExitStack() as stack:
        running = {}
        for name in names:
            try:
                running[name] = await stack.enter_async_context(ours() if name == OURS else peer(name, COMMANDS))
            except FileNotFoundError as error:
                print(f"{name} is left out: {error}", file=sys.stderr)
        results = await asyncio.gather(*(play(port, backend, cases) for port, backend in running.values()))
        return dict(zip(running, results, strict=True))


# ---- the tables


def summary(found: dict[str, dict[str, Came]], cases: Sequence[ResponseCase]) -> list[str]:
    """Return the table by theme: of how many cases each server keeps the rule, and which faults the others are."""
    lines = [f"| theme | cases | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for theme in dict.fromkeys(case.theme for case in cases):
        of_theme = [case.name for case in cases if case.theme == theme]
        cells = []
        for came in found.values():
            faults = [fault for name in of_theme for fault in came[name].faults]
            told = ", ".join(f"{faults.count(fault)} {fault.value}" for fault in Fault if fault in faults)
            kept = sum(not came[name].faults for name in of_theme)
            cells.append(f"{kept}" + (f" ({told})" if told else ""))
        lines.append(f"| {theme} | {len(of_theme)} | {' | '.join(cells)} |")
    return lines


def faults(found: dict[str, dict[str, Came]], cases: Sequence[ResponseCase]) -> list[str]:
    """Return the table of cases with which any server breaks the rule."""
    lines = [f"| theme | case | {' | '.join(found)} |", "|---|---|" + "---|" * len(found)]
    for case in cases:
        came = [each[case.name] for each in found.values()]
        if any(each.faults for each in came):
            lines.append(f"| {case.theme} | {case.name} | {' | '.join(map(shown, came))} |")
    return lines


def shown(came: Came) -> str:
    """Return a cell: the status, how the answer ended, and the faults."""
    ends = {Ending.SILENT: "no end", Ending.FLOWING: "goes on"}
    how = "whole" if came.is_whole else ends.get(came.ending, "broken off")
    begun = f"{came.status} {how}" if came.status else ends.get(came.ending, "closed")
    told = [f"**{fault.value}**" for fault in came.faults]
    return ", ".join(told if Fault.RAW in came.faults else [begun, *told])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(prog="python -m tests.corpus.compare_answers", description=__doc__.split("\n")[0])
    parser.add_argument("--server", action="append", choices=(OURS, *PEERS), help="only this one (repeatable)")
    arguments = parser.parse_args()
    cases = responses()
    found = uvloop.run(play_all(arguments.server or (OURS, *PEERS), cases))
    print("\n".join((*summary(found, cases), "", *faults(found, cases))))


if __name__ == "__main__":
    main()
