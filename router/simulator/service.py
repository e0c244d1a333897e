"""From a request to what answers it: probes, the control endpoint, and everything that generates.

A request is noted, checked for its key, struck by a fault if one is set, and answered.
"""

import itertools
import random
import time
from collections import OrderedDict
from collections.abc import Callable
from email.utils import formatdate

import orjson

from router.simulator import metrics, probes
from router.simulator.answers import Answer, dress
from router.simulator.engine import Engine, Outlet, Run
from router.simulator.faults import FaultError, Faults, describe_faults, read_faults
from router.simulator.kept import KeptAnswers
from router.simulator.outlet import ConnectionOutlet, close, reset, spoil
from router.simulator.probes import KEPT_BODY, Seen
from router.simulator.refusals import BUSY, DEAD, NOT_ALLOWED, NOT_FOUND, UNAUTHORIZED, Refusal, refusal
from router.simulator.routes import ROUTES, Route
from router.simulator.settings import Settings
from router.simulator.wheel import TimerWheel
from router.wire.headers import RequestHeaders
from router.wire.server_connection import ServerConnection

_GUARDED = ("/v1/", "/v2/")  # what vLLM asks its key for; /tokenize, /metrics and others stay open
_KEPT_RESPONSES = 64  # answers of the Responses API that can be fetched again
_STEP = 0x9E3779B97F4A7C15  # spreads the numbers of ids over 64 bits, each once
_GONE = "cannot schedule new futures after shutdown"


class Service:
    """Answers requests. `change_faults` is called with those that the control endpoint is given."""

    def __init__(
        self, settings: Settings, *, wheel: TimerWheel, rng: random.Random, change_faults: Callable[[Faults], None]
    ) -> None:
        self.settings = settings
        self.faults = settings.faults
        self.struck = 0  # requests, since the faults were set
        self.figures = metrics.no_figures(settings)
        self.requests = probes.recent_requests()
        self.engine = Engine(settings, self.figures, wheel=wheel, dead=_tell_dead)
        self.is_closing = False
        self._wheel = wheel
        self._rng = rng
        self._change_faults = change_faults
        self._kept = KeptAnswers()
        self._responses: OrderedDict[str, bytes] = OrderedDict()
        self._numbers = itertools.count(rng.getrandbits(64), _STEP)
        self._started = time.time()
        self._second = 0
        self._created = b""
        self._common = b""
        self._probes: dict[str, Callable[[ConnectionOutlet], None]] = {
            "/ping": lambda outlet: outlet.tell(200, b""),
            "/version": lambda outlet: outlet.tell(200, orjson.dumps({"version": settings.version})),
            "/load": lambda outlet: outlet.tell(200, probes.load_body(self.figures)),
            "/metrics": self._tell_metrics,
            "/v1/models": lambda outlet: outlet.tell(200, probes.models_body(settings, created=self._second)),
        }

    def answer(
        self, connection: ServerConnection, method: str, target: str, *, headers: RequestHeaders, body: bytes
    ) -> None:
        """Answer one request, now or later."""
        now = int(time.time())
        if now != self._second:
            self._tick(now)
        path, _, query = target.partition("?")
        route = ROUTES.get(path)
        fields = headers.fields
        if not path.startswith("/simulator/"):
            self.requests.append(Seen(method, target, tuple(headers.raw), body[:KEPT_BODY]))
        common = self._common
        given = fields.get("X-Request-Id")
        if self.settings.request_id_headers:
            common += b"x-request-id: %b\r\n" % (given[0].encode("latin-1") if given else self._new_ident())
        errors = route.error_events if route else ()
        outlet = ConnectionOutlet(connection, common, error_events=errors)
        if self.settings.api_key is not None and path.startswith(_GUARDED):
            key = fields.get("Authorization")
            if key is None or key[0] != f"Bearer {self.settings.api_key}":
                self._refuse(outlet, UNAUTHORIZED)
                return
        if route is not None and method == "POST":
            ident = orjson.dumps(given[0])[1:-1] if given else self._new_ident()
            content_type = fields["Content-Type"][0] if "Content-Type" in fields else ""
            self._generate(connection, outlet, route, key=(path, content_type, body), ident=ident)
        else:
            self._answer_probe(connection, outlet, method=method, path=path, query=query, body=body)

    # ---- what generates

    def _generate(
        self,
        connection: ServerConnection,
        outlet: ConnectionOutlet,
        route: Route,
        *,
        key: tuple[str, str, bytes],
        ident: bytes,
    ) -> None:
        faults = self._strike() if self.faults.strikes_answers else None
        if faults is not None and self._end_before_answer(connection, outlet, faults):
            return
        if self.is_closing:
            self._refuse(outlet, refusal(500, _GONE))
            return
        try:
            answer = self._work_out(route, key)
        except Refusal as refused:
            self._refuse(outlet, refused)
            return
        if route.keeps and answer.body is not None:
            self._keep_response(dress(answer.body, ident, self._created))
        if not route.generates and answer.body is not None:
            outlet.tell(200, dress(answer.body, ident, self._created))
            return
        run = Run(self.engine, answer, outlet=outlet, ident=ident, created=self._created, faults=faults)
        connection.set_close_callback(lambda: self._abort(run))
        if not self.engine.submit(run):
            connection.set_close_callback(None)
            self._refuse(outlet, refusal(503, BUSY))

    def _work_out(self, route: Route, key: tuple[str, str, bytes]) -> Answer:
        answer = self._kept.get(key)
        if answer is None:
            answer = route.build(key[2], key[1], self.settings)
            self._kept.put(key, answer)
        return answer

    def _abort(self, run: Run) -> None:
        if run.state != "over":
            self.figures.aborted += 1
            self.engine.leave(run, "abort")

    def _count_abort(self) -> None:
        self.figures.aborted += 1

    def _refuse(self, outlet: ConnectionOutlet, refused: Refusal, *, extra: bytes = b"") -> None:
        self.figures.refused += 1
        outlet.tell(refused.status, refused.body, extra=extra)

    def _keep_response(self, body: bytes) -> None:
        self._responses[orjson.loads(body)["id"]] = body
        if len(self._responses) > _KEPT_RESPONSES:
            self._responses.popitem(last=False)

    # ---- faults

    def _strike(self) -> Faults | None:
        """Return the faults if they strike this request."""
        faults = self.faults
        if faults.count is not None and self.struck >= faults.count:
            return None
        if faults.rate < 1 and self._rng.random() >= faults.rate:
            return None
        self.struck += 1
        self.figures.struck += 1
        return faults

    def _end_before_answer(self, connection: ServerConnection, outlet: ConnectionOutlet, faults: Faults) -> bool:
        """Return whether the faults took the answer's place."""
        if faults.hang:
            connection.set_close_callback(self._count_abort)
        elif faults.reset:
            reset(connection)
        elif faults.close:
            close(connection)
        elif faults.garbage:
            spoil(connection)
        elif faults.status is not None:
            extra = f"retry-after: {faults.retry_after}\r\n".encode() if faults.retry_after is not None else b""
            text = faults.message or (BUSY if faults.status == 503 else "A simulated fault.")
            self._refuse(outlet, refusal(faults.status, text), extra=extra)
        else:
            return False
        return True

    # ---- what is asked of the server itself

    def _answer_probe(
        self,
        connection: ServerConnection,
        outlet: ConnectionOutlet,
        *,
        method: str,
        path: str,
        query: str,
        body: bytes,
    ) -> None:
        if path.startswith("/simulator/"):
            self._control(outlet, method=method, path=path, query=query, body=body)
        elif path == "/health" and method == "GET":
            self._answer_health(connection, outlet)
        elif path in self._probes and (method == "GET" or path == "/ping"):
            self._probes[path](outlet)
        elif path.startswith("/v1/responses/"):
            self._answer_stored(outlet, method=method, path=path)
        elif path in self._probes or path == "/health" or path in ROUTES:
            allowed = b"POST" if path in ROUTES else b"GET"
            self._refuse(outlet, NOT_ALLOWED, extra=b"allow: %b\r\n" % allowed)
        else:
            self._refuse(outlet, NOT_FOUND)

    def _answer_health(self, connection: ServerConnection, outlet: ConnectionOutlet) -> None:
        faults = self.faults
        if faults.health_hang:
            return
        status = faults.health_status or (503 if self.is_closing else 200)
        if faults.health_delay > 0:
            is_gone: list[bool] = []
            connection.set_close_callback(lambda: is_gone.append(True))
            due = self._wheel.time() + faults.health_delay
            self._wheel.at(due, lambda: None if is_gone else outlet.tell(status, b""))
        else:
            outlet.tell(status, b"")

    def _answer_stored(self, outlet: ConnectionOutlet, *, method: str, path: str) -> None:
        ident, _, action = path.removeprefix("/v1/responses/").partition("/")
        if (method, action) not in (("GET", ""), ("POST", "cancel")):
            allowed = b"GET" if not action else b"POST"
            self._refuse(outlet, NOT_ALLOWED, extra=b"allow: %b\r\n" % allowed)
        elif ident in self._responses:
            outlet.tell(200, self._responses[ident])
        else:
            self._refuse(outlet, refusal(404, f"Response with id '{ident}' not found.", param="response_id"))

    def _tell_metrics(self, outlet: ConnectionOutlet) -> None:
        self.engine.count_steps()
        text = metrics.render(self.figures, self.settings, started=self._started)
        outlet.tell(200, text, content_type=metrics.CONTENT_TYPE.encode())

    # ---- the control endpoint

    def _control(self, outlet: ConnectionOutlet, *, method: str, path: str, query: str, body: bytes) -> None:
        if path == "/simulator/stats" and method == "GET":
            shown = query.removeprefix("requests=") if query.startswith("requests=") else None
            outlet.tell(200, probes.stats_body(self.figures, self.requests, started=self._started, shown=shown))
        elif path != "/simulator/faults":
            outlet.tell(NOT_FOUND.status, NOT_FOUND.body)
        elif method in ("POST", "PUT", "DELETE"):
            try:
                described = orjson.loads(body) if body.strip() and method != "DELETE" else {}
                faults = read_faults(described if isinstance(described, dict) else {"": described})
            except (FaultError, orjson.JSONDecodeError) as error:
                outlet.tell(400, orjson.dumps({"error": str(error)}))
                return
            outlet.tell(200, orjson.dumps(describe_faults(faults)))
            self._change_faults(faults)
        else:
            outlet.tell(200, orjson.dumps(describe_faults(self.faults)))

    # ---- within

    def _tick(self, now: int) -> None:
        self._second = now
        self._created = str(now).encode()
        self._common = b"date: %b\r\nserver: uvicorn\r\n" % formatdate(now, usegmt=True).encode()

    def _new_ident(self) -> bytes:
        return b"%016x" % (next(self._numbers) & 0xFFFFFFFFFFFFFFFF)


def _tell_dead(outlet: Outlet) -> None:
    refused = refusal(500, DEAD)
    outlet.refuse(refused.status, refused.body)
