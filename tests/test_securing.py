"""Credentials of the listeners: read first, taken up whole."""

from pathlib import Path
from ssl import SSLContext

import pytest

from router.config.schema import Config
from router.errors import ConfigError
from router.securing import Both, Credentials, Securing, read_credentials
from tests.authority import Authority

PLACES = ("server", "admin")


def config(**sections: object) -> Config:
    """A configuration with TLS on some listeners, whose files nobody has checked."""
    return Config.model_validate({name: {"tls": tls} for name, tls in sections.items()})


def test_without_a_certificate_there_is_no_tls() -> None:
    securing = Securing(read_credentials(config()))

    assert securing.clients.credentials == securing.operators.credentials == Credentials()
    assert securing.figures() == (None, 0)


@pytest.mark.parametrize("place", PLACES)
def test_each_listener_has_its_own(authority: Authority, place: str) -> None:
    both = read_credentials(config(**{place: authority.issue().config()}))

    assert (both.clients.context is not None, both.operators.context is not None) == (
        place == "server",
        place == "admin",
    )


@pytest.mark.parametrize("place", PLACES)
def test_what_is_read_is_told_of_when_it_is_taken_up_and_only_another_certificate_is_a_change(
    authority: Authority, tmp_path: Path, place: str
) -> None:
    first, second = authority.issue(), authority.issue(days=5)
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    first.put(cert, key)
    wanted = config(**{place: {"cert_file": str(cert), "key_file": str(key)}})
    securing = Securing(read_credentials(wanted))
    shown = securing.clients if place == "server" else securing.operators
    told: list[SSLContext | None] = []
    shown.on_change = told.append

    assert securing.take(read_credentials(wanted)) == []
    second.put(cert, key)
    both = read_credentials(wanted)
    found = both.clients if place == "server" else both.operators
    assert shown.credentials is not found
    (line,) = securing.take(both)
    assert line.startswith(f"{place}.tls.cert_file: another certificate, good until 20")
    assert told[-1] is found.context
    ends, _ = securing.figures()
    assert found.certificate is not None
    assert ends == found.certificate.expires
    assert securing.take(Both()) == []  # the configuration itself tells of that
    assert told[-1] is None


@pytest.mark.parametrize("place", PLACES)
def test_files_that_changed_since_they_were_checked_are_a_fault(
    authority: Authority, tmp_path: Path, place: str
) -> None:
    cert = tmp_path / "cert.pem"
    cert.write_bytes(authority.issue().cert.read_bytes())

    with pytest.raises(ConfigError, match=rf"{place}\.tls: its files cannot be used"):
        read_credentials(config(**{place: {"cert_file": str(cert)}}))


def test_failures_of_both_are_counted_and_the_first_end_counts(authority: Authority) -> None:
    later, sooner = authority.issue(days=9), authority.issue(days=3)
    securing = Securing(read_credentials(config(server=later.config(), admin=sooner.config())))
    securing.clients.handshake_failed()
    securing.operators.handshake_failed()

    certificate = securing.operators.credentials.certificate
    assert certificate is not None
    assert securing.figures() == (certificate.expires, 2)
