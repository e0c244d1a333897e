"""`devstral-router simulate`: one simulated server in the foreground, until SIGTERM or Ctrl-C.

Its first line on standard output is where it listens, so that a caller can let the system choose the port.
"""

import argparse
import asyncio
import json
import random
import signal
import sys

import uvloop

from router.config.values import parse_delay
from router.simulator.faults import FaultError, Faults, read_faults
from router.simulator.server import Simulator
from router.simulator.settings import DEFAULT_MODEL, Settings

_DEFAULTS = Settings()


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags; those that vLLM has too have its names."""
    parser.add_argument("--host", default=_DEFAULTS.host, help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to listen on; 0: any free one (%(default)s)")
    parser.add_argument(
        "--model",
        "--served-model-name",
        action="append",
        metavar="NAME",
        help=f"model to serve; again for aliases ({DEFAULT_MODEL})",
    )
    parser.add_argument("--ttft", type=_delay, default=_DEFAULTS.ttft, help="time to the first token, as 0.2 or 200ms")
    parser.add_argument("--itl", type=_delay, default=_DEFAULTS.itl, help="time between two tokens, as 0.02 or 20ms")
    parser.add_argument("--tokens", type=_count, default=_DEFAULTS.tokens, help="length of an answer (%(default)s)")
    parser.add_argument(
        "--max-model-len", type=_count, default=_DEFAULTS.max_model_len, help="prompt and answer (%(default)s)"
    )
    parser.add_argument(
        "--max-num-seqs", type=_count, default=_DEFAULTS.max_num_seqs, help="requests that run at a time (%(default)s)"
    )
    parser.add_argument("--max-num-queued-reqs", type=int, help="requests that may wait; more get 503 (any number)")
    parser.add_argument("--api-key", metavar="KEY", help="key to ask for under /v1")
    parser.add_argument("--tool-call-parser", choices=("mistral", "hermes"), default=_DEFAULTS.tool_parser)
    parser.add_argument("--no-vision", action="store_true", help="refuse image parts")
    parser.add_argument(
        "--shutdown-timeout",
        type=_delay,
        default=_DEFAULTS.shutdown_timeout,
        help="how long answers may go on after SIGTERM",
    )
    parser.add_argument(
        "--keepalive", type=_delay, default=_DEFAULTS.keepalive, help="idle connections are closed after this"
    )
    parser.add_argument("--enable-request-id-headers", action="store_true", help="X-Request-Id on answers")
    parser.add_argument(
        "--faults",
        type=_faults,
        default=Faults(),
        metavar="JSON",
        help='what goes wrong, as {"status": 503}; see /simulator/faults',
    )
    parser.add_argument("--seed", type=int, help="of ids, and of which requests a fault strikes (random)")


def _delay(text: str) -> float:
    try:
        return parse_delay(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text}: a whole number from 1")
    return int(text)


def _faults(text: str) -> Faults:
    try:
        described = json.loads(text)
        if not isinstance(described, dict):
            raise FaultError("an object is wanted")
        return read_faults(described)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def settings_of(arguments: argparse.Namespace) -> Settings:
    """Return what the flags say."""
    return Settings(
        models=tuple(arguments.model or (DEFAULT_MODEL,)),
        host=arguments.host,
        port=arguments.port,
        ttft=arguments.ttft,
        itl=arguments.itl,
        tokens=arguments.tokens,
        max_model_len=arguments.max_model_len,
        max_num_seqs=arguments.max_num_seqs,
        max_num_queued_reqs=arguments.max_num_queued_reqs,
        api_key=arguments.api_key,
        tool_parser=arguments.tool_call_parser,
        vision=not arguments.no_vision,
        shutdown_timeout=arguments.shutdown_timeout,
        keepalive=arguments.keepalive,
        request_id_headers=arguments.enable_request_id_headers,
        faults=arguments.faults,
    )


def run(arguments: argparse.Namespace) -> int:
    """Serve until told to stop, and return the exit code: 1 when the port cannot be had."""
    settings = settings_of(arguments)
    try:
        uvloop.run(_serve(settings, random.Random(arguments.seed)))
    except OSError as error:
        print(f"cannot listen on {settings.host}:{settings.port}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


async def _serve(settings: Settings, rng: random.Random) -> None:
    loop = asyncio.get_running_loop()
    told = asyncio.Event()
    stopping: list[asyncio.Task[None]] = []

    def stop() -> None:
        """The first signal ends gracefully, the second at once."""
        told.set()
        for task in stopping:
            task.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop)
    simulator = Simulator(settings, rng=rng)
    await simulator.start()
    print(f"{simulator.url} simulates vLLM {settings.version} with {', '.join(settings.models)}", flush=True)
    await told.wait()
    stopping.append(loop.create_task(simulator.stop()))
    try:
        await stopping[0]
    except asyncio.CancelledError:
        await simulator.kill()
