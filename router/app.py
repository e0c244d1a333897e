"""The composition root: builds every object from the configuration, and hands each its parts, again at each reload.

Nothing else builds anything from the configuration, and nobody imports this module but the processes and tests.

A new configuration is taken up in one step, without an `await`: no request meets a half of it. Exchanges under way go
on with what they hold; the registry, the endpoints and the dialects are one object each, changed in place. What
operators order, a backend more or less, goes the same way.
"""

import asyncio
import random
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from tornado.httpclient import HTTPRequest

from router import parts
from router.backends.backend import BackendSpec, Change
from router.backends.checker import Checker
from router.backends.roster import Updated
from router.bridging import Bridge, is_known
from router.changing import Changing
from router.config import Config, Loaded
from router.config.current import Current
from router.errors import ConfigError, ConfigFault
from router.handlers.admin import AdminDoor, Desk
from router.handlers.application import FrontDoor
from router.handlers.base import Context
from router.handlers.cors import Cors
from router.observe import logs
from router.observe.guard import Guard
from router.observe.metrics import Metrics
from router.observe.watchdog import Watchdog
from router.observer import Observer
from router.orders import Control, Order, Report
from router.recent import Told
from router.relay.endpoint import Endpoint
from router.relay.headers import ToClient
from router.relay.outside import Outside
from router.relay.probing import Prober
from router.relay.relay import Relay
from router.relay.shared import Cluster, Shared
from router.reload import LocalControl
from router.securing import Securing, read_credentials
from router.tapping import Tapping
from router.vitals import Looking
from router.wire.client import PooledHTTPClient
from router.wire.limits import ServerLimits
from router.wire.resolver import Resolver
from router.wire.service import Refused
from router.wire.wheel import Wheel


@dataclass(slots=True)
class _Running:
    """What is there from `start` on."""

    client: PooledHTTPClient
    resolver: Resolver
    shared: Shared
    relay: Relay
    checker: Checker
    prober: Prober
    context: Context
    delegate: FrontDoor
    admin: AdminDoor


class App:
    """One router: what the process serves, starts and stops."""

    def __init__(
        self,
        config: Config,
        *,
        origins: Mapping[str, str] | None = None,
        own_names: Collection[str] = (),
        worker: int | None = None,
    ) -> None:
        """Build what needs no loop; nothing runs before `start`. Raises OSError, ConfigError: a file cannot be used.

        `origins`: where each key came from. `own_names`: names and addresses of this machine, to find a backend that is
        this router. `worker`: our number, where we are one of several.
        """
        self._current = Current(config, origins or {})
        self._is_draining = False
        self._began = time.monotonic()
        self._worker = worker
        self.securing = Securing(read_credentials(config))
        self._logs = logs.setup(config.logging, worker=worker)
        self.registry = parts.registry(config)
        self._tapping = Tapping(config.middlewares)
        self.metrics = Metrics(
            backends=lambda: self.registry.snapshot(time.monotonic()),
            dropped_log_lines=lambda: self._logs.dropped,
            tls=self.securing.figures,
            vitals=lambda: self.looking.look(self.config, is_ready=self.ready),
            middlewares=self._tapping.counted,
        )
        self._tracer = parts.tracer(config, share=lambda: self.config.tracing.sample)
        self._observer = Observer(self.metrics, self._logs.access, self._tracer)
        self._watchdog = Watchdog(on_lag=self.metrics.loop_lagged, on_stall=self.metrics.loop_stalled)
        # At work are uploads too, and the one that asks is counted already.
        self._guard = Guard(parts.marks(config), at_work=lambda: self.metrics.in_flight - 1)
        self.looking = Looking(self._guard)
        self._endpoints: dict[str, Endpoint] = parts.endpoints(config)
        self._dialects = parts.dialects(config)
        self._changing = Changing(
            self._current, self.registry, take=self._take, changed=self._observer.changed, own_names=own_names
        )
        self.control: Control = LocalControl(self)  # may be another one before `start`
        self.on_limits: Callable[[ServerLimits], None] | None = None  # told the limits of clients when they change
        self.earlier: Callable[[], Sequence[int]] = tuple  # processes before us that still finish requests, by id
        self._running: _Running | None = None
        self._bridge = Bridge(self.registry, config=lambda: self.config, take=self._take)

    @classmethod
    def of(cls, loaded: Loaded, *, worker: int | None = None) -> "App":
        """Return the router of a configuration that was read. Raises OSError as the constructor does."""
        return cls(loaded.config, origins=loaded.origins, own_names=loaded.own_names, worker=worker)

    # What is served

    @property
    def config(self) -> Config:
        """Return the configuration that holds now."""
        return self._current.config

    @property
    def delegate(self) -> FrontDoor:
        """Return the application that answers clients; there is one from `start` on."""
        return self._started().delegate

    @property
    def admin_delegate(self) -> AdminDoor:
        """Return the application that answers operators; there is one from `start` on."""
        return self._started().admin

    @property
    def relay(self) -> Relay:
        """Return what runs the exchanges; there is one from `start` on."""
        return self._started().relay

    @property
    def limits(self) -> ServerLimits:
        """Return what the wire allows clients."""
        return parts.limits(self.config)

    @property
    def admin_limits(self) -> ServerLimits:
        """Return what the wire allows operators."""
        return parts.admin_limits()

    @property
    def in_flight(self) -> int:
        """Return how many exchanges are not yet closed."""
        return self.metrics.in_flight

    @property
    def ready(self) -> bool:
        """Return whether requests should be sent here."""
        return not self._is_draining and self.registry.usable_count(time.monotonic()) > 0

    @property
    def settled(self) -> bool:
        """Return whether each backend was asked once: it is down, or up and has told its models."""
        return all(map(is_known, self.registry.backends))

    def render_error(self, refused: Refused, /) -> tuple[bytes, bytes]:
        """Return the wire's own answer to a client's request, in OpenAI's form."""
        return self.delegate.render_error(refused)

    def render_admin_error(self, refused: Refused, /) -> tuple[bytes, bytes]:
        """Return the same to an operator's."""
        return self.admin_delegate.render_error(refused)

    def metrics_page(self, accept: str) -> tuple[str, bytes]:
        """Return (content type, body) of this process's own metrics, in the form that an Accept header asks for."""
        return self.metrics.render(accept)

    def recently(self) -> Told:
        """Return what happened lately in this process; to be read at once."""
        return self._observer.told(time.monotonic(), sessions=self.looking.sessions())

    # From its start to its end

    async def start(self) -> None:
        """Build what needs the running loop, and begin to watch the backends."""
        config = self.config
        resolver = Resolver(ttl=config.pool.dns_ttl)
        client = PooledHTTPClient(
            force_instance=True, keepalive_timeout=config.pool.keepalive or 0.0, resolver=resolver
        )
        shared = self._share(client)
        relay = self.looking.relay = Relay(shared)
        self._observer.on_down, self._observer.later = relay.backend_down, asyncio.get_running_loop().call_later
        checker = Checker(
            self.registry,
            client,
            rules=parts.health_rules(config),
            rng=random.Random(),  # noqa: S311  # jitter is no secret
            on_change=self._observer.changed,
            build_request=self._probe_request,
            answers=relay.answers,
        )
        prober = Prober(client, self._endpoints, self._dialects, timeout=config.health.timeout, clock=time.monotonic)
        context = self._build_context(relay)
        self._running = _Running(
            client,
            resolver,
            shared,
            relay,
            checker,
            prober,
            context,
            delegate=FrontDoor(context, parts.routes(config)),
            admin=AdminDoor(context, self._desk()),
        )
        checker.start(inspect=prober.inspect)
        self._guard.start()
        self._watchdog.start()

    def drain(self) -> None:
        """Be not ready from now on."""
        self._is_draining = True

    async def stop(self) -> None:
        """End what is under way, stop watching, close connections to backends, write the last log lines."""
        running = self._running
        self._guard.stop()
        self._watchdog.stop()
        self._bridge.stop()
        if running is not None:
            await running.relay.stop()
            await running.checker.stop()
            await running.prober.stop()
            running.client.close()
            running.resolver.close()
        self._tapping.close()
        await asyncio.to_thread(self._tapping.join)
        self._observer.settle()
        if self._tracer is not None:
            await asyncio.to_thread(self._tracer.close)
        self._logs.close()

    def reopen_logs(self) -> None:
        """Begin the log file anew, after somebody has moved it away."""
        self._logs.reopen()

    # Changes while it runs

    def apply(self, loaded: Loaded) -> list[str]:
        """Take up a configuration that was read anew; return what is different now, each in a line.

        Whole or not at all, in one step. Raises ConfigError where it cannot be used; nothing has changed then.
        """
        credentials = read_credentials(loaded.config)
        return [*self._changing.apply(loaded), *self.securing.take(credentials)]

    def carry_out(self, order: Order) -> Report:
        """Carry out an order on a backend, in this process."""
        return self._changing.carry_out(order)

    def reloaded(self, ok: bool) -> None:
        """Count a configuration that was read anew; `ok`: it was taken up."""
        self.metrics.reloaded(ok=ok)

    def changed(self, change: Change) -> None:
        """Count a change of a backend's state, and say so in the log."""
        self._observer.changed(change)

    def _take(self, wanted: Config) -> None:
        """Make `wanted` the one that holds. Raises ConfigError, before anything has changed."""
        bridged = () if self._running is None else self._bridge.needed(wanted)
        config = wanted.model_copy(update={"backends": (*wanted.backends, *bridged)}) if bridged else wanted
        specs = [parts.spec(backend, config) for backend in config.backends]
        had = self._current.config
        endpoints, routes = parts.endpoints(config, had=had, known=self._endpoints), parts.routes(config)
        tapping = self._tapping.prepare(config.middlewares)
        try:
            self._logs.change(config.logging)  # all that can fail; what follows does not
        except OSError as error:
            self._tapping.drop(tapping)
            fault = ConfigFault("logging.file", f"{config.logging.file} cannot be opened: {error.strerror or error}")
            raise ConfigError([fault]) from error
        self._current.config, self._bridge.held = wanted, bridged
        self._tapping.take(tapping, config.middlewares)
        if (had.health, had.breaker) != (config.health, config.breaker):
            self.registry.set_rules(health_rules=parts.health_rules(config), breaker_rules=parts.breaker_rules(config))
        updated = self.registry.update(specs)
        self._endpoints.clear()
        self._endpoints.update(endpoints)
        parts.tell_dialects(self._dialects, config, strangers=updated.removed)
        running = self._running
        if running is None:
            return
        self._retune(running, config, updated)
        running.context = self._build_context(running.relay)
        running.delegate.configure(running.context, routes)
        running.admin.configure(running.context, self._desk())
        if self.on_limits is not None and parts.limits(had) != parts.limits(config):
            self.on_limits(parts.limits(config))

    def _retune(self, running: _Running, config: Config, updated: Updated) -> None:
        """Tell the parts that run what holds from now on."""
        self._bridge.watch()
        running.prober.forget(updated.removed)
        running.prober.set_timeout(config.health.timeout)
        running.checker.set_rules(parts.health_rules(config))
        running.checker.sync()
        origins = {endpoint.origin for endpoint in self._endpoints.values()}
        running.client.set_keepalive(config.pool.keepalive or 0.0)
        running.client.keep_only(origins)
        running.resolver.set_ttl(config.pool.dns_ttl)
        running.resolver.keep_only({(origin.host, origin.port) for origin in origins})
        self._guard.marks = parts.marks(config)
        shared = running.shared
        shared.outside = replace(
            shared.outside, timeouts=parts.timeouts(config), to_client=ToClient(cookies=config.server.forward_cookies)
        )
        shared.set_rules(parts.retry_rules(config), parts.queue_rules(config), parts.hedge_rules(config))
        shared.resume_rules = parts.resume_rules(config)
        shared.sessions.set_rules(parts.session_rules(config))
        shared.reveal = config.server.reveal_backend

    # What it is built of

    def _started(self) -> _Running:
        if self._running is None:
            raise RuntimeError("not started")
        return self._running

    def _share(self, client: PooledHTTPClient) -> Shared:
        config, loop = self.config, asyncio.get_running_loop()
        outside = Outside(
            client,
            parts.timeouts(config),
            loop=loop,
            timers=Wheel(loop),
            clock=time.monotonic,
            wall_clock=time.time,
            dice=random.random,
            event_gaps=self.metrics.event_gaps,
            new_call_id=parts.call_ids(random.Random()),  # noqa: S311  # ids are no secrets
            to_client=ToClient(cookies=config.server.forward_cookies),
        )
        return Shared(
            Cluster(self.registry, self._endpoints, self._dialects),
            outside,
            parts.retry_rules(config),
            self._observer,
            queue_rules=parts.queue_rules(config),
            hedge_rules=parts.hedge_rules(config),
            resume_rules=parts.resume_rules(config),
            session_rules=parts.session_rules(config),
            reveal=config.server.reveal_backend,
        )

    def _build_context(self, relay: Relay) -> Context:
        config = self.config
        return Context(
            relay,
            self.registry,
            self.metrics,
            cors=Cors(**config.server.cors.model_dump()),
            clock=time.monotonic,
            new_id=parts.ids(),
            exchange_opened=self._observer.exchange_opened,
            is_draining=lambda: self._is_draining,
            reads_chats=lambda: self._dialects.any_translates,
            dialect_of=self._dialects.describe,
            scrape=self.control.metrics,
            recent=self.control.recent,
            sessions=relay.sessions if config.sessions.enabled else None,
            open_trace=None if self._tracer is None else self._tracer.open,
            started=self._began,
            worker=self._worker,
            guard=self._guard,
            middlewares=lambda: self._tapping.slots,
            **parts.answering(config),
        )

    def _desk(self) -> Desk:
        admin = self.config.admin
        token = None if admin.token is None else admin.token.get_secret_value()
        return Desk(
            self.control,
            self._current.entries,
            host=admin.host,
            token=token,
            earlier=self.earlier,
            middlewares=self._tapping.told,
        )

    def _probe_request(self, spec: BackendSpec, path: str, timeout: float) -> HTTPRequest:
        return parts.probe_request(self._endpoints[spec.name], path, timeout)
