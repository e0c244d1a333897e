"""What a listener's context agrees to, and how a subject is written."""

import ssl
from dataclasses import replace

import pytest

from router.wire.tls import ServerTLS, server_context, subject
from tests.authority import Authority, Issued


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


def options(issued: Issued) -> ServerTLS:
    return ServerTLS(str(issued.cert), str(issued.key))


def agreed(server: ssl.SSLContext, client: ssl.SSLContext) -> ssl.SSLObject:
    """Shake hands without a socket; return the client's side. Raises ssl.SSLError."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = client.wrap_bio(to_client, to_server, server_hostname="localhost")
    waiting = [theirs, ours]
    for _ in range(10):
        for side in list(waiting):
            try:
                side.do_handshake()
                waiting.remove(side)
            except ssl.SSLWantReadError:
                pass
    assert not waiting
    return theirs


def test_the_newest_version_is_agreed_on_with_http_1_1(authority: Authority, issued: Issued) -> None:
    client = authority.trusting()
    client.set_alpn_protocols(["h2", "http/1.1"])

    found = agreed(server_context(options(issued)), client)

    assert (found.version(), found.selected_alpn_protocol()) == ("TLSv1.3", "http/1.1")


def test_tls_1_2_is_spoken_with_forward_secrecy_and_authenticated_encryption_only(
    authority: Authority, issued: Issued
) -> None:
    server = server_context(options(issued))
    client = authority.trusting(maximum_version=ssl.TLSVersion.TLSv1_2)
    assert agreed(server, client).version() == "TLSv1.2"
    for weak in ("ECDHE+SHA", "RSA", "DHE+AESGCM", "AES128-SHA"):
        client.set_ciphers(weak)
        with pytest.raises(ssl.SSLError):
            agreed(server, client)


@pytest.mark.parametrize(("least", "most"), [("1.2", ssl.TLSVersion.TLSv1_1), ("1.3", ssl.TLSVersion.TLSv1_2)])
@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_older_versions_are_refused(authority: Authority, issued: Issued, least: str, most: ssl.TLSVersion) -> None:
    client = authority.trusting()
    client.minimum_version = ssl.TLSVersion.TLSv1
    client.maximum_version = most
    client.set_ciphers("ALL:@SECLEVEL=0")

    with pytest.raises(ssl.SSLError):
        agreed(server_context(replace(options(issued), min_version=least)), client)


def test_no_client_can_begin_anew_within_a_connection(issued: Issued) -> None:
    assert server_context(options(issued)).options & ssl.OP_NO_RENEGOTIATION


@pytest.mark.parametrize("files", [("key", None), ("key", "key"), ("cert", None)])
def test_what_is_no_certificate_with_its_key_is_an_os_error(issued: Issued, files: tuple[str, str | None]) -> None:
    cert, key = (None if name is None else str(getattr(issued, name)) for name in files)
    assert cert is not None
    with pytest.raises(OSError):
        server_context(ServerTLS(cert, key))


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("/C=CH/O=Example/OU=ops/CN=agent-1", "CN=agent-1,OU=ops,O=Example,C=CH"),
        ('/O=A, Inc./CN=x y\\\\z "q"', 'CN=x y\\\\z \\"q\\",O=A\\, Inc.'),
        ("/CN=Zoë", "CN=Zoë"),
    ],
)
def test_a_subject_is_written_as_rfc_4514_has_it(authority: Authority, given: str, shown: str) -> None:
    context = authority.trusting(authority.issue(subject=given))
    server = server_context(
        ServerTLS(str((own := authority.issue()).cert), str(own.key), str(authority.ca), client_auth="required")
    )
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    ours = server.wrap_bio(to_server, to_client, server_side=True)
    theirs = context.wrap_bio(to_client, to_server, server_hostname="localhost")
    for side in (theirs, ours, theirs, ours):
        try:
            side.do_handshake()
        except ssl.SSLWantReadError:
            continue

    assert subject(ours.getpeercert()) == shown


def test_without_a_certificate_there_is_no_subject() -> None:
    assert subject(None) is None
    assert subject({}) is None
