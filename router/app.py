"""The composition root: builds every object from the configuration, and hands each its parts.

Nothing else builds anything from the configuration, and nobody imports this module but `server` and tests.
"""

import asyncio
import logging
import random
import string
import time
from collections.abc import Callable

from tornado.httpclient import AsyncHTTPClient, HTTPRequest

from router.backends.backend import BackendSpec, Change, ChangeKind
from router.backends.breaker import BreakerRules
from router.backends.checker import Checker
from router.backends.health import HealthRules
from router.backends.registry import Registry
from router.config import BackendConfig, Config
from router.exchange import Attempt, AttemptOutcome, Exchange
from router.handlers.application import FrontDoor
from router.handlers.base import Context
from router.handlers.cors import Cors
from router.handlers.refused import render
from router.handlers.routes import RouteTable
from router.observe import logs
from router.observe.metrics import Metrics, model_label
from router.relay.course import Cluster, Shared
from router.relay.dialects import Answers, Configured, Dialects, StreamTools
from router.relay.endpoint import Endpoint
from router.relay.headers import Forwarding, ToBackend, ToClient
from router.relay.outside import Outside, Timeouts
from router.relay.probing import Prober
from router.relay.relay import Relay
from router.relay.retry import RetryRules
from router.translate.asked import AnswerForm, ReasoningField, RequestForm
from router.translate.profile import PRESETS
from router.wire.client import PooledHTTPClient, Request, TLSOptions, parse_url
from router.wire.headers import normalised
from router.wire.limits import ServerLimits
from router.wire.resolver import Resolver
from router.wire.service import Refused

log = logging.getLogger("router.app")


class Observer:
    """Tells metrics and logs what happens."""

    def __init__(self, metrics: Metrics, access: logs.AccessLog) -> None:
        """Both are told of every exchange."""
        self._metrics = metrics
        self._closers = (metrics.exchange_closed, access.write)

    def exchange_opened(self, exchange: Exchange) -> None:
        """Count an exchange, and be told of its end."""
        self._metrics.exchange_opened(exchange)
        exchange.on_close.extend(self._closers)

    def attempt_closed(self, attempt: Attempt, exchange: Exchange) -> None:
        """Count an attempt."""
        self._metrics.attempt_closed(attempt, model_label(exchange))

    def retried(self, cause: AttemptOutcome) -> None:
        """Count a retry."""
        self._metrics.retried(cause)

    def changed(self, change: Change) -> None:
        """Count a change of a backend's state, and say so in the log."""
        self._metrics.changed(change)
        if change.kind is ChangeKind.ALARM:
            log.warning("backend %s refuses our credentials (%s); check its api_key", change.backend, change.cause)
        elif change.kind is ChangeKind.MODELS:
            log.info("backend %s serves: %s", change.backend, change.after or "nothing")
        else:
            level = logging.INFO if change.after in ("up", "closed") else logging.WARNING
            log.log(
                level,
                "backend %s: %s %s -> %s (%s)",
                change.backend, change.kind.value, change.before, change.after, change.cause,
            )  # fmt: skip


class App:
    """One router: what the process serves, starts and stops."""

    def __init__(self, config: Config) -> None:
        """Build everything; nothing runs before `start`."""
        self._config = config
        self._is_draining = False
        self._logs = logs.setup(config.logging)
        self.registry = Registry(
            [_spec(backend, config) for backend in config.backends],
            health_rules=_health_rules(config),
            breaker_rules=BreakerRules(**config.breaker.model_dump()),
        )
        self.metrics = Metrics(
            backends=lambda: self.registry.snapshot(time.monotonic()), dropped_log_lines=lambda: self._logs.dropped
        )
        self._observer = Observer(self.metrics, self._logs.access)
        self._endpoints = {backend.name: _endpoint(backend, config) for backend in config.backends}
        self._dialects = _dialects(config)
        self._client: AsyncHTTPClient | None = None
        self._checker: Checker | None = None
        self._prober: Prober | None = None
        self.relay: Relay | None = None
        self._context: Context | None = None
        self._delegate: FrontDoor | None = None

    @property
    def delegate(self) -> FrontDoor:
        """Return the application that answers requests; there is one from `start` on."""
        if self._delegate is None:
            raise RuntimeError("not started")
        return self._delegate

    @property
    def limits(self) -> ServerLimits:
        """Return what the wire allows clients."""
        server = self._config.server
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
        )

    @property
    def in_flight(self) -> int:
        """Return how many exchanges are not yet closed."""
        return self.metrics.in_flight

    @property
    def ready(self) -> bool:
        """Return whether requests should be sent here."""
        return not self._is_draining and self.registry.usable_count(time.monotonic()) > 0

    async def start(self) -> None:
        """Build what needs the running loop, and begin to watch the backends."""
        config = self._config
        client = PooledHTTPClient(
            force_instance=True,
            keepalive_timeout=config.pool.keepalive or 0.0,
            resolver=Resolver(ttl=config.pool.dns_ttl),
        )
        self._client = client
        outside = Outside(
            client,
            _timeouts(config),
            loop=asyncio.get_running_loop(),
            clock=time.monotonic,
            wall_clock=time.time,
            dice=random.random,
            event_gaps=self.metrics.event_gaps,
            new_call_id=call_ids(random.Random()),  # noqa: S311  # ids are no secrets
            to_client=ToClient(cookies=config.server.forward_cookies),
        )
        shared = Shared(
            Cluster(self.registry, self._endpoints, self._dialects),
            outside,
            RetryRules(**config.retry.model_dump()),
            self._observer,
            reveal=config.server.reveal_backend,
        )
        self.relay = Relay(shared)
        extra = [(route.method, route.path) for route in config.server.extra_routes]
        self._context = self._build_context(self.relay)
        self._delegate = FrontDoor(self._context, RouteTable(config.server.path_prefixes, extra))
        self._watch(client)

    def _watch(self, client: AsyncHTTPClient) -> None:
        config = self._config
        self._checker = Checker(
            self.registry,
            client,
            rules=_health_rules(config),
            rng=random.Random(),  # noqa: S311  # jitter is no secret
            on_change=self._observer.changed,
            build_request=self._probe_request,
        )
        self._prober = Prober(
            client, self._endpoints, self._dialects, timeout=config.health.timeout, clock=time.monotonic
        )
        self._checker.start(inspect=self._prober.inspect)

    def drain(self) -> None:
        """Be not ready from now on."""
        self._is_draining = True

    async def stop(self) -> None:
        """End what is under way, stop watching, close connections to backends, write the last log lines."""
        if self.relay is not None:
            await self.relay.stop()
        if self._checker is not None:
            await self._checker.stop()
        if self._prober is not None:
            await self._prober.stop()
        if self._client is not None:
            self._client.close()
        self._logs.close()

    def reopen_logs(self) -> None:
        """Begin the log file anew, after somebody has moved it away."""
        self._logs.reopen()

    def render_error(self, refused: Refused, /) -> tuple[bytes, bytes]:
        """Return the wire's own answer to a request, in OpenAI's form."""
        if self._context is None:
            raise RuntimeError("not started")
        return render(refused, self._context)

    def _build_context(self, relay: Relay) -> Context:
        config = self._config
        cors = config.server.cors
        dice = random.Random()  # noqa: S311  # ids are no secrets
        return Context(
            relay,
            self.registry,
            self.metrics,
            cors=Cors(**cors.model_dump()),
            clock=time.monotonic,
            new_id=lambda: f"{dice.getrandbits(128):032x}",
            exchange_opened=self._observer.exchange_opened,
            is_draining=lambda: self._is_draining,
            reads_chats=lambda: self._dialects.any_translates,
            dialect_of=self._dialects.describe,
            deadline_header=normalised(config.server.deadline_header.encode()),
            total_timeout=config.timeouts.total,
            public_details=config.server.public_details,
            targets=tuple(backend.url for backend in config.backends),
            started=time.monotonic(),
            debug=config.logging.level == "debug",
            metrics_path=config.metrics.path if config.metrics.enabled else None,
        )

    def _probe_request(self, spec: BackendSpec, path: str, timeout: float) -> HTTPRequest:
        endpoint = self._endpoints[spec.name]
        return Request(
            origin=endpoint.origin,
            method="GET",
            target=path,
            header_lines=b"Accept: application/json\r\n" + endpoint.key_lines(named_events=False),
            connect_timeout=timeout,
            request_timeout=timeout,
        )


def _spec(backend: BackendConfig, config: Config) -> BackendSpec:
    return BackendSpec(
        backend.name,
        backend.url,
        api_prefix=backend.api_prefix,
        weight=backend.weight,
        api_key=None if backend.api_key is None else backend.api_key.get_secret_value(),
        dialect=backend.dialect,
        models=backend.models,
        max_connections=backend.max_connections,
        health_path=config.health.path,
    )


def _endpoint(backend: BackendConfig, config: Config) -> Endpoint:
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


def _dialects(config: Config) -> Dialects:
    translation = config.translation
    configured = {
        backend.name: Configured(backend.dialect, PRESETS.get(backend.profile), StreamTools(backend.stream_tools))
        for backend in config.backends
    }
    return Dialects(
        configured,
        answers=Answers(translation.answers),
        request_form=RequestForm(
            continue_assistant=translation.last_assistant == "continue", clamp_max_tokens=translation.clamp_max_tokens
        ),
        answer_form=AnswerForm(ReasoningField(translation.reasoning), call_index=translation.tool_call_index),
    )


def call_ids(dice: random.Random) -> Callable[[], str]:
    """Return what makes ids of tool calls, of the form that every tokenizer of Mistral takes."""
    letters = string.ascii_letters + string.digits
    return lambda: "".join(dice.choices(letters, k=9))


def _health_rules(config: Config) -> HealthRules:
    return HealthRules(**config.health.model_dump(exclude={"path"}))


def _timeouts(config: Config) -> Timeouts:
    return Timeouts(**config.timeouts.model_dump(exclude={"total"}))
