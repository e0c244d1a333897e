"""The making of a connection: resolve, try each address, shake hands; every failure in our own words.

Addresses are tried in their order. Each may take its share of the time that is left, so that one that does not answer
cannot use up the time of those after it.
"""

import asyncio
import ssl

from router.errors import ConnectError, ConnectTimeout
from router.wire.client_request import Origin, TLSOptions
from router.wire.connection import Connection
from router.wire.resolver import Resolver


class Dialer:
    """Connects. Keeps one TLS context per set of options, since loading authorities takes milliseconds."""

    def __init__(self, *, loop: asyncio.AbstractEventLoop, resolver: Resolver) -> None:
        """`resolver` may be shared with others."""
        self._loop = loop
        self._resolver = resolver
        self._contexts: dict[TLSOptions, ssl.SSLContext] = {}

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
            name = self._server_name(origin)
            if origin.unix_path is not None:
                await self._loop.create_unix_connection(
                    lambda: connection, origin.unix_path, ssl=context, server_hostname=name if context else None
                )
                connection.address = origin.unix_path
                return
            addresses = list(await self._resolver.resolve(origin.host, origin.port))
        except TimeoutError:
            raise
        except OSError as error:
            raise _translated(error, origin) from error
        failures: list[OSError] = []
        while addresses:
            address = addresses.pop(0)
            due = whole.when()
            share = None if due is None else (due - self._loop.time()) / (len(addresses) + 1)
            try:
                async with asyncio.timeout(share):
                    await self._loop.create_connection(
                        lambda: connection, address, origin.port, ssl=context, server_hostname=name if context else None
                    )
            except OSError as error:  # TimeoutError is one
                failures.append(error)
            else:
                connection.address = address
                return
        raise _worst(failures, origin)

    def _server_name(self, origin: Origin) -> str:
        named = origin.tls.server_name if isinstance(origin.tls, TLSOptions) else None
        return named or origin.host

    async def _context(self, origin: Origin) -> ssl.SSLContext | None:
        if origin.scheme != "https":
            return None
        if isinstance(origin.tls, ssl.SSLContext):
            return origin.tls
        options = origin.tls or TLSOptions()
        context = self._contexts.get(options)
        if context is None:
            context = await self._loop.run_in_executor(None, make_context, options)
            self._contexts[options] = context
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


def _translated(error: OSError, origin: Origin) -> ConnectError:
    """Return it as ours. Refused is what says that nobody listens."""
    refused = isinstance(error, ConnectionRefusedError | FileNotFoundError)
    if isinstance(error, ssl.SSLError):
        reason = "TLS failed: " + (getattr(error, "verify_message", "") or error.reason or type(error).__name__)
    else:
        reason = error.strerror or type(error).__name__
    return ConnectError(f"no connection to {origin}: {reason}", refused=refused)


def _worst(failures: list[OSError], origin: Origin) -> Exception:
    """Sum up what each address did: refused only if all of them refused, a timeout only if nothing else is known."""
    others = [error for error in failures if not isinstance(error, TimeoutError)]
    if not others:
        return ConnectTimeout(f"no connection to {origin} in time")
    kinder = [error for error in others if not isinstance(error, ConnectionRefusedError)]
    if not kinder and len(others) < len(failures):
        return ConnectTimeout(f"no connection to {origin} in time")
    return _translated((kinder or others)[-1], origin)
