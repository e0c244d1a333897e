"""The one schema: every key, its kind and its default. `conf/router.yaml` and docs/configuration.md give the reasons.

Models are frozen and their attributes plain values: seconds are floats, sizes are ints in bytes, off is None.
Rules that need two sections or two backends are in `checks`.
"""

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, SecretStr, model_validator

from router.config.address import DEFAULT_API_PREFIX, is_loopback, parse_address, parse_host, parse_path, parse_prefix
from router.config.middlewares import MAX_MIDDLEWARES, MiddlewareConfig
from router.config.section import Section, none_is_empty
from router.config.values import (
    DELAY,
    DURATION,
    FLAG,
    HEADER,
    SECRET,
    SHARE,
    SIZE,
    SIZE_OR_OFF,
    TIMEOUT,
    WAIT,
    WHOLE_SECONDS,
    Kind,
    choice,
    list_of,
    matching,
    parse_header_or_all,
    parse_memory,
    parse_text,
    show,
    show_memory,
    text_or_off,
    whole,
    whole_or_auto,
    whole_or_off,
)
from router.translate.profile import PRESETS

PATH = matching(r"/[A-Za-z0-9._~!$&'()*+,;=:@%/-]*", "a path that starts with /")
HEADERS = list_of(HEADER.parse)
ALLOWED_HEADERS = list_of(parse_header_or_all)
_METHODS = ("GET", "POST", "PUT", "DELETE", "PATCH")
METHOD = choice(_METHODS, same={word.lower(): word for word in _METHODS})
# it stands in metric labels and in a header
NAME = matching(r"[A-Za-z0-9._:/\[\]-]{1,128}", "a name of letters, digits and . _ : / [ ] -")
COLLECTOR = matching(r"https?://[A-Za-z0-9._:/\[\]~-]{1,1024}", "a URL that starts with http:// or https://")
MODELS = list_of(parse_text)
WORDS = list_of(parse_text)
FILE = text_or_off()
ZONE = text_or_off()
WORKERS = whole_or_auto(1, 64)
MEMORY = Kind(parse_memory, show_memory)
MAX_BACKENDS = 1000


def _address_text(value: object) -> str:
    return parse_address(value).url


class CorsConfig(Section):
    """What browsers may do; the defaults are those of vLLM's own server."""

    enabled: Annotated[bool, FLAG] = True
    allow_origins: Annotated[tuple[str, ...], WORDS] = ("*",)
    allow_methods: Annotated[tuple[str, ...], WORDS] = ("*",)
    allow_headers: Annotated[tuple[str, ...], ALLOWED_HEADERS] = ("*",)
    allow_credentials: Annotated[bool, FLAG] = False
    max_age: Annotated[int, WHOLE_SECONDS] = 600


class ExtraRoute(Section):
    """One more exact path that is passed through."""

    method: Annotated[str, METHOD] = "POST"
    path: Annotated[str, PATH]


class ServerTLSConfig(Section):
    """How a listener of ours speaks TLS: it does where there is a certificate."""

    cert_file: Annotated[str | None, FILE] = None
    key_file: Annotated[str | None, FILE] = None  # None: in cert_file
    min_version: Annotated[str, choice(("1.2", "1.3"))] = "1.2"
    client_auth: Annotated[str, choice(("off", "optional", "required"), same={"none": "off"})] = "off"
    client_ca_file: Annotated[str | None, FILE] = None

    @model_validator(mode="after")
    def _goes_together(self) -> "ServerTLSConfig":
        if self.cert_file is None and (self.key_file or self.client_ca_file or self.client_auth != "off"):
            raise ValueError("cert_file is missing: without a certificate there is no TLS")
        if self.client_auth != "off" and self.client_ca_file is None:
            raise ValueError(f"client_auth: {self.client_auth} needs a client_ca_file: whose certificates are good?")
        if self.client_auth == "off" and self.client_ca_file is not None:
            raise ValueError("client_ca_file is given, but client_auth is off: say client_auth: required, or optional")
        return self


class ServerConfig(Section):
    """Our own listener, and the limits of what clients may send."""

    host: Annotated[str, Kind(parse_host, show)] = "0.0.0.0"
    port: Annotated[int, whole(0, 65535)] = 9000  # 0: any free one
    unix_socket: Annotated[str | None, FILE] = None
    backlog: Annotated[int, whole(1, 65535)] = 2048
    path_prefixes: Annotated[tuple[str, ...], list_of(parse_prefix)] = ("/v1", "/api/v1", "/")
    extra_routes: Annotated[tuple[ExtraRoute, ...], BeforeValidator(none_is_empty)] = ()
    max_start_line: Annotated[int, SIZE] = 8 << 10
    max_header_bytes: Annotated[int, SIZE] = 32 << 10
    max_headers: Annotated[int, whole(1, 10_000)] = 100
    max_body: Annotated[int, SIZE] = 64 << 20
    headers_timeout: Annotated[float | None, TIMEOUT] = 10.0
    body_timeout: Annotated[float | None, TIMEOUT] = 60.0
    idle_timeout: Annotated[float | None, TIMEOUT] = 75.0
    write_stall_timeout: Annotated[float | None, TIMEOUT] = 60.0
    max_connections: Annotated[int | None, whole_or_off(1, 1_000_000)] = 10_000
    drain_timeout: Annotated[float, WAIT] = 600.0  # 0: what is at work is cut at once
    drain_delay: Annotated[float, WAIT] = 0.0  # not ready for so long before listening ends
    workers: Annotated[int, WORKERS] = 1  # processes; 0: one per CPU
    watch_config: Annotated[bool, FLAG] = True
    deadline_header: Annotated[str, HEADER] = "X-Request-Timeout"
    reveal_backend: Annotated[bool, FLAG] = False
    public_details: Annotated[bool, FLAG] = False
    public_status: Annotated[bool, FLAG] = False
    forward_authorization: Annotated[bool, FLAG] = False
    forward_cookies: Annotated[bool, FLAG] = False
    tls: ServerTLSConfig = ServerTLSConfig()
    cors: CorsConfig = CorsConfig()


class AdminConfig(Section):
    """The listener for operators: backends, reload. Never on the public port."""

    enabled: Annotated[bool, FLAG] = True
    host: Annotated[str, Kind(parse_host, show)] = "127.0.0.1"
    port: Annotated[int, whole(0, 65535)] = 9001  # 0: any free one
    token: Annotated[SecretStr | None, SECRET] = None
    tls: ServerTLSConfig = ServerTLSConfig()

    @model_validator(mode="after")
    def _token_beyond_this_machine(self) -> "AdminConfig":
        if self.enabled and self.token is None and not is_loopback(self.host):
            raise ValueError("host is open to other machines; set a token, or host: 127.0.0.1")
        return self


class TLSConfig(Section):
    """How an https backend is trusted, and how we prove who we are."""

    verify: Annotated[bool, FLAG] = True
    ca_file: Annotated[str | None, FILE] = None  # None: the system's authorities
    server_name: Annotated[str | None, FILE] = None  # None: the host of the url
    cert_file: Annotated[str | None, FILE] = None
    key_file: Annotated[str | None, FILE] = None

    @model_validator(mode="after")
    def _key_with_certificate(self) -> "TLSConfig":
        if self.key_file is not None and self.cert_file is None:
            raise ValueError("key_file needs a cert_file beside it")
        return self


class BackendConfig(Section):
    """One upstream server. A path in its url is taken as api_prefix."""

    url: Annotated[str, Kind(_address_text, show)]
    api_prefix: Annotated[str, Kind(parse_path, lambda value: value or "/")] = DEFAULT_API_PREFIX
    name: Annotated[str, NAME] = ""  # filled in: host:port
    zone: Annotated[str | None, ZONE] = None  # told and shown, decides nothing
    weight: Annotated[int, whole(1, 100)] = 1
    api_key: Annotated[SecretStr | None, SECRET] = None
    dialect: Annotated[str, choice(("auto", "openai", "mistral"))] = "auto"
    profile: Annotated[str, choice(("auto", *PRESETS))] = "auto"  # auto: found by asking the backend
    stream_tools: Annotated[str, choice(("auto", "passthrough", "emulate"))] = "auto"
    models: Annotated[tuple[str, ...], MODELS] = ()
    max_connections: Annotated[int | None, whole_or_off(1, 100_000)] = None
    tls: TLSConfig = TLSConfig()

    @model_validator(mode="before")
    @classmethod
    def _from_url(cls, data: Any) -> Any:
        """Take the path of the url as api_prefix, and host:port as name. A bad url is reported by its field."""
        if not isinstance(data, dict):
            return data
        try:
            address = parse_address(data.get("url"))
        except ValueError:
            return data
        filled = {"name": address.name, **data}
        if address.api_prefix is not None:
            given = data.get("api_prefix", address.api_prefix)
            if not isinstance(given, str) or given.rstrip("/") != address.api_prefix:
                raise ValueError("url has a path and api_prefix is another one; give the path once")
            filled["api_prefix"] = address.api_prefix
        return filled

    @model_validator(mode="after")
    def _tls_needs_https(self) -> "BackendConfig":
        if self.tls != TLSConfig() and not self.url.startswith("https:"):
            raise ValueError("tls is given, but the url does not start with https://")
        return self


class RoutingConfig(Section):
    """How a backend is chosen."""

    policy: Annotated[str, choice(("round_robin",))] = "round_robin"


class HealthConfig(Section):
    """Active checks."""

    enabled: Annotated[bool, FLAG] = True
    path: Annotated[str, PATH] = "/health"
    interval: Annotated[float, DURATION] = 2.0
    timeout: Annotated[float, DURATION] = 5.0
    fall: Annotated[int, whole(1, 100)] = 3
    rise: Annotated[int, whole(1, 100)] = 2
    jitter: Annotated[float, SHARE] = 0.2
    models_interval: Annotated[float, DURATION] = 10.0
    slow_start: Annotated[float, WAIT] = 30.0  # 0: a backend that comes back gets its whole share at once
    hung_after: Annotated[float | None, TIMEOUT] = 15.0
    load_interval: Annotated[float, DURATION] = 5.0
    warm_up: Annotated[bool, FLAG] = False
    warm_up_timeout: Annotated[float, DURATION] = 120.0
    max_down_for: Annotated[float, DURATION] = 60.0


class BreakerConfig(Section):
    """When a backend that fails requests is left alone."""

    enabled: Annotated[bool, FLAG] = True
    failures: Annotated[int, whole(1, 10_000)] = 5
    error_rate: Annotated[float, SHARE] = 0.5
    min_requests: Annotated[int, whole(1, 100_000)] = 20
    window: Annotated[float, DURATION] = 30.0
    open_for: Annotated[float, DURATION] = 10.0
    max_open_for: Annotated[float, DURATION] = 300.0

    @model_validator(mode="after")
    def _order(self) -> "BreakerConfig":
        if self.max_open_for < self.open_for:
            raise ValueError("max_open_for must not be less than open_for")
        return self


class RetryConfig(Section):
    """When a failed attempt is repeated elsewhere."""

    max_attempts: Annotated[int, whole(1, 100)] = 3  # the first one included
    budget: Annotated[float, SHARE] = 0.2
    budget_min: Annotated[int, whole(0, 10_000)] = 3
    base_delay: Annotated[float, DELAY] = 0.05
    max_delay: Annotated[float, DELAY] = 2.0  # wins over base_delay


class ResumeConfig(Section):
    """How a broken stream is finished on another backend."""

    mode: Annotated[str, choice(("text", "exact", "off"))] = "text"
    max_attempts: Annotated[int, whole(1, 100)] = 3  # further backends for one stream
    max_length: Annotated[int, SIZE] = 256 << 10


class HedgeConfig(Section):
    """When a second attempt runs beside a slow first one."""

    after: Annotated[float | None, TIMEOUT] = 2.0
    chat: Annotated[bool, FLAG] = False


class OverloadConfig(Section):
    """What happens when more comes than can be done."""

    queue_size: Annotated[int, whole(0, 100_000)] = 1000  # 0: nobody waits
    queue_timeout: Annotated[float, DURATION] = 30.0
    max_memory: Annotated[int | str | None, MEMORY] = "auto"  # auto: 90 % of the cgroup's limit
    max_descriptors: Annotated[float, SHARE] = 0.9


class TimeoutsConfig(Section):
    """How long a backend may take."""

    connect: Annotated[float, DURATION] = 2.0
    first_byte: Annotated[float | None, TIMEOUT] = 120.0
    unstreamed: Annotated[float | None, TIMEOUT] = 600.0  # the same, where the answer comes in one piece
    idle: Annotated[float | None, TIMEOUT] = 60.0
    total: Annotated[float | None, TIMEOUT] = None
    keepalive_after: Annotated[float | None, TIMEOUT] = 20.0


class TranslationConfig(Section):
    """What becomes of requests and answers on their way (docs/translation.md)."""

    answers: Annotated[str, choice(("auto", "strict", "as_is"))] = "auto"
    reasoning: Annotated[str, choice(("off", "reasoning_content", "reasoning", "both"))] = "reasoning_content"
    tool_call_index: Annotated[bool, FLAG] = False
    last_assistant: Annotated[str, choice(("new_turn", "continue"))] = "new_turn"
    clamp_max_tokens: Annotated[bool, FLAG] = False


class SessionsConfig(Section):
    """How conversations are known again, and kept at the backend that has them in its cache (docs/sessions.md)."""

    enabled: Annotated[bool, FLAG] = False
    max_sessions: Annotated[int, whole(100, 1_000_000)] = 10_000  # of each worker
    ttl: Annotated[float, DURATION] = 3600.0  # without a request
    affinity: Annotated[bool, FLAG] = True
    headers: Annotated[tuple[str, ...], HEADERS] = ("X-Session-Id", "X-Cylestio-Conversation-Id")  # that carry an id


class PoolConfig(Section):
    """Connections to backends between requests."""

    keepalive: Annotated[float | None, TIMEOUT] = 4.0  # vLLM's server closes after 5
    dns_ttl: Annotated[float, DURATION] = 30.0


class LoggingConfig(Section):
    """The application's log and the access log."""

    level: Annotated[str, choice(("debug", "info", "warning", "error", "critical"), same={"warn": "warning"})] = "info"
    format: Annotated[str, choice(("json", "text"))] = "json"
    file: Annotated[str | None, FILE] = None  # None: standard error
    max_size: Annotated[int | None, SIZE_OR_OFF] = 10 << 20  # None: never rotated by us
    backups: Annotated[int, whole(0, 1000)] = 5
    access: Annotated[bool, FLAG] = True
    sample: Annotated[float, SHARE] = 1.0  # of the exchanges that went well; all others have their line
    headers: Annotated[tuple[str, ...], HEADERS] = ()  # of requests, told in access lines; secrets are masked


class MetricsConfig(Section):
    """What Prometheus reads."""

    enabled: Annotated[bool, FLAG] = True
    path: Annotated[str, PATH] = "/metrics"


class DocsConfig(Section):
    """/openapi.json, /docs and /redoc, on both listeners."""

    enabled: Annotated[bool, FLAG] = True


class TracingConfig(Section):
    """Spans, for a collector of OpenTelemetry."""

    enabled: Annotated[bool, FLAG] = False
    endpoint: Annotated[str, COLLECTOR] = "http://127.0.0.1:4318"
    sample: Annotated[float, SHARE] = 1.0  # of the traces that begin here
    service_name: Annotated[str, NAME] = "devstral-router"


class Config(Section):
    """The whole configuration."""

    server: ServerConfig = ServerConfig()
    admin: AdminConfig = AdminConfig()
    backends: Annotated[tuple[BackendConfig, ...], BeforeValidator(none_is_empty)] = ()
    routing: RoutingConfig = RoutingConfig()
    health: HealthConfig = HealthConfig()
    breaker: BreakerConfig = BreakerConfig()
    retry: RetryConfig = RetryConfig()
    resume: ResumeConfig = ResumeConfig()
    hedge: HedgeConfig = HedgeConfig()
    overload: OverloadConfig = OverloadConfig()
    timeouts: TimeoutsConfig = TimeoutsConfig()
    translation: TranslationConfig = TranslationConfig()
    sessions: SessionsConfig = SessionsConfig()
    pool: PoolConfig = PoolConfig()
    logging: LoggingConfig = LoggingConfig()
    metrics: MetricsConfig = MetricsConfig()
    docs: DocsConfig = DocsConfig()
    tracing: TracingConfig = TracingConfig()
    middlewares: Annotated[
        tuple[MiddlewareConfig, ...], BeforeValidator(none_is_empty), Field(max_length=MAX_MIDDLEWARES)
    ] = ()
