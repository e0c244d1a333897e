"""The certificates that a configuration names: whether they can be used, until when, and what is wrong with them.

Keys and certificates are read by `ssl` itself, so that what passes here is what the listener and the backends will use.
"""

import base64
import binascii
import contextlib
import os
import re
import ssl
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

from pydantic import ValidationError

from router.config.exposure import is_public
from router.config.schema import FILE, Config, ServerTLSConfig, TLSConfig
from router.config.tree import Branch, Leaf, Path, child, find, plain

MAX_FILE = 8 << 20  # bytes; all authorities of a system are a quarter of a megabyte
FILES = ("cert_file", "key_file", "ca_file", "client_ca_file")  # keys that name a file
_CERTIFICATE = re.compile(rb"-----BEGIN (?:TRUSTED |X509 )?CERTIFICATE-----(.*?)-----END ", re.DOTALL)
_SEQUENCE, _VERSION, _UTC_TIME = 0x30, 0xA0, 0x17  # tags of DER

Found = tuple[Path, str]  # where in the configuration, and what
TLS = ServerTLSConfig | TLSConfig
Section = tuple[Path, TLS, bool]  # where, and whether nothing else is wrong with it


@dataclass(frozen=True, slots=True)
class Certificate:
    """What a file of certificates is known by."""

    ders: tuple[bytes, ...]  # the certificate and those that vouch for it, as they are sent
    expires: float  # seconds since 1970, of the one that ends first

    @property
    def until(self) -> str:
        """Return the end as a person reads it."""
        return _day(self.expires)


def read_certificate(path: str) -> Certificate:
    """Return what is in a file of certificates. Raises OSError, and ValueError where it holds none."""
    ders = tuple(_decoded(found[1]) for found in _CERTIFICATE.finditer(_content(path)))
    if not ders:
        raise ValueError("holds no certificate in PEM form (-----BEGIN CERTIFICATE-----)")
    return Certificate(ders, min(map(expiry, ders)))


def expiry(der: bytes) -> float:
    """Return when a certificate ends, in seconds since 1970. Raises ValueError."""
    try:
        fields = _items(_inner(_inner(der)))  # Certificate, then TBSCertificate; RFC 5280 section 4.1
        first, _ = next(fields)
        skipped = 3 if first == _VERSION else 2  # serial number, algorithm, issuer; the version may be missing
        for _ in range(skipped):
            next(fields)
        _, validity = next(fields)
        _, (tag, text) = _items(validity)
    except (StopIteration, IndexError, ValueError) as error:
        raise ValueError("holds a certificate that cannot be read") from error
    digits = text.decode("ascii", "replace").removesuffix("Z")
    if tag == _UTC_TIME:
        digits = ("19" if digits[:2] >= "50" else "20") + digits
    return datetime.strptime(digits, "%Y%m%d%H%M%S").replace(tzinfo=UTC).timestamp()


def sections(tree: Branch) -> list[Section]:
    """Return what names certificates and keys, also where something else in the configuration is wrong.

    Of a section that is wrong itself there are the files alone.
    """
    listed = find(tree, ("backends",))
    count = len(listed.items) if isinstance(listed, Branch) else 0
    kinds: dict[Path, type[TLS]] = {("server", "tls"): ServerTLSConfig, ("admin", "tls"): ServerTLSConfig}
    kinds |= {("backends", number, "tls"): TLSConfig for number in range(count)}
    nodes = ((place, kind, find(tree, place)) for place, kind in kinds.items())
    return [(place, *_read(node, kind)) for place, kind, node in nodes if isinstance(node, Branch)]


def _read(node: Branch, kind: type[TLS]) -> tuple[TLS, bool]:
    try:
        return kind.model_validate(plain(node)), True
    except ValidationError:
        texts = {}
        for key in FILES:
            given = child(node, key)
            with contextlib.suppress(ValueError):
                texts[key] = FILE.parse(given.value) if isinstance(given, Leaf) else None
        return kind.model_construct(**texts), False


def named(found: Iterable[Section]) -> tuple[str, ...]:
    """Return the files that sections name, each once."""
    paths = [getattr(section, key, None) for _, section, _ in found for key in FILES]
    return tuple(dict.fromkeys(path for path in paths if path is not None))


def faults(found: Iterable[Section]) -> Iterator[Found]:
    """Yield what is wrong with the files: else a backend would only seem to be down, and clients be refused."""
    for place, section, is_whole in found:
        unreadable = dict(_unreadable(section))
        yield from (((*place, key), message) for key, message in unreadable.items())
        authorities = "client_ca_file" if isinstance(section, ServerTLSConfig) else "ca_file"
        path = getattr(section, authorities)
        if path is not None and authorities not in unreadable and not _holds_authorities(path):
            yield (*place, authorities), f"holds no certificate in PEM form: {path}"
        if is_whole and section.cert_file is not None and not unreadable.keys() & {"cert_file", "key_file"}:
            yield from (((*place, key), message) for key, message in _pair(section.cert_file, section.key_file))


def notices(config: Config) -> Iterator[str]:
    """Yield what is allowed, but worth a line. Files that cannot be read are passed over."""
    now = time.time()
    for place, section in _sections(config):
        try:
            found = None if section.cert_file is None else read_certificate(section.cert_file)
        except (OSError, ValueError):
            continue
        if found is not None and found.expires <= now:
            where = ".".join(map(str, place))
            yield f"{where}.cert_file: the certificate has ended, on {found.until}: whoever verifies it refuses it"
    keys = [section.key_file or section.cert_file for _, section in _sections(config)]
    for path in dict.fromkeys(filter(None, keys)):
        if is_public(path):
            yield f"{path} holds a private key, and everybody on this machine can read it: chmod o-r {path}"


def _sections(config: Config) -> Iterator[tuple[Path, TLS]]:
    yield ("server", "tls"), config.server.tls
    yield ("admin", "tls"), config.admin.tls
    for number, backend in enumerate(config.backends):
        yield ("backends", number, "tls"), backend.tls


def _unreadable(section: TLS) -> Iterator[tuple[str, str]]:
    for key in FILES:
        path = getattr(section, key, None)
        if path is None:
            continue
        if not os.path.isfile(path):
            yield key, f"there is no such file: {path}"
            continue
        try:
            _content(path)
        except OSError as error:
            yield key, f"{path} cannot be read: {error.strerror or error}"


def _holds_authorities(path: str) -> bool:
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT).load_verify_locations(path)
    except ssl.SSLError:
        return False
    return True


def _pair(cert_file: str, key_file: str | None) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a certificate and its key; both can be read."""
    key_place, key_path = ("cert_file", cert_file) if key_file is None else ("key_file", key_file)
    try:
        read_certificate(cert_file)
    except ValueError as error:
        yield "cert_file", f"{error}: {cert_file}"
        return
    if b"PRIVATE KEY-----" not in _content(key_path):
        where = "" if key_file is not None else ", and no key_file is given"
        yield key_place, f"holds no private key in PEM form{where}: {key_path}"
        return
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert_file, key_file, _no_password)
    except _Encrypted:
        yield key_place, f"is encrypted with a password, which nobody can type in here: {key_path}"
    except ssl.SSLError as error:
        if error.reason == "KEY_VALUES_MISMATCH":
            yield key_place, f"is not the key of the certificate in {cert_file}: {key_path}"
        else:
            yield "cert_file", f"cannot be used with its key: {error.reason or 'one of them is damaged'}: {cert_file}"


class _Encrypted(Exception):
    """A key cannot be read without a password."""


def _no_password() -> str:
    raise _Encrypted


def _content(path: str) -> bytes:
    with open(path, "rb") as file:
        return file.read(MAX_FILE)


def _decoded(text: bytes) -> bytes:
    try:
        return base64.b64decode(b"".join(text.split()), validate=True)
    except binascii.Error as error:
        raise ValueError("holds a certificate that cannot be read") from error


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield tag and content of each DER item. Raises IndexError or ValueError where one is cut."""
    place = 0
    while place < len(data):
        tag, size = data[place], data[place + 1]
        place += 2
        if size & 0x80:
            count = size & 0x7F
            size = int.from_bytes(data[place : place + count], "big")
            place += count
        if place + size > len(data):
            raise ValueError("cut")
        yield tag, data[place : place + size]
        place += size


def _inner(data: bytes) -> bytes:
    """Return the content of a sequence that stands first."""
    tag, content = next(_items(data))
    if tag != _SEQUENCE:
        raise ValueError("no sequence")
    return content


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
