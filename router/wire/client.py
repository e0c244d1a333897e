"""The HTTP/1.1 client: Tornado's `AsyncHTTPClient`, thin over a pool of connections per origin.

`AsyncHTTPClient.configure("router.wire.client.PooledHTTPClient")` makes it Tornado's default. What differs from
Tornado's own:

- connections are kept alive; cancelling the future of `fetch` closes the connection at once, in every phase;
- errors below HTTP are the `WireError`s of router.errors, whatever `raise_error` says; a cut answer is never a success;
- redirects are never followed, bodies never inflated, nothing is ever sent twice: the caller knows what may be.
"""

import asyncio
from collections.abc import Callable, Collection
from dataclasses import replace
from typing import Any

from tornado.httpclient import AsyncHTTPClient, HTTPRequest, HTTPResponse

from router.wire.answer import MAX_HEADER_BYTES, AnswerLimits
from router.wire.client_request import Head, Origin, Request, TLSOptions, encode_head, parse_url
from router.wire.dialer import Dialer
from router.wire.fetch import Fetch, Response
from router.wire.plain import translate
from router.wire.pool import KEEPALIVE, Pool, PoolRules
from router.wire.resolver import Resolver

__all__ = ["Head", "Origin", "PooledHTTPClient", "Request", "Response", "TLSOptions", "parse_url"]

MAX_BODY_SIZE = 64 * 1024 * 1024  # bytes of a body that is not streamed; as much as a client may send us
MAX_POOLS = 1000  # origins remembered; a router has at most some hundreds of backends
NO_ANSWER = 599  # Tornado's code of a response that is none


class PooledHTTPClient(AsyncHTTPClient):
    """See the module's docstring."""

    def initialize(  # type: ignore[override]  # Configurable: each implementation has its own arguments
        self,
        *,
        max_connections_per_origin: int | None = None,
        keepalive_timeout: float = KEEPALIVE,
        max_header_bytes: int = MAX_HEADER_BYTES,
        max_body_size: int = MAX_BODY_SIZE,
        resolver: Resolver | None = None,
        defaults: dict[str, Any] | None = None,
    ) -> None:
        """Timeouts are seconds, sizes bytes. `defaults`: as Tornado's, for plain requests only."""
        super().initialize(defaults=defaults)
        self._loop: asyncio.AbstractEventLoop = self.io_loop.asyncio_loop  # type: ignore[attr-defined]  # of every loop
        self._rules = PoolRules(
            keepalive=keepalive_timeout,
            max_connections=max_connections_per_origin,
            limits=AnswerLimits(header_bytes=max_header_bytes),
        )
        self._max_body_size = max_body_size
        self._owns_resolver = resolver is None
        self._resolver = resolver if resolver is not None else Resolver()
        self._dialer = Dialer(loop=self._loop, resolver=self._resolver)
        self._pools: dict[Origin, Pool] = {}
        self._retired: set[Pool] = set()  # of origins that nobody asks any more, while something is open

    def __repr__(self) -> str:
        """Show the pools."""
        return f"<PooledHTTPClient {list(self._pools.values())}>"

    def fetch(self, request: str | HTTPRequest, raise_error: bool = True, **kwargs: Any) -> Fetch:
        """Send a request; the future's result is the response.

        Raises at once what is wrong with the request (ValueError, NotImplementedError). The future raises a
        `WireError`, what a callback raised, or, with `raise_error`, Tornado's HTTPError for a status outside 200 to
        299.
        """
        if self._closed:
            raise RuntimeError("fetch() called on closed AsyncHTTPClient")
        if not isinstance(request, HTTPRequest):
            request = HTTPRequest(request, **kwargs)
        elif kwargs:
            raise ValueError("kwargs can't be used if request is an HTTPRequest object")
        if not isinstance(request, Request) or request.origin is None:
            request = translate(request, self.defaults)
        origin = request.origin
        assert origin is not None
        pool = self._pools.get(origin) or self._open_pool(origin)
        head = encode_head(request, pool.host_line)
        fetch = Fetch(request, head, loop=self._loop, raise_error=raise_error, max_body_size=self._max_body_size)
        pool.start(fetch)
        return fetch

    def fetch_impl(self, request: HTTPRequest, callback: Callable[[HTTPResponse], None]) -> None:
        """Tornado's inner seam, for those who call it; `fetch` does not, since it could not be cancelled."""
        original: HTTPRequest = getattr(request, "request", request)  # out of Tornado's proxy

        def report(fetch: asyncio.Future[HTTPResponse]) -> None:
            if fetch.cancelled():
                return
            error = fetch.exception()
            callback(fetch.result() if error is None else HTTPResponse(original, NO_ANSWER, error=error))

        self.fetch(original, raise_error=False).add_done_callback(report)

    def set_keepalive(self, seconds: float) -> None:
        """Keep idle connections for so long from now on."""
        self._rules = replace(self._rules, keepalive=seconds)
        for pool in self._pools.values():
            pool.change(self._rules)

    def keep_only(self, origins: Collection[Origin]) -> None:
        """Forget all other origins: what is idle is closed now, what is at work when it is done.

        The files of certificates are read anew by the next connections to those that stay.
        """
        for origin in [known for known in self._pools if known not in origins]:
            pool = self._pools.pop(origin)
            self._retired.add(pool)
            pool.retire(self._retired.discard)
        self._dialer.forget_contexts()
        if self._owns_resolver:
            self._resolver.keep_only({(origin.host, origin.port) for origin in origins})

    def close(self) -> None:
        """Close every connection; fetches that run fail with `ConnectionLost`."""
        if self._closed:
            return
        super().close()
        for pool in [*self._pools.values(), *self._retired]:
            pool.close()
        self._pools.clear()
        if self._owns_resolver:
            self._resolver.close()

    def _open_pool(self, origin: Origin) -> Pool:
        if len(self._pools) >= MAX_POOLS:
            for old in [known for known, pool in self._pools.items() if pool.is_empty]:
                del self._pools[old]
        pool = Pool(origin, self._rules, loop=self._loop, dialer=self._dialer, resolver=self._resolver)
        self._pools[origin] = pool
        return pool
