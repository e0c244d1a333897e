"""What each part of the router is told of the configuration: one function per part, from Config to the part's words.

Used when the router is built and again with each new configuration, so that both say the same.
"""

import os
import random
import resource
import string
import time
from collections.abc import Callable, Mapping
from typing import Any

from router import __version__
from router.access.overload import Marks
from router.backends.backend import BackendSpec
from router.backends.breaker import BreakerRules
from router.backends.health import HealthRules
from router.backends.registry import Registry
from router.backends.sessions import SessionRules
from router.config import BackendConfig, Config
from router.config.checks import TRACING_HINT
from router.errors import ConfigError, ConfigFault
from router.handlers.routes import RouteTable
from router.observe.guard import memory_limit
from router.observe.redaction import selector
from router.relay.dialects import Answers, Configured, Dialects, StreamTools
from router.relay.endpoint import Endpoint
from router.relay.headers import Forwarding, ToBackend
from router.relay.hedge import HedgeRules
from router.relay.outside import Timeouts
from router.relay.queue import QueueRules
from router.relay.resume import Mode, ResumeRules
from router.relay.retry import RetryRules
from router.tracing.tracer import SdkMissing, Tracer, otlp_exporter
from router.translate.asked import AnswerForm, ReasoningField, RequestForm
from router.translate.profile import PRESETS
from router.wire.client import Request, TLSOptions, parse_url
from router.wire.headers import normalised
from router.wire.limits import ServerLimits

ADMIN_BODY = 64 << 10  # bytes: an entry of a backend is a few hundred
MEMORY_SHARE = 0.9  # of the cgroup's limit
ADMIN_CONNECTIONS = 256  # operators, their scripts and a scraper


def spec(backend: BackendConfig, config: Config) -> BackendSpec:
    """Return what the registry decides on."""
    return BackendSpec(
        backend.name,
        backend.url,
        api_prefix=backend.api_prefix,
        zone=backend.zone,
        weight=backend.weight,
        api_key=None if backend.api_key is None else backend.api_key.get_secret_value(),
        dialect=backend.dialect,
        models=backend.models,
        max_connections=backend.max_connections,
        health_path=config.health.path,
    )


def registry(config: Config) -> Registry:
    """Return what knows the state of each backend."""
    specs = [spec(backend, config) for backend in config.backends]
    return Registry(specs, health_rules=health_rules(config), breaker_rules=breaker_rules(config))


def ids() -> Callable[[], str]:
    """Return what makes 32 hexadecimal digits by chance; ids are no secrets."""
    dice = random.Random()  # noqa: S311
    return lambda: f"{dice.getrandbits(128):032x}"


def tracer(config: Config, *, share: Callable[[], float]) -> Tracer | None:
    """Return what tells of spans, None where that is off. Raises `ConfigError` where the SDK is missing."""
    if not config.tracing.enabled:
        return None
    try:
        exporter = otlp_exporter(config.tracing.endpoint)
    except SdkMissing as error:
        fault = ConfigFault("tracing.enabled", "needs OpenTelemetry's SDK", hint=TRACING_HINT)
        raise ConfigError([fault]) from error
    return Tracer(
        exporter,
        service=config.tracing.service_name,
        version=__version__,
        share=share,
        new_id=ids(),
        wall_clock=time.time,
        clock=time.monotonic,
    )


def endpoint(backend: BackendConfig, config: Config) -> Endpoint:
    """Return how a backend is reached."""
    tls = TLSOptions(**backend.tls.model_dump()) if backend.url.startswith("https:") else None
    key = None if backend.api_key is None else backend.api_key.get_secret_value()
    prefix = backend.api_prefix.rstrip("/")
    origin, _ = parse_url(backend.url, tls=tls)
    forwarding = Forwarding(
        # Where we hold the backend's key, the client's would only stand beside it.
        authorization=config.server.forward_authorization and key is None,
        cookies=config.server.forward_cookies,
        deadline_header=config.server.deadline_header,
    )
    return Endpoint(origin, api_prefix=prefix, api_key=key, to_backend=ToBackend(forwarding))


def endpoints(
    config: Config, *, had: Config | None = None, known: Mapping[str, Endpoint] | None = None
) -> dict[str, Endpoint]:
    """Return how each backend is reached, by name. `had` and `known`: of before; what is the same is made but once."""
    before = {} if had is None else {backend.name: backend for backend in had.backends}
    is_same = had is not None and _forwarded(had) == _forwarded(config)
    return {
        backend.name: known[backend.name]
        if known is not None and is_same and before.get(backend.name) == backend
        else endpoint(backend, config)
        for backend in config.backends
    }


def _forwarded(config: Config) -> tuple[bool, bool, str]:
    server = config.server
    return server.forward_authorization, server.forward_cookies, server.deadline_header


def probe_request(endpoint: Endpoint, path: str, timeout: float) -> Request:
    """Return the request of a probe; `timeout` in seconds, for each of its parts."""
    return Request(
        origin=endpoint.origin,
        method="GET",
        target=path,
        header_lines=b"Accept: application/json\r\n" + endpoint.key_lines(named_events=False),
        connect_timeout=timeout,
        request_timeout=timeout,
    )


def dialects(config: Config) -> Dialects:
    """Return the dialects as they are configured."""
    made = Dialects({})
    tell_dialects(made, config)
    return made


def tell_dialects(dialects: Dialects, config: Config, *, strangers: tuple[str, ...] = ()) -> None:
    """Tell the dialects what is configured of them. `strangers`: names of backends that are other servers now."""
    translation = config.translation
    dialects.update(
        {
            backend.name: Configured(backend.dialect, PRESETS.get(backend.profile), StreamTools(backend.stream_tools))
            for backend in config.backends
        },
        answers=Answers(translation.answers),
        request_form=RequestForm(
            continue_assistant=translation.last_assistant == "continue", clamp_max_tokens=translation.clamp_max_tokens
        ),
        answer_form=AnswerForm(ReasoningField(translation.reasoning), call_index=translation.tool_call_index),
        strangers=strangers,
    )


def answering(config: Config) -> dict[str, Any]:
    """Return what handlers go by: fields of their Context."""
    return {
        "deadline_header": normalised(config.server.deadline_header.encode()),
        "total_timeout": config.timeouts.total,
        "public_details": config.server.public_details,
        "public_status": config.server.public_status,
        "targets": tuple(backend.url for backend in config.backends),
        "debug": config.logging.level == "debug",
        "metrics_path": config.metrics.path if config.metrics.enabled else None,
        "docs": config.docs.enabled,
        "logged_headers": selector(config.logging.headers),
    }


def limits(config: Config) -> ServerLimits:
    """Return what the wire allows clients."""
    server = config.server
    return ServerLimits(
        start_line=server.max_start_line,
        header_bytes=server.max_header_bytes,
        header_count=server.max_headers,
        body=server.max_body,
        headers_timeout=server.headers_timeout,
        body_timeout=server.body_timeout,
        idle_timeout=server.idle_timeout,
        write_stall_timeout=server.write_stall_timeout,
        connections=server.max_connections,
        descriptors=_descriptors(config),
    )


def admin_limits() -> ServerLimits:
    """Return what the wire allows operators."""
    return ServerLimits(body=ADMIN_BODY, connections=ADMIN_CONNECTIONS)


def routes(config: Config) -> RouteTable:
    """Return which paths are relayed."""
    extra = [(route.method, route.path) for route in config.server.extra_routes]
    return RouteTable(config.server.path_prefixes, extra)


def health_rules(config: Config) -> HealthRules:
    """Return how backends are probed."""
    return HealthRules(**config.health.model_dump(exclude={"path"}))


def breaker_rules(config: Config) -> BreakerRules:
    """Return when a backend that fails requests is left alone."""
    return BreakerRules(**config.breaker.model_dump())


def retry_rules(config: Config) -> RetryRules:
    """Return when a failed attempt is repeated."""
    return RetryRules(**config.retry.model_dump())


def _descriptors(config: Config) -> int | None:
    """Return how many file descriptors may be in use before connections are reset: half of what is left by then.

    Probes come over new connections: they are answered for longer than requests are taken.
    """
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    mark = marks(config).descriptors
    return None if mark is None else (mark + limit) // 2


def marks(config: Config) -> Marks:
    """Return how much memory and how many file descriptors may be in use before new requests are refused."""
    overload, workers = config.overload, config.server.workers or os.cpu_count() or 1
    limit = memory_limit() if overload.max_memory == "auto" else None
    memory = overload.max_memory if isinstance(overload.max_memory, int) else None
    if limit is not None:
        memory = int(limit * MEMORY_SHARE / workers)
    descriptors, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    is_limited = descriptors != resource.RLIM_INFINITY
    return Marks(memory, int(descriptors * overload.max_descriptors) if is_limited else None)


def queue_rules(config: Config) -> QueueRules:
    """Return how many exchanges wait for a free backend, and how long."""
    return QueueRules(config.overload.queue_size, config.overload.queue_timeout)


def hedge_rules(config: Config) -> HedgeRules:
    """Return when a second attempt runs beside a slow first one."""
    return HedgeRules(**config.hedge.model_dump())


def resume_rules(config: Config) -> ResumeRules:
    """Return how a broken stream is finished on another backend."""
    resume = config.resume
    return ResumeRules(Mode(resume.mode), resume.max_attempts, resume.max_length)


def session_rules(config: Config) -> SessionRules:
    """Return how conversations are known again."""
    sessions = config.sessions
    headers = tuple(name.lower().encode() for name in sessions.headers)
    return SessionRules(**sessions.model_dump(exclude={"headers"}), headers=headers)


def timeouts(config: Config) -> Timeouts:
    """Return how long a backend may take."""
    return Timeouts(**config.timeouts.model_dump(exclude={"total"}))


def call_ids(dice: random.Random) -> Callable[[], str]:
    """Return what makes ids of tool calls, of the form that every tokenizer of Mistral takes."""
    letters = string.ascii_letters + string.digits
    return lambda: "".join(dice.choices(letters, k=9))
