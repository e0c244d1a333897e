"""A small application for tests of router.server, run as a process of its own: what App is, without backends.

    python tests/standin.py PORT [--unix PATH] [--drain SECONDS] [--no-start MESSAGE]

GET /pid answers at once, GET /slow?for=SECONDS after a while, GET /stream sends an event every 50 ms until it is
stopped, GET /block stops the loop for ever. Each step of its life is a line on standard output.
"""

import argparse
import asyncio
import os
import sys
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tornado.web import Application, RequestHandler

from router.access.overload import Marks
from router.observe.guard import Guard
from router.process.sockets import Listening
from router.securing import Both, Securing
from router.server import run
from router.vitals import Looking
from router.wire.limits import ServerLimits
from router.wire.service import Refused, plain_error


def say(text: str) -> None:
    print(text, flush=True)


class PidHandler(RequestHandler):
    def get(self) -> None:
        self.write(str(os.getpid()))


class SlowHandler(RequestHandler):
    async def get(self) -> None:
        with self.settings["app"].at_work():
            await asyncio.sleep(float(self.get_argument("for")))
            self.write("done")


class StreamHandler(RequestHandler):
    async def get(self) -> None:
        app = self.settings["app"]
        with app.at_work():
            while not app.stopped.is_set():
                self.write("data: tick\n\n")
                await self.flush()
                await asyncio.sleep(0.05)
            self.write("data: cut\n\n")


class BlockHandler(RequestHandler):
    def get(self) -> None:
        say("blocked")
        time.sleep(3600)


class Standin:
    """What router.server.Application asks for."""

    limits = ServerLimits()
    admin_limits = ServerLimits()
    settled = True
    on_limits = None

    def __init__(self, refusal: str | None) -> None:
        if refusal is not None:
            raise FileNotFoundError(2, refusal)
        self.in_flight = 0
        self.securing = Securing(Both())
        self.looking = Looking(Guard(Marks(), at_work=lambda: 0))
        self.stopped = asyncio.Event()
        routes = [("/pid", PidHandler), ("/slow", SlowHandler), ("/stream", StreamHandler), ("/block", BlockHandler)]
        self.admin_delegate = self.delegate = Application(routes, app=self)  # type: ignore[arg-type]

    def at_work(self) -> "Standin":
        return self

    def __enter__(self) -> None:
        self.in_flight += 1

    def __exit__(self, *_: object) -> None:
        self.in_flight -= 1

    async def start(self) -> None:
        say("started")

    def drain(self) -> None:
        say("draining")

    async def stop(self) -> None:
        self.stopped.set()
        await asyncio.sleep(0.2)
        say("stopped")

    def reopen_logs(self) -> None:
        say("reopened")

    def render_error(self, refused: Refused, /) -> tuple[bytes, bytes]:
        return plain_error(refused)

    render_admin_error = render_error


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("port", type=int)
    parser.add_argument("--unix")
    parser.add_argument("--drain", type=float, default=10.0)
    parser.add_argument("--no-start")
    parser.add_argument("--activated", action="store_true", help="LISTEN_PID becomes this process's own")
    args = parser.parse_args()
    if args.activated:
        os.environ["LISTEN_PID"] = str(os.getpid())
    listening = Listening("127.0.0.1", args.port, args.unix, backlog=64, drain_timeout=args.drain)
    return run(lambda: Standin(args.no_start), listening)


if __name__ == "__main__":
    sys.exit(main())
