"""The certificates that our listeners show: read at the start, and anew whenever the configuration is.

Reading comes first and may fail; taking up what was read does not, so a bad certificate changes nothing.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from router.config.certificates import Certificate, read_certificate
from router.config.schema import Config, ServerTLSConfig
from router.errors import ConfigError, ConfigFault
from router.wire.tls import ServerTLS, server_context


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a listener shows; None for one that speaks no TLS."""

    context: ssl.SSLContext | None = None
    certificate: Certificate | None = None


@dataclass(frozen=True, slots=True)
class Both:
    """What both listeners show."""

    clients: Credentials = Credentials()
    operators: Credentials = Credentials()


def read_credentials(config: Config) -> Both:
    """Return what is configured, as the files are now. Raises ConfigError."""
    return Both(_read(config.server.tls, "server.tls"), _read(config.admin.tls, "admin.tls"))


def _read(tls: ServerTLSConfig, place: str) -> Credentials:
    if tls.cert_file is None:
        return Credentials()
    options = ServerTLS(
        tls.cert_file, tls.key_file, tls.client_ca_file, client_auth=tls.client_auth, min_version=tls.min_version
    )
    try:
        return Credentials(server_context(options), read_certificate(tls.cert_file))
    except (OSError, ValueError) as error:  # changed since they were checked
        raise ConfigError([ConfigFault(place, f"its files cannot be used: {error}")]) from error


class Shown:
    """Which credentials hold now on one listener."""

    def __init__(self, credentials: Credentials, place: str) -> None:
        """Those that hold from the start. `place`: of the configuration."""
        self.credentials = credentials
        self.handshakes_failed = 0
        self.on_change: Callable[[ssl.SSLContext | None], None] | None = None  # told what holds from now on
        self._place = place

    def handshake_failed(self) -> None:
        """Count somebody with whom there was no TLS."""
        self.handshakes_failed += 1

    def take(self, credentials: Credentials) -> list[str]:
        """Show them to new connections from now on; return what is different, each in a line."""
        before, self.credentials = self.credentials, credentials
        if self.on_change is not None:
            self.on_change(credentials.context)
        now = credentials.certificate
        if now is None or before.certificate is None or now.ders == before.certificate.ders:
            return []
        return [f"{self._place}.cert_file: another certificate, good until {now.until}"]


class Securing:
    """Which credentials hold now, on the clients' listener and on the operators'."""

    def __init__(self, credentials: Both) -> None:
        """Those that hold from the start."""
        self.clients = Shown(credentials.clients, "server.tls")
        self.operators = Shown(credentials.operators, "admin.tls")

    def figures(self) -> tuple[float | None, int]:
        """Return when the first certificate ends (seconds since 1970, None: there is none), and failed handshakes."""
        both = (self.clients, self.operators)
        ends = [shown.credentials.certificate.expires for shown in both if shown.credentials.certificate is not None]
        return min(ends, default=None), sum(shown.handshakes_failed for shown in both)

    def take(self, credentials: Both) -> list[str]:
        """Show them to new connections from now on; return what is different, each in a line."""
        return [*self.clients.take(credentials.clients), *self.operators.take(credentials.operators)]
