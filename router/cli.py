"""The command line: `devstral-router [flags]`, or one of the commands below.

Answers go to standard output, everything else to standard error. Exit codes: 0 done, 1 the configuration or what was
asked for cannot be used, 2 the command line itself is wrong. What a command needs is imported when it runs.
"""

import argparse
import contextlib
import os
import socket
import sys
from collections.abc import Sequence

from router import __version__
from router.config import Config, Loaded, find_config, load
from router.config.load import DOTENV
from router.config.show import print_lines, summary_lines
from router.config.starter import STARTER
from router.errors import ConfigError

PROGRAM = "devstral-router"
DONE, UNUSABLE, USAGE, INTERRUPTED = 0, 1, 2, 130

_CONFIG_FLAGS = (
    *("--host", "--port", "--log-level", "--base-url", "--type", "--api-key", "--debug"),
    *("--ssl-certfile", "--ssl-keyfile"),
)
_EPILOG = """\
Without a command it serves. Without --config it reads ./router.yaml or /etc/devstral-router/router.yaml if there is
one, and the environment: VLLM_BASE=http://127.0.0.1:8000 devstral-router is enough.

Precedence: flags, environment, .env, the file, defaults. Every key: docs/configuration.md
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line `argv` (None: that of the process) and return the exit code."""
    words = sys.argv[1:] if argv is None else list(argv)
    try:
        arguments = _parsed(words)
    except SystemExit as stop:  # argparse has printed its help, or what is wrong
        return stop.code if isinstance(stop.code, int) else USAGE
    try:
        return _run(arguments)
    except ConfigError as error:
        _tell_faults(error, _asked_file(arguments))
    except BrokenPipeError:  # the reader of our output has left, as `| head` does
        with contextlib.suppress(OSError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    except KeyboardInterrupt:
        return INTERRUPTED
    return UNUSABLE


def _parsed(words: Sequence[str]) -> argparse.Namespace:
    """Return what the command line says. Raises `SystemExit` where it is wrong, or asks for help."""
    parser = _parser(words)
    arguments, left = parser.parse_known_args(words)
    if left and arguments.command == "backends":
        from router.backends_command import take_name

        left = take_name(arguments, left)
    if left:
        parser.error(f"not understood{f' by {arguments.command}' if arguments.command else ''}: {' '.join(left)}")
    return arguments


def _parser(words: Sequence[str]) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog=PROGRAM,
        description="One OpenAI-compatible base URL in front of a cluster of vLLM servers.",
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--version", action="version", version=f"{PROGRAM} {__version__}")
    parser.add_argument("--validate-config", metavar="FILE", help="check FILE and exit")
    parser.add_argument("--generate-config", metavar="FILE", help="write a configuration to start from, and exit")
    parser.add_argument("--force", action="store_true", help="let --generate-config overwrite a file")
    _add_serve_flags(parser)

    commands = parser.add_subparsers(dest="command", metavar="COMMAND")
    serve = commands.add_parser("serve", help="serve (as without a command)", allow_abbrev=False)
    _add_serve_flags(serve)
    check = commands.add_parser("check", help="check a configuration file", allow_abbrev=False)
    check.add_argument("file", metavar="FILE")
    check.add_argument("--env-file", metavar="FILE", default=argparse.SUPPRESS, help="a .env file to read")
    init = commands.add_parser("init", help="write a commented configuration to start from", allow_abbrev=False)
    init.add_argument("file", metavar="FILE", nargs="?", default="router.yaml")
    init.add_argument("--force", action="store_true", default=argparse.SUPPRESS, help="overwrite FILE")
    demo = commands.add_parser("demo", help="run two simulated servers and the router, and show a streamed answer")
    simulate = commands.add_parser("simulate", help="run a simulated vLLM server", allow_abbrev=False)
    translate = commands.add_parser(
        "translate", help="show what a backend would be sent, or a client would get, and why", allow_abbrev=False
    )
    backends = commands.add_parser(
        "backends", help="show the backends of a running router; add, drain, undrain, remove one", allow_abbrev=False
    )
    reload = commands.add_parser("reload", help="have a running router read its configuration anew", allow_abbrev=False)
    logs = commands.add_parser("logs", help="show, filter and follow the log for people", allow_abbrev=False)
    log_level = commands.add_parser("log-level", help="have a running router log more or less", allow_abbrev=False)
    _add_flags_of_others(words, demo=demo, simulate=simulate, translate=translate)
    _add_flags_of_operators(words, backends=backends, reload=reload, log_level=log_level)
    if "logs" in words:
        from router import logs_command

        logs_command.add_arguments(logs)
    commands.add_parser("version", help="print the version")
    return parser


def _add_flags_of_others(
    words: Sequence[str],
    *,
    demo: argparse.ArgumentParser,
    simulate: argparse.ArgumentParser,
    translate: argparse.ArgumentParser,
) -> None:
    """Add what these commands take, which only they know; nothing is imported for any other command."""
    if "simulate" in words:
        from router.simulator import cli as simulator_cli

        simulator_cli.add_arguments(simulate)
    if "demo" in words:
        from router.simulator import demo as simulator_demo

        simulator_demo.add_arguments(demo)
    if "translate" in words:
        from router import translate_command

        translate_command.add_arguments(translate)


def _add_flags_of_operators(
    words: Sequence[str],
    *,
    backends: argparse.ArgumentParser,
    reload: argparse.ArgumentParser,
    log_level: argparse.ArgumentParser,
) -> None:
    """Do the same for what asks a running router."""
    if not {"backends", "reload", "log-level"}.isdisjoint(words):
        from router import backends_command

        backends_command.add_arguments(backends)
        backends_command.add_arguments(reload, reload=True)
        backends_command.add_arguments(log_level, reload=True)
        log_level.add_argument("level", metavar="LEVEL", help="debug, info, warning, error or critical")


def _add_serve_flags(parser: argparse.ArgumentParser) -> None:
    """Add what stands before a command or after `serve`; SUPPRESS, so that the second place leaves the first alone."""
    flags = parser.add_argument_group("configuration", argument_default=argparse.SUPPRESS)
    flags.add_argument("--config", metavar="FILE", help="the YAML file")
    flags.add_argument("--env-file", metavar="FILE", help="a .env file; without it ./.env is read if there is one")
    flags.add_argument("--base-url", metavar="URL", action="append", help="a backend; may be given several times")
    flags.add_argument("--type", metavar="DIALECT", help="what the backends of --base-url speak: auto, openai, mistral")
    flags.add_argument("--api-key", metavar="KEY", help="their key (seen in process lists: prefer a file)")
    flags.add_argument("--host", metavar="HOST", help="address to listen on")
    flags.add_argument("--port", metavar="PORT", help="port to listen on")
    flags.add_argument("--ssl-certfile", metavar="FILE", help="our certificate (PEM): clients are served by TLS")
    flags.add_argument("--ssl-keyfile", metavar="FILE", help="its key, where that is not in the same file")
    flags.add_argument("--log-level", metavar="LEVEL", help="debug, info, warning or error")
    flags.add_argument("--debug", action="store_const", const="true", help="the same as --log-level debug")
    flags.add_argument("--print-config", action="store_true", help="print every value and where it came from, and exit")


def _run(arguments: argparse.Namespace) -> int:
    if arguments.command == "version":
        _say(f"{PROGRAM} {__version__}")
        return DONE
    if arguments.command == "init":
        return _init(arguments.file, force=arguments.force)
    if arguments.command == "check":
        return _check(arguments.file, arguments)
    if arguments.command == "simulate":
        from router.simulator import cli as simulator

        return int(simulator.run(arguments))
    if arguments.command == "demo":
        from router.simulator import demo

        return int(demo.run(arguments))
    if arguments.command == "translate":
        from router import translate_command

        return translate_command.run(arguments)
    if arguments.command == "logs":
        from router import logs_command

        return logs_command.run(arguments)
    if arguments.command in ("backends", "reload", "log-level"):
        from router import backends_command

        is_list = arguments.command == "backends"
        return backends_command.run(arguments) if is_list else backends_command.run_change(arguments)
    if arguments.validate_config is not None:
        return _check(arguments.validate_config, arguments)
    if arguments.generate_config is not None:
        return _generate(arguments.generate_config, force=arguments.force)
    return _serve(arguments)


def _serve(arguments: argparse.Namespace) -> int:
    path = getattr(arguments, "config", None) or find_config()
    try:
        loaded = _load(path, arguments)
    except ConfigError as error:
        from router.process.handover import explain

        explain(os.environ, [f"configuration: {fault}" for fault in error.faults])
        raise
    if getattr(arguments, "print_config", False):
        for line in print_lines(loaded.config, loaded.origins):
            _say(line)
        return DONE
    _open_closed_streams()
    from router.reload import Source
    from router.server import serve

    env_file = getattr(arguments, "env_file", None) or DOTENV
    files = tuple(os.path.abspath(file) for file in (path, env_file) if file is not None)
    return serve(loaded, Source(lambda: _loaded(path, arguments), files))


def _load(path: str | None, arguments: argparse.Namespace) -> Loaded:
    """Load the configuration, and tell its notices."""
    loaded = _loaded(path, arguments)
    for notice in loaded.notices:
        _say(f"note: {notice}", to_stderr=True)
    return loaded


def _loaded(path: str | None, arguments: argparse.Namespace) -> Loaded:
    """Load the configuration with the flags laid over it. Raises ConfigError."""
    flags = {}
    for flag in _CONFIG_FLAGS:
        value = getattr(arguments, flag.removeprefix("--").replace("-", "_"), None)
        if value is not None:
            flags[flag] = value if isinstance(value, list) else [value]
    return load(
        path,
        environ=os.environ,
        flags=flags,
        env_file=getattr(arguments, "env_file", None),
        own_names=own_names(),
    )


def _check(path: str, arguments: argparse.Namespace) -> int:
    config: Config = _load(path, arguments).config
    _say(f"✓ Configuration is valid: {path}")
    for line in summary_lines(config):
        _say(line)
    return DONE


def _generate(path: str, *, force: bool) -> int:
    if not _write(path, force=force):
        return UNUSABLE
    _say(f"Example configuration written to: {path}")
    return DONE


def _init(path: str, *, force: bool) -> int:
    if not _write(path, force=force):
        return UNUSABLE
    _say(f"{path} is written. Put the URLs of your servers into it, then:")
    _say(f"  {PROGRAM} check {path}")
    _say(f"  {PROGRAM} --config {path}")
    return DONE


def _write(path: str, *, force: bool) -> bool:
    """Write the starter file and tell whether that worked. A file that holds something is kept, unless forced."""
    try:
        if not force and os.path.exists(path) and os.path.getsize(path) > 0:
            _say(f"{PROGRAM}: {path} exists already; --force overwrites it", to_stderr=True)
            return False
        with open(path, "w", encoding="utf-8") as file:
            file.write(STARTER)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) else error
        _say(f"{PROGRAM}: {path} cannot be written: {reason}", to_stderr=True)
        return False
    return True


def own_names() -> frozenset[str]:
    """Return names and addresses of this machine; asks no name server and sends nothing."""
    name = socket.gethostname().lower()
    found = {name, name.split(".", 1)[0]}
    for family, outside in ((socket.AF_INET, "192.0.2.1"), (socket.AF_INET6, "2001:db8::1")):
        with contextlib.suppress(OSError), socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.connect((outside, 9))  # chooses the address that we would be seen with; UDP sends nothing yet
            found.add(str(probe.getsockname()[0]))
    return frozenset(found - {""})


def _asked_file(arguments: argparse.Namespace) -> str | None:
    """Return the configuration file that the command line is about."""
    if arguments.command == "check":
        return str(arguments.file)
    return arguments.validate_config or getattr(arguments, "config", None) or find_config()


def _tell_faults(error: ConfigError, path: str | None) -> None:
    """Print every fault, each on a line of its own."""
    _say(f"✗ Configuration is invalid: {path or 'no file, environment only'}", to_stderr=True)
    for fault in error.faults:
        _say(f"  - {fault}", to_stderr=True)


def _open_closed_streams() -> None:
    """Let /dev/null be each standard stream that is closed: else the next socket would get its number, and what is
    meant for the stream."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        if getattr(sys, name) is None:  # as Python has found it; the lowest free number is the stream's own
            stream = os.fdopen(os.open(os.devnull, os.O_RDWR), mode)
            os.set_inheritable(stream.fileno(), True)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)


def _say(text: str, *, to_stderr: bool = False) -> None:
    """Print a line; signs that the terminal's encoding does not have are replaced."""
    stream = sys.stderr if to_stderr else sys.stdout
    encoding = stream.encoding or "utf-8"
    print(text.encode(encoding, "replace").decode(encoding), file=stream, flush=True)
