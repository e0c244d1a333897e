"""What our listeners need to speak TLS, and who a client is that shows a certificate."""

import ssl
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

# Of TLS 1.2 only forward secrecy with authenticated encryption; what TLS 1.3 has is good as it is.
CIPHERS = "ECDHE+AESGCM:ECDHE+CHACHA20"
VERSIONS = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}
CLIENT_AUTH = {"off": ssl.CERT_NONE, "optional": ssl.CERT_OPTIONAL, "required": ssl.CERT_REQUIRED}

_SHORT = {  # RFC 4514 section 3, and what certificates of people and programs have besides
    "commonName": "CN",
    "countryName": "C",
    "domainComponent": "DC",
    "emailAddress": "emailAddress",
    "localityName": "L",
    "organizationName": "O",
    "organizationalUnitName": "OU",
    "stateOrProvinceName": "ST",
    "userId": "UID",
}
_SPECIAL = str.maketrans({sign: "\\" + sign for sign in ',+"\\<>;='})


@dataclass(frozen=True, slots=True)
class ServerTLS:
    """How a listener speaks TLS."""

    cert_file: str
    key_file: str | None = None  # None: in cert_file
    client_ca_file: str | None = None  # authorities of clients' certificates
    client_auth: str = "off"  # a key of CLIENT_AUTH
    min_version: str = "1.2"  # a key of VERSIONS


def server_context(options: ServerTLS) -> ssl.SSLContext:
    """Return the context of a listener. Reads files; raises OSError (ssl.SSLError is one)."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = VERSIONS[options.min_version]
    context.set_ciphers(CIPHERS)
    context.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION  # both let a client make work or guess secrets
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(options.cert_file, options.key_file, password=_no_password)
    context.verify_mode = CLIENT_AUTH[options.client_auth]
    if options.client_ca_file is not None:
        context.load_verify_locations(options.client_ca_file)
    return context


def _no_password() -> str:
    """Fail rather than ask on a terminal."""
    raise ssl.SSLError("the key is encrypted with a password")


def subject(certificate: Mapping[str, Any] | None) -> str | None:
    """Return whose certificate it is, as `CN=agent-1,O=Example`; None without one.

    `certificate`: as `ssl.SSLSocket.getpeercert` returns it.
    """
    if not certificate:
        return None
    parts = [pair for group in certificate.get("subject", ()) for pair in group]
    return ",".join(f"{_SHORT.get(name, name)}={value.translate(_SPECIAL)}" for name, value in reversed(parts))
