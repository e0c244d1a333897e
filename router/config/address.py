"""Addresses of backends and of our own listener: reading them, and telling whether two are one place. Pure."""

import ipaddress
import re
from collections.abc import Collection
from dataclasses import dataclass
from urllib.parse import urlsplit

DEFAULT_API_PREFIX = "/v1"
DEFAULT_PORTS = {"http": 80, "https": 443}

_HOST = re.compile(r"(?!-)[a-z0-9_-]{1,63}(\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
_PATH = re.compile(r"(/[A-Za-z0-9._~!$&'()*+,;=:@%-]+)*/?", re.ASCII)
_ENDPOINTS = ("/chat/completions", "/completions", "/embeddings", "/models")  # what people paste by mistake


@dataclass(frozen=True, slots=True)
class Address:
    """Where a backend listens, and below which path its API lies."""

    url: str  # normalised, without a path: "http://10.0.0.11:8000", "unix:/run/vllm.sock"
    name: str  # "10.0.0.11:8000"
    host: str = ""  # lower-case, IPv6 without brackets; "" for a unix socket
    port: int = 0  # 0 for a unix socket
    api_prefix: str | None = None  # path of the url ("/api/v1"); None where it had none

    @property
    def place(self) -> tuple[str, str]:
        """Return what two backends may not share."""
        return self.name, DEFAULT_API_PREFIX if self.api_prefix is None else self.api_prefix


def parse_path(value: object) -> str:
    """Return a path without a slash at its end; "/" becomes ""."""
    if not isinstance(value, str) or not value.startswith("/") or not _PATH.fullmatch(value):
        raise ValueError("must be a path that starts with /")
    if {".", ".."} & set(value.split("/")):
        raise ValueError("must be a path without . and .. in it")
    return value.rstrip("/")


def parse_prefix(value: object) -> str:
    """Return a path as `parse_path` does, with "/" left as it is."""
    return parse_path(value) or "/"


def parse_host(value: object) -> str:
    """Return a host name or an address, lower-case and without brackets."""
    text = value.strip().lower() if isinstance(value, str) else ""
    bare = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    if ":" in bare:
        return _ipv6(bare)
    if not _HOST.fullmatch(bare) or len(bare) > 253:
        raise ValueError("must be a host name or an IP address")
    return bare.rstrip(".")


def parse_address(value: object) -> Address:
    """Read the URL of a backend. Raises ValueError, never with the URL in it (it may hold a password)."""
    if not isinstance(value, str) or not value.strip():
        raise ValueError("must be a URL such as http://10.0.0.11:8000")
    text = value.strip()
    if not text.isascii() or not text.isprintable() or any(sign in text for sign in ' \\"<>^`{|}'):
        raise ValueError("must be a URL of plain ASCII, without spaces")
    if text.lower().startswith("unix:"):
        return _unix(text[5:])
    scheme, mark, rest = text.partition("://")
    if not mark:
        raise ValueError("must start with http:// or https:// (or unix:/path)")
    if scheme.lower() not in DEFAULT_PORTS:
        raise ValueError("must start with http://, https:// or unix:/")
    if "@" in rest.split("/", 1)[0]:
        raise ValueError("must not hold a user name or password: give the key as api_key")
    if "?" in rest or "#" in rest:
        raise ValueError("must end with its path: no ? and no #")
    return _tcp(scheme.lower(), text)


def is_ourselves(address: Address, *, host: str, port: int, own_names: Collection[str] = ()) -> bool:
    """Tell whether a backend is the listener at `host` and `port`.

    `own_names`: names and addresses of this machine. A listener on one address is not met on another.
    """
    if not port or address.port != port:
        return False
    target, listener = _kind(address.host), _kind(host)
    own = address.host in {name.lower() for name in own_names}
    if address.host == host.lower():
        return True
    if listener == "any":
        return target != "other" or own
    if listener == "loopback":
        return target == "any" or "localhost" in (address.host, host.lower())
    return own and not address.host.replace(".", "").isdigit() and ":" not in address.host


def is_loopback(host: str) -> bool:
    """Return whether a listener there can be reached from this machine only."""
    return _kind(host) == "loopback"


def _kind(host: str) -> str:
    """Return any, loopback or other."""
    if host in ("", "*"):
        return "any"
    if host == "localhost" or host.endswith(".localhost"):
        return "loopback"
    try:
        parsed = ipaddress.ip_address(host)
    except ValueError:
        return "other"
    mapped = getattr(parsed, "ipv4_mapped", None) or parsed
    return "any" if mapped.is_unspecified else "loopback" if mapped.is_loopback else "other"


def _ipv6(text: str) -> str:
    try:
        return ipaddress.IPv6Address(text).compressed
    except ValueError:
        raise ValueError("must be a host name or an IP address") from None


def _unix(path: str) -> Address:
    path = path.removeprefix("//")
    if not path.startswith("/") or path.endswith("/") or len(path) > 107:  # sun_path of Linux
        raise ValueError("must be unix: and the absolute path of a socket, 107 bytes at most")
    return Address(f"unix:{path}", f"unix:{path}")


def _tcp(scheme: str, text: str) -> Address:
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError:
        raise ValueError("must have a port from 1 to 65535 and, in brackets, a valid IPv6 address if any") from None
    if port == 0 or parts.netloc.endswith(":"):
        raise ValueError("must have a port from 1 to 65535")
    if not parts.hostname:
        raise ValueError("must name a host")
    host = parse_host(parts.hostname)
    shown = f"[{host}]" if ":" in host else host
    prefix = parse_path(parts.path) if parts.path else ""
    if prefix.endswith(_ENDPOINTS):
        raise ValueError("must be the base URL, without the endpoint at its end")
    actual = port or DEFAULT_PORTS[scheme]
    origin = f"{scheme}://{shown}" + (f":{port}" if port and port != DEFAULT_PORTS[scheme] else "")
    return Address(origin, f"{shown}:{actual}", host, actual, prefix or None)
