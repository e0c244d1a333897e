"""The certificate that our listener shows: read at the start, and anew whenever the configuration is.

Reading comes first and may fail; taking up what was read does not, so a bad certificate changes nothing.
"""

import ssl
from collections.abc import Callable
from dataclasses import dataclass

from router.config.certificates import Certificate, read_certificate
from router.config.schema import ServerTLSConfig
from router.errors import ConfigError, ConfigFault
from router.wire.tls import ServerTLS, server_context


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a listener shows; None for one that speaks no TLS."""

    context: ssl.SSLContext | None = None
    certificate: Certificate | None = None


def read_credentials(tls: ServerTLSConfig) -> Credentials:
    """Return what is configured, as the files are now. Raises ConfigError."""
    if tls.cert_file is None:
        return Credentials()
    options = ServerTLS(
        tls.cert_file, tls.key_file, tls.client_ca_file, client_auth=tls.client_auth, min_version=tls.min_version
    )
    try:
        return Credentials(server_context(options), read_certificate(tls.cert_file))
    except (OSError, ValueError) as error:  # changed since they were checked
        raise ConfigError([ConfigFault("server.tls", f"its files cannot be used: {error}")]) from error


class Securing:
    """Which credentials hold now."""

    def __init__(self, credentials: Credentials) -> None:
        """Those that hold from the start."""
        self.credentials = credentials
        self.handshakes_failed = 0
        self.on_change: Callable[[ssl.SSLContext | None], None] | None = None  # told what holds from now on

    def figures(self) -> tuple[float | None, int]:
        """Return when the certificate ends (seconds since 1970, None without one), and how many handshakes failed."""
        certificate = self.credentials.certificate
        return None if certificate is None else certificate.expires, self.handshakes_failed

    def handshake_failed(self) -> None:
        """Count a client with whom there was no TLS."""
        self.handshakes_failed += 1

    def take(self, credentials: Credentials) -> list[str]:
        """Show them to new connections from now on; return what is different, each in a line."""
        before, self.credentials = self.credentials, credentials
        if self.on_change is not None:
            self.on_change(credentials.context)
        now = credentials.certificate
        if now is None or before.certificate is None or now.ders == before.certificate.ders:
            return []
        return [f"server.tls.cert_file: another certificate, good until {now.until}"]
