"""The making of a connection: resolve, try each address, shake hands; every failure in our own words.

Addresses are tried in their order. Each may take its share of the time that is left, so that one that does not answer
cannot use up the time of those after it.
"""

import asyncio
import errno
import ssl

from router.errors import ConnectError, ConnectTimeout
from router.wire.client_request import Origin, TLSOptions
from router.wire.connection import Connection
from router.wire.resolver import Addresses, Resolver

# No file descriptor, port or memory is left here.
_OURS = (errno.EMFILE, errno.ENFILE, errno.EADDRNOTAVAIL, errno.ENOBUFS, errno.ENOMEM)
_REFUSALS = ConnectionRefusedError | FileNotFoundError  # nobody listens there; no such Unix socket


class Dialer:
    """Connects. Keeps one TLS context per set of options, since loading authorities takes milliseconds."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> None:
        """`resolver` may be shared with others."""
        self._loop = loop
        self._resolver = resolver
        self._contexts: dict[TLSOptions, ssl.SSLContext] = {}

    def forget_contexts(self) -> None:
        """Read the files of certificates and authorities anew for the next connections."""
        self._contexts = {}  # one that is just being read goes to the old ones

    async def connect(self, connection: Connection, origin: Origin, *, within: float | None) -> None:
        """Connect `connection` to `origin` within so many seconds (None: no limit).

        Raises `ConnectError` or `ConnectTimeout`; closes `connection` when it raises anything.
        """
        try:
            async with asyncio.timeout(within) as whole:
                await self._connect(connection, origin, whole)
        except TimeoutError as error:
            connection.close()
            raise ConnectTimeout(f"no connection to {origin} in time") from error
        except BaseException:
            connection.close()
            raise

    async def _connect(self, connection: Connection, origin: Origin, whole: asyncio.Timeout) -> None:
        try:
            context = await self._context(origin)
        except OSError as error:  # ssl.SSLError is one
            raise ConnectError(f"no connection to {origin}: TLS files cannot be used: {error}") from error
        name = self._server_name(origin) if context is not None else None
        if origin.unix_path is not None:
            addresses: Addresses = (origin.unix_path,)
        else:
            addresses = await self._resolve(origin)
        failures: list[OSError] = []
        for number, address in enumerate(addresses):
            due = whole.when()
            share = None if due is None else (due - self._loop.time()) / (len(addresses) - number)
            try:
                async with asyncio.timeout(share):
                    await self._connect_to(connection, origin, address, context, name)
            except OSError as error:  # TimeoutError is one
                failures.append(error)
            else:
                connection.address = address
                return
        raise _summary(failures, origin)

    async def _connect_to(
        self, connection: Connection, origin: Origin, address: str, context: ssl.SSLContext | None, name: str | None
    ) -> None:
        loop = self._loop
        if origin.unix_path is not None:
            await loop.create_unix_connection(lambda: connection, address, ssl=context, server_hostname=name)
        else:
            await loop.create_connection(lambda: connection, address, origin.port, ssl=context, server_hostname=name)

    async def _resolve(self, origin: Origin) -> Addresses:
        try:
            return await self._resolver.resolve(origin.host, origin.port)
        except TimeoutError:
            raise  # ours
        except OSError as error:
            raise ConnectError(f"no connection to {origin}: {error.strerror or 'the name does not resolve'}") from error

    def _server_name(self, origin: Origin) -> str:
        named = origin.tls.server_name if isinstance(origin.tls, TLSOptions) else None
        return named or origin.host

    async def _context(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme != "https":
            return None
        if isinstance(origin.tls, ssl.SSLContext):
            return origin.tls
        options = origin.tls or TLSOptions()
        contexts = self._contexts
        context = contexts.get(options)
        if context is None:
            context = await self._loop.run_in_executor(None, make_context, options)
            contexts[options] = context
        return context


def make_context(options: TLSOptions) -> ssl.SSLContext:
    """Return a client's context. Reads files; raises OSError (ssl.SSLError is one)."""
    context = ssl.create_default_context(cafile=options.ca_file)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if options.cert_file is not None:
        context.load_cert_chain(options.cert_file, options.key_file)
    context.set_alpn_protocols(["http/1.1"])
    return context


def _summary(failures: list[OSError], origin: Origin) -> Exception:
    """Say in one error what each address did: refused only if all refused, a timeout if nothing tells more."""
    telling = [error for error in failures if not isinstance(error, TimeoutError | _REFUSALS)]
    if telling:
        ours = any(error.errno in _OURS for error in telling)
        return ConnectError(f"no connection to {origin}: {_reason(telling[-1])}", ours=ours)
    if all(isinstance(error, _REFUSALS) for error in failures):
        return ConnectError(f"no connection to {origin}: refused", refused=True)
    return ConnectTimeout(f"no connection to {origin} in time")


def _reason(error: OSError) -> str:
    if isinstance(error, ssl.SSLError):
        return "TLS failed: " + (getattr(error, "verify_message", "") or error.reason or type(error).__name__)
    return error.strerror or type(error).__name__
