"""Reading the configuration: files, environment and flags to one checked Config, or every fault at once.

Of this package only this module and `certificates` open files.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import ValidationError

from router.config import certificates, checks, exposure, paths
from router.config.address import DEFAULT_API_PREFIX
from router.config.document import MAX_TEXT, parse_section, read_document
from router.config.dotenv import parse_dotenv
from router.config.faults import fault_at, from_validation, without_repeats
from router.config.schema import AdminConfig, Config
from router.config.show import DEFAULT, values
from router.config.sources import Given, Report, drop_unused, fill_variables, lay_over
from router.config.tree import Branch, Leaf, dotted, origins, plain, put
from router.errors import ConfigError, ConfigFault

SEARCHED = ("router.yaml", "/etc/devstral-router/router.yaml")  # without --config, in this order
DOTENV = ".env"


@dataclass(frozen=True, slots=True)
class Loaded:
    """A configuration that can be used."""

    config: Config
    origins: Mapping[str, str] = field(default_factory=dict)  # "server.port" to "env PROXY_PORT"
    notices: Sequence[str] = ()  # worth a line to the operator, each
    path: str | None = None  # of the YAML file, None without one
    own_names: frozenset[str] = frozenset()  # names and addresses of this machine
    files: tuple[str, ...] = ()  # certificates and keys that it names


def load(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Sequence[str]] | None = None,
    env_file: str | None = None,
    own_names: frozenset[str] = frozenset(),
) -> Loaded:
    """Read the file at `path` (None: none) and everything laid over it.

    `environ`: the process environment, none if not given. `env_file`: a .env file that must exist; None: the one in
    the working directory, if there is one. `own_names`: names and addresses of this machine, to find a backend that
    is this router. Raises ConfigError with every fault.
    """
    report = Report()
    file = None if path is None else os.fspath(path)
    tree, broken = (Branch(), []) if file is None else read_document(read_text(file), os.path.basename(file))
    given = Given(flags or {}, environ or {}, _dotenv(env_file, report), own_names)
    drop_unused(tree, given, report)
    fill_variables(tree, given, report)
    lay_over(tree, given, report)
    faults = [*report.faults, *checks.check(tree, own_names)]
    config: Config | None = None
    try:
        config = Config.model_validate(plain(tree))
    except ValidationError as error:
        faults += from_validation(error, tree)
    sections = certificates.sections(tree)
    files = certificates.named(sections)
    faults += [fault_at(tree, path, message) for path, message in certificates.faults(sections)]
    if faults or broken or config is None:
        # What else is wrong on the line of a fault of the document mostly comes of it, and is not told. What does not
        # (another key of the same line) is hidden with it, and told once that one is mended.
        lines = {fault.line for fault in broken}
        told = [*broken, *(fault for fault in faults if fault.line is None or fault.line not in lines)]
        raise ConfigError(without_repeats(told), files=files)
    found = _origins(tree, config)
    public = exposure.notices(config, found, file=file, env_file=env_file or DOTENV)
    own = (*checks.notices(config), *certificates.notices(config), *paths.notices(config))
    return Loaded(config, found, (*report.notices, *own, *public), file, own_names, files)


def load_admin(
    path: str | os.PathLike[str] | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    env_file: str | None = None,
    token: str | None = None,
) -> AdminConfig:
    """Read the section `admin` alone: the rest of the file may have faults. The defaults where there is none.

    `token`: known already, whatever the file says. Raises ConfigError with every fault of that section; for a file that
    cannot be read; and for one that is no YAML, unless it has the section, and that can be told from the rest.
    """
    report = Report()
    tree = Branch() if path is None else parse_section(read_text(os.fspath(path)), os.path.basename(path), "admin")
    if token is not None:
        put(tree, ("admin", "token"), Leaf(token, "--token"))
    given = Given({}, environ or {}, _dotenv(env_file, report))
    fill_variables(tree, given, report)
    try:
        config = Config.model_validate(plain(tree))
    except ValidationError as error:
        raise ConfigError(without_repeats([*report.faults, *from_validation(error, tree)])) from error
    if report.faults:
        raise ConfigError(report.faults)
    return config.admin


def find_config(searched: Sequence[str] = SEARCHED) -> str | None:
    """Return the first of the standard places that holds a file."""
    return next((path for path in searched if os.path.isfile(path)), None)


def read_text(path: str) -> str:
    """Return the text of a file. Raises ConfigError: missing, unreadable, too large, not UTF-8."""
    try:
        with open(path, "rb") as file:
            data = file.read(4 * MAX_TEXT + 1)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        reason = error.strerror if isinstance(error, OSError) and error.strerror else str(error)
        raise ConfigError([ConfigFault("", f"{path} cannot be read: {reason}")]) from error
    if len(data) > 4 * MAX_TEXT:
        raise ConfigError([ConfigFault("", f"{path} is larger than {MAX_TEXT >> 20} MB: is it the right file?")])
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        fault = ConfigFault("", f"{path} is not UTF-8 text", line=line, hint="save it as UTF-8")
        raise ConfigError([fault]) from error


def _dotenv(env_file: str | None, report: Report) -> dict[str, str]:
    """Return the variables of a .env file. One that merely lies in the working directory may belong to another tool."""
    if env_file is None and not os.path.isfile(DOTENV):
        return {}
    path = env_file or DOTENV
    try:
        found, bad = parse_dotenv(read_text(path))
    except ConfigError as error:
        if env_file is not None:
            raise
        report.notices.append(f"{error.faults[0].message}: passed over")
        return {}
    if bad:
        report.notices.append(f"{path}: no KEY=VALUE on line {', '.join(map(str, bad[:5]))}: passed over")
    return found


def _origins(tree: Branch, config: Config) -> dict[str, str]:
    """Return where each value came from, in the order of the schema."""
    known = {dotted(path): origin for path, origin in origins(tree)}
    for number in range(len(config.backends)):  # what a url fills in
        url = known.get(f"backends.{number}.url", "")
        known.setdefault(f"backends.{number}.name", url)
        if config.backends[number].api_prefix != DEFAULT_API_PREFIX:
            known.setdefault(f"backends.{number}.api_prefix", url)
    return {path: known.get(path, DEFAULT) for path, _ in values(config)}
