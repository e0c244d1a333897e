"""Credentials of the listener: read first, taken up whole."""

from pathlib import Path
from ssl import SSLContext

import pytest

from router.config.schema import ServerTLSConfig
from router.errors import ConfigError
from router.securing import Credentials, Securing, read_credentials
from tests.authority import Authority


def test_without_a_certificate_there_is_no_tls() -> None:
    securing = Securing(read_credentials(ServerTLSConfig()))

    assert securing.credentials.context is None
    assert securing.figures() == (None, 0)


def test_what_is_read_is_told_of_when_it_is_taken_up_and_only_another_certificate_is_a_change(
    authority: Authority, tmp_path: Path
) -> None:
    first, second = authority.issue(), authority.issue(days=5)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first.put(cert, key)
    tls = ServerTLSConfig.model_validate({"cert_file": str(cert), "key_file": str(key)})
    securing = Securing(read_credentials(tls))
    told: list[SSLContext | None] = []
    securing.on_change = told.append

    assert securing.take(read_credentials(tls)) == []
    second.put(cert, key)
    found = read_credentials(tls)
    assert securing.credentials is not found
    (line,) = securing.take(found)
    assert line.startswith("server.tls.cert_file: another certificate, good until 20")
    assert told[-1] is found.context
    ends, _ = securing.figures()
    assert found.certificate is not None
    assert ends == found.certificate.expires
    assert securing.take(Credentials()) == []  # the configuration itself tells of that
    assert told[-1] is None


def test_files_that_changed_since_they_were_checked_are_a_fault(authority: Authority, tmp_path: Path) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_bytes(authority.issue().cert.read_bytes())
    tls = ServerTLSConfig.model_validate({"cert_file": str(cert)})

    with pytest.raises(ConfigError, match="its files cannot be used"):
        read_credentials(tls)


def test_failures_are_counted() -> None:
    securing = Securing(Credentials())
    securing.handshake_failed()

    assert securing.figures() == (None, 1)
