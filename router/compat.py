"""The one table of foreign names: environment variables, flags and YAML keys that other proxies taught their users.

No other module knows a foreign name, and this one imports nothing: `config` builds on it. A row says which key of our
schema it stands for, and how its text is turned into that key's. Rows of one source stand in order of precedence: the
first that is given wins.

`backends.*.x` is `x` of every backend. Rows without a path are accepted and tell the user what becomes of them.
"""

import enum
from collections.abc import Callable
from dataclasses import dataclass

_TRUE_WORDS = frozenset({"true", "1", "yes", "on"})
_STANDARD_PREFIXES = ("/v1", "/api/v1", "/")  # the default of server.path_prefixes


class Source(enum.Enum):
    """Where a name is written."""

    FLAG = "flag"
    ENV = "env"  # the process environment and .env files
    YAML = "yaml"


class Unused(Exception):
    """The text says nothing for us: the row is passed over."""


@dataclass(frozen=True, slots=True)
class Alias:
    """One row."""

    source: Source
    name: str
    path: str | None  # of the schema; None: accepted, without effect
    convert: Callable[[str], object] = str  # raises ValueError ("must be ..."), Unused
    generic: bool = False  # often set by shells and platforms: stays below an explicit value of the YAML file
    note: str = ""  # what the user is told where path is None


def attempts_from_retries(text: str) -> object:
    """Return attempts from the number of repetitions."""
    if not text.strip().isdigit():
        raise ValueError("must be a whole number, 0 or more")
    return str(int(text) + 1)


def level_from_debug(text: str) -> object:
    """Return debug for a true word. Other tools put other things into DEBUG: those say nothing."""
    if text.strip().lower() not in _TRUE_WORDS:
        raise Unused
    return "debug"


def prefixes_from_prefix(text: str) -> object:
    """Return the standard prefixes with one more before them: what worked before goes on, and /v1 works too."""
    own = text.strip().rstrip("/") or "/"
    return [own, *(prefix for prefix in _STANDARD_PREFIXES if prefix != own)]


def urls_from_list(text: str) -> object:
    """Return the URLs of a comma list."""
    return [part.strip() for part in text.split(",") if part.strip()]


def dialect_from_type(text: str) -> object:
    """Return the dialect from the name of a provider."""
    return {"vllm": "auto"}.get(text.strip().lower(), text)


def _flag(name: str, path: str, convert: Callable[[str], object] = str) -> Alias:
    return Alias(Source.FLAG, name, path, convert)


def _env(name: str, path: str, convert: Callable[[str], object] = str) -> Alias:
    return Alias(Source.ENV, name, path, convert)


def _generic(name: str, path: str, convert: Callable[[str], object] = str) -> Alias:
    return Alias(Source.ENV, name, path, convert, generic=True)


def _yaml(name: str, path: str, convert: Callable[[str], object] = str) -> Alias:
    return Alias(Source.YAML, name, path, convert)


def _without_effect(source: Source, name: str, note: str) -> Alias:
    return Alias(source, name, None, note=note)


_ONE_PROCESS = "no threads serve requests: it has no effect; server.workers sets processes"
_NO_GUESSES = "conversations are told apart exactly, never by likeness: it has no effect"
_OPEN = "clients are NOT asked for a key: keep the router in a trusted network"

ALIASES: tuple[Alias, ...] = (
    _flag("--host", "server.host"),
    _flag("--port", "server.port"),
    _flag("--debug", "logging.level", level_from_debug),
    _flag("--log-level", "logging.level"),
    _flag("--base-url", "backends", urls_from_list),
    _flag("--type", "backends.*.dialect", dialect_from_type),
    _flag("--api-key", "backends.*.api_key"),
    # as uvicorn and vLLM have them
    _flag("--ssl-certfile", "server.tls.cert_file"),
    _flag("--ssl-keyfile", "server.tls.key_file"),
    # Devstral Proxy
    _env("VLLM_BASE", "backends", urls_from_list),
    _env("PROXY_HOST", "server.host"),
    _env("PROXY_PORT", "server.port"),
    _env("LOG_FILE", "logging.file"),
    _env("REQUEST_TIMEOUT", "timeouts.total"),
    _env("MAX_CONNECTIONS", "backends.*.max_connections"),
    _without_effect(Source.ENV, "WORKER_THREADS", _ONE_PROCESS),
    # Venice proxy
    _env("OPENAI_BASE_URL", "backends", urls_from_list),
    _env("PROXY_PATH_PREFIX", "server.path_prefixes", prefixes_from_prefix),
    _env("BASE_RETRY_DELAY", "retry.base_delay"),
    _env("RATE_LIMIT_WAIT", "retry.max_delay"),
    _without_effect(Source.ENV, "PROXY_API_KEY", _OPEN),
    _without_effect(Source.ENV, "OPENAI_TOKENS", "give one key per backend as backends.0.api_key"),
    # LLM Proxy Server
    _env("LLM_BASE_URL", "backends", urls_from_list),
    _env("LLM_TYPE", "backends.*.dialect", dialect_from_type),
    _env("LLM_API_KEY", "backends.*.api_key"),
    _env("SERVER_PORT", "server.port"),
    # names that are not ours alone
    _generic("HOST", "server.host"),
    _generic("PORT", "server.port"),
    _generic("TIMEOUT", "timeouts.total"),
    _generic("MAX_RETRIES", "retry.max_attempts", attempts_from_retries),
    _generic("DEBUG", "logging.level", level_from_debug),
    _generic("LOG_LEVEL", "logging.level"),
    # YAML of LLM Proxy Server
    _yaml("llm.base_url", "backends", urls_from_list),
    _yaml("llm.type", "backends.*.dialect", dialect_from_type),
    _yaml("llm.api_key", "backends.*.api_key"),
    _yaml("llm.timeout", "timeouts.total"),
    _yaml("llm.max_retries", "retry.max_attempts", attempts_from_retries),
    _yaml("logging.max_file_size", "logging.max_size"),
    _yaml("logging.backup_count", "logging.backups"),
    _yaml("session.enabled", "sessions.enabled"),
    _yaml("session.max_sessions", "sessions.max_sessions"),
    _yaml("session.session_ttl_seconds", "sessions.ttl"),
    _without_effect(Source.YAML, "session.enable_fuzzy_matching", _NO_GUESSES),
    _without_effect(Source.YAML, "session.similarity_threshold", _NO_GUESSES),
    _without_effect(Source.YAML, "session.max_messages_for_new_session", _NO_GUESSES),
    _without_effect(Source.YAML, "session.reset_phrases", _NO_GUESSES),
)

# Sections of other proxies that are ours under another name.
SECTIONS = {"interceptors": "middlewares"}
# Options of their middlewares that mean nothing here: by type.
WITHOUT_EFFECT = {
    "printer": ("show_sessions", "show_llm_calls", "show_tools"),
    "trace": ("file_rotation",),  # files are rotated by max_files and max_total_size
}


def rows(source: Source) -> tuple[Alias, ...]:
    """Return the rows of one source, in order of precedence."""
    return tuple(row for row in ALIASES if row.source is source)
