"""What the router says of itself: what it is, whether it lives, is ready and healthy, its models, its metrics."""

import asyncio
import datetime

import orjson

from router import __version__
from router.errors import NONE_LISTED, NoBackend, UnknownModel
from router.handlers.base import BaseHandler, Context
from router.observe.page import WORTH_PACKING, Form, packed, takes_gzip

NAME = "devstral-router"


class AboutHandler(BaseHandler):
    """GET / : what this is."""

    route_label = "/"
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with name, version and where to go."""
        self.send_json(
            {
                "name": NAME,
                "version": __version__,
                "description": "OpenAI-compatible router in front of a cluster of vLLM servers",
                "status": "running",
                "api": "/v1",
                "models": "/v1/models",
                "health": "/health",
                "metrics": self.context.metrics_path,
            }
        )

    head = get


class HealthHandler(BaseHandler):
    """GET /health : 200 while a backend is usable, else 503; the fields that clients of older proxies know."""

    route_label = "/health"
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with the state of the cluster."""
        context = self.context
        now = context.clock()
        statuses = context.registry.snapshot(now)
        usable = sum(status.usable for status in statuses)
        state = "disconnected" if not usable else "connected" if usable == len(statuses) else "degraded"
        fields: dict[str, object] = {
            "status": "healthy" if usable else "unhealthy",
            "service": "llm-proxy",
            "proxy": NAME,
            "version": __version__,
            "uptime": str(datetime.timedelta(seconds=round(now - context.started))),
            "vllm_status": state,
            "debug_mode": context.debug,
            "supported_models": context.registry.known_models(),
            "timestamp": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
            "auth_enabled": False,
            "backends": [
                {
                    "name": status.name,
                    "usable": status.usable,
                    "health": status.health.value,
                    "breaker": status.breaker.value,
                    "cause": status.cause or None,
                    "in_flight": status.in_flight,
                    "models": status.models,
                    "listing": status.listing.value,
                    **context.dialect_of(status.name),
                    "resting_for": round(status.resting_for, 3),
                    **({"url": status.url} if context.public_details else {}),
                }
                for status in statuses
            ],
        }
        if context.public_details:
            fields["target"] = fields["vllm_target"] = ",".join(context.targets)
            fields["tokens_count"] = sum(backend.spec.api_key is not None for backend in context.registry.backends)
        self.send_json(fields, 200 if usable else 503)

    head = get


class PingHandler(BaseHandler):
    """GET /ping, /livez : the process lives. POST /ping as vLLM and SageMaker have it."""

    route_label = "/livez"
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with 200."""
        self.send_json({"status": "ok"})

    head = post = get

    def allowed_methods(self) -> tuple[str, ...]:
        """Return the methods that the path takes."""
        return ("GET", "HEAD", "POST")


class ReadyHandler(BaseHandler):
    """GET /readyz : 200 while requests should be sent here; 503 while draining or without a usable backend."""

    route_label = "/readyz"
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with what is missing."""
        usable = self.context.registry.usable_count(self.context.clock())
        reason = "draining" if self.context.is_draining() else None if usable else "no usable backend"
        body = {"status": "ready"} if reason is None else {"status": "not ready", "reason": reason}
        self.send_json(body, 200 if reason is None else 503)

    head = get


class VersionHandler(BaseHandler):
    """GET /version."""

    route_label = "/version"
    is_quiet = True

    def get(self, *args: str) -> None:
        """Answer with our version, in vLLM's form."""
        self.send_json({"version": __version__})

    head = get


class MetricsHandler(BaseHandler):
    """GET /metrics : Prometheus text, OpenMetrics or JSON where that is asked for; `?format=json` for browsers."""

    route_label = "/metrics"
    is_quiet = True

    async def get(self, *args: str) -> None:  # type: ignore[override]  # Tornado awaits what is awaitable
        """Answer with all counts."""
        accept = Form.JSON.value if self.request.query == "format=json" else self.request.headers.get("Accept", "")
        content_type, body = await self.context.scrape(accept)
        extra = b"Vary: Accept, Accept-Encoding\r\n"
        if len(body) >= WORTH_PACKING and takes_gzip(self.request.headers.get("Accept-Encoding", "")):
            body = await asyncio.to_thread(packed, body)  # several milliseconds, in which streams go on
            extra += b"Content-Encoding: gzip\r\n"
        self.send(200, content_type, body, extra=extra)

    head = get  # type: ignore[assignment]


class ModelsHandler(BaseHandler):
    """GET /v1/models : the union of what usable backends list; /v1/models/{id} : one of them."""

    route_label = "/v1/models"

    def initialize(self, context: Context, name: str | None) -> None:  # type: ignore[override]
        """`name`: of one model, None for the list."""
        self._name = name
        self.route_label = self.label_of(name)
        super().initialize(context)

    @classmethod
    def label_of(cls, name: str | None) -> str:
        """Return the route of one model, or of the list."""
        return cls.route_label if name is None else f"{cls.route_label}/{{id}}"

    def get(self, *args: str) -> None:
        """Answer from what the backends have listed."""
        registry = self.context.registry
        models = registry.models(now=self.context.clock())
        if not models and not registry.known_models():
            raise NoBackend(NONE_LISTED, retry_after=1)
        if self._name is None:
            self.send(200, "application/json", orjson.dumps({"object": "list", "data": models}))
            return
        for model in models:
            if model.get("id") == self._name:
                self.send_json(model)
                return
        names = ", ".join(f"`{model.get('id')}`" for model in models[:20])
        raise UnknownModel(f"The model `{self._name[:200]}` does not exist. Available models: {names}.", param="model")

    head = get
