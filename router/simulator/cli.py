"""`devstral-router simulate`: one simulated server in the foreground, until SIGTERM or Ctrl-C.

Its first line on standard output is where it listens, so that a caller can let the system choose the port.
"""

import argparse
import asyncio
import dataclasses
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
_PORT = 8000  # vLLM's
_LIMITS = (
    *("ttft", "itl", "prefill", "prefix_cache", "tokens", "max_model_len", "max_num_seqs", "max_num_queued_reqs"),
    *("shutdown_timeout", "keepalive"),
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the flags; those that vLLM has too have its names."""
    where = parser.add_argument_group("where and what")
    where.add_argument("--host", default=_DEFAULTS.host, help="address to listen on (%(default)s)")
    where.add_argument("--port", type=int, default=_PORT, help="port to listen on; 0: any free one (%(default)s)")
    models = f"model to serve; again for aliases ({DEFAULT_MODEL})"
    where.add_argument("--model", "--served-model-name", action="append", metavar="NAME", help=models)
    where.add_argument("--api-key", metavar="KEY", help="key to ask for under /v1")
    where.add_argument("--tool-call-parser", choices=("mistral", "hermes"), default=_DEFAULTS.tool_parser)
    where.add_argument("--no-vision", action="store_true", help="refuse image parts")
    where.add_argument("--enable-request-id-headers", action="store_true", help="X-Request-Id on answers")
    _add_limits(parser.add_argument_group("pace and limits", argument_default=argparse.SUPPRESS))
    wrong = parser.add_argument_group("what goes wrong")
    example = 'as {"status": 503}; what there is: GET /simulator/faults'
    wrong.add_argument("--faults", type=_faults, default=_DEFAULTS.faults, metavar="JSON", help=example)
    wrong.add_argument("--seed", type=int, help="of ids, and of which requests a fault strikes (random)")


def _add_limits(limits: "argparse._ArgumentGroup") -> None:
    """Add flags that are fields of `Settings` by their names; one that is not given keeps its default there."""
    for name, read, text in (
        ("--ttft", _delay, "time to the first token, as 0.2 or 200ms (0)"),
        ("--itl", _delay, "time between two tokens, as 0.02 or 20ms (0)"),
        ("--prefill", _delay, "time for each token of the prompt that is not in the prefix cache (0)"),
        ("--prefix-cache", _count, "tokens of prompts that the prefix cache holds (none)"),
        ("--tokens", _count, f"length of an answer that nothing cuts ({_DEFAULTS.tokens})"),
        ("--max-model-len", _count, f"tokens of prompt and answer ({_DEFAULTS.max_model_len})"),
        ("--max-num-seqs", _count, f"requests that run at a time ({_DEFAULTS.max_num_seqs})"),
        ("--max-num-queued-reqs", int, "requests that may wait; more are refused with 503 (any number)"),
        ("--shutdown-timeout", _delay, "how long answers may go on after SIGTERM (0)"),
        ("--keepalive", _delay, f"idle connections are closed after this ({_DEFAULTS.keepalive:g}); off: never"),
    ):
        limits.add_argument(name, type=read, help=text)


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
    given = {name: getattr(arguments, name) for name in _LIMITS if hasattr(arguments, name)}
    settings = Settings(
        models=tuple(arguments.model or (DEFAULT_MODEL,)),
        host=arguments.host,
        port=arguments.port,
        api_key=arguments.api_key,
        tool_parser=arguments.tool_call_parser,
        vision=not arguments.no_vision,
        request_id_headers=arguments.enable_request_id_headers,
        faults=arguments.faults,
    )
    return dataclasses.replace(settings, **given)


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
