"""Certificates that a configuration names: every fault of theirs at once, each at its key."""

import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml

from router.config import load
from router.config.certificates import expiry, read_certificate
from router.errors import ConfigError
from tests.authority import Authority, Issued

BACKENDS = [{"url": "http://127.0.0.1:8000"}]


@pytest.fixture(scope="module")
def issued(authority: Authority) -> Issued:
    return authority.issue()


def faults(folder: Path, tls: dict[str, object], backend: dict[str, object] | None = None) -> dict[str, str]:
    """Return the faults of a file by their paths."""
    backends = BACKENDS if backend is None else [{"url": "https://a", "api_key": "k", "tls": backend}]
    path = folder / "router.yaml"
    path.write_text(yaml.safe_dump({"server": {"tls": tls}, "backends": backends}))
    with pytest.raises(ConfigError) as caught:
        load(path)
    return {fault.path: fault.message for fault in caught.value.faults}


def test_a_certificate_with_its_key_has_no_fault(tmp_path: Path, authority: Authority, issued: Issued) -> None:
    both = tmp_path / "both.pem"
    both.write_bytes(issued.key.read_bytes() + issued.cert.read_bytes() + authority.ca.read_bytes())
    path = tmp_path / "router.yaml"
    both.chmod(0o600)
    for tls in (
        issued.config(),
        issued.config(client_auth="required", client_ca_file=str(authority.ca), min_version=1.3),
        {"cert_file": str(both)},
    ):
        path.write_text(yaml.safe_dump({"server": {"tls": tls}, "backends": BACKENDS}))
        loaded = load(path)
        assert loaded.notices == ()
        assert loaded.files == tuple(str(value) for key, value in tls.items() if key.endswith("file"))
        assert loaded.origins["server.tls.cert_file"].startswith("router.yaml:")


def test_every_fault_is_told_at_once_and_where(
    tmp_path: Path, authority: Authority, stranger: Authority, issued: Issued
) -> None:
    empty = tmp_path / "empty.pem"
    empty.write_text("nothing\n")
    other = stranger.issue()

    found = faults(
        tmp_path,
        {
            "cert_file": str(issued.cert),
            "key_file": str(other.key),
            "client_auth": "required",
            "client_ca_file": str(empty),
        },
        {"ca_file": "/nowhere.pem", "cert_file": str(empty), "key_file": str(other.key)},
    )

    assert found == {
        "server.tls.key_file": f"is not the key of the certificate in {issued.cert}: {other.key}",
        "server.tls.client_ca_file": f"holds no certificate in PEM form: {empty}",
        "backends.0.tls.ca_file": "there is no such file: /nowhere.pem",
        "backends.0.tls.cert_file": (
            f"holds no certificate in PEM form (-----BEGIN CERTIFICATE-----): {empty}"
        ),
    }


def test_a_certificate_that_is_missing_is_told_beside_any_other_fault(tmp_path: Path, issued: Issued) -> None:
    """Who mends one fault after the other starts the router in vain each time."""
    path = tmp_path / "router.yaml"
    path.write_text(
        "server:\n  port: nine\n  tls:\n    cert_file: /nowhere.pem\n    min_version: 9\n"
        f"admin:\n  tls:\n    cert_file: {issued.cert}\n"
        "backends:\n  - url: https://a\n    weight: x\n    tls: {ca_file: /nowhere.ca}\n    prot: 1\n"
        "  - url: https://b\n    tls: {key_file: /nowhere.key, ca_file: [], cert_file: off}\n"
        "  - url: https://c\n    tls: on\n"
    )
    with pytest.raises(ConfigError) as caught:
        load(path)

    found = {fault.path: fault.message for fault in caught.value.faults}
    assert list(found) == [
        "server.port", "server.tls.cert_file", "server.tls.min_version", "admin.tls.cert_file",
        "backends.0.weight", "backends.0.tls.ca_file", "backends.0.prot",
        "backends.1.tls.ca_file", "backends.1.tls.key_file", "backends.2.tls",
    ]  # fmt: skip
    assert found["server.tls.cert_file"] == "there is no such file: /nowhere.pem"
    assert found["admin.tls.cert_file"].startswith("holds no private key in PEM form, and no key_file is given")
    assert found["backends.1.tls.key_file"] == "there is no such file: /nowhere.key"
    assert caught.value.files == ("/nowhere.pem", str(issued.cert), "/nowhere.ca", "/nowhere.key")


def encrypted(folder: Path, issued: Issued, tool: Callable[[str], str]) -> Path:
    path = folder / "encrypted.pem"
    command = [tool("openssl"), "pkey", "-aes256", "-passout", "pass:secret", "-in", str(issued.key)]
    subprocess.run([*command, "-out", str(path)], check=True, capture_output=True)
    return path


def test_a_key_with_a_password_is_refused_and_nobody_is_asked_for_it(
    tmp_path: Path, issued: Issued, tool: Callable[[str], str]
) -> None:
    key = encrypted(tmp_path, issued, tool)

    found = faults(tmp_path, {"cert_file": str(issued.cert), "key_file": str(key)})

    assert found == {"server.tls.key_file": f"is encrypted with a password, which nobody can type in here: {key}"}


@pytest.mark.parametrize(
    ("change", "place", "told"),
    [
        ({"key_file": None}, "cert_file", "holds no private key in PEM form, and no key_file is given"),
        ({"key_file": "cert"}, "key_file", "holds no private key in PEM form"),
        ({"cert_file": "key"}, "cert_file", "holds no certificate in PEM form"),
        ({"cert_file": "folder"}, "cert_file", "there is no such file"),
        ({"cert_file": "damaged"}, "cert_file", "holds a certificate that cannot be read"),
        ({"key_file": "damaged key"}, "cert_file", "cannot be used with its key"),
    ],
)
def test_what_cannot_be_used_is_told_at_its_key(
    tmp_path: Path, issued: Issued, change: dict[str, str | None], place: str, told: str
) -> None:
    damaged, key = tmp_path / "damaged.pem", tmp_path / "damaged.key"
    damaged.write_text("-----BEGIN CERTIFICATE-----\nMIIB!!\n-----END CERTIFICATE-----\n")
    lines = issued.key.read_text().splitlines()
    key.write_text("\n".join([lines[0], "AAAA" + lines[1][4:], *lines[2:]]))
    files = {"key": issued.key, "cert": issued.cert, "folder": tmp_path, "damaged": damaged, "damaged key": key}
    tls = issued.config()
    for name, value in change.items():
        if value is None:
            del tls[name]
        else:
            tls[name] = str(files[value])

    found = faults(tmp_path, tls)

    assert list(found) == [f"server.tls.{place}"]
    assert found[f"server.tls.{place}"].startswith(told)


def test_a_file_that_cannot_be_read_is_told(tmp_path: Path, issued: Issued) -> None:
    unreadable = "/proc/self/mem"  # for root as well

    found = faults(tmp_path, {"cert_file": str(issued.cert), "key_file": unreadable})

    assert found == {"server.tls.key_file": f"{unreadable} cannot be read: Input/output error"}


@pytest.mark.parametrize(
    ("tls", "told"),
    [
        ({"key_file": "k"}, "cert_file is missing"),
        ({"client_auth": "required", "client_ca_file": "c"}, "cert_file is missing"),
        ({"cert_file": "c", "client_auth": "optional"}, "needs a client_ca_file"),
        ({"cert_file": "c", "client_ca_file": "a"}, "client_auth is off"),
    ],
)
def test_keys_that_need_each_other_are_asked_for(tmp_path: Path, tls: dict[str, object], told: str) -> None:
    found = faults(tmp_path, tls)

    assert told in found.pop("server.tls")
    assert found == {f"server.tls.{key}": f"there is no such file: {tls[key]}" for key in tls if key.endswith("file")}


def test_a_fault_tells_the_files_too_so_that_a_change_of_them_is_seen(tmp_path: Path, issued: Issued) -> None:
    path = tmp_path / "router.yaml"
    tls = {"cert_file": str(issued.cert), "key_file": str(tmp_path / "missing.pem")}
    path.write_text(yaml.safe_dump({"server": {"tls": tls}, "backends": BACKENDS}))
    with pytest.raises(ConfigError) as caught:
        load(path)

    assert caught.value.files == tuple(tls.values())


def test_one_that_has_ended_is_a_note_and_no_fault(tmp_path: Path, authority: Authority) -> None:
    ended = authority.issue(days=-1)
    path = tmp_path / "router.yaml"
    path.write_text(yaml.safe_dump({"server": {"tls": ended.config()}, "backends": BACKENDS}))

    (notice,) = load(path).notices

    assert notice.startswith("server.tls.cert_file: the certificate has ended, on 20")


@pytest.mark.parametrize("days", [-1, 2, 9000, 36500])
def test_the_end_is_the_one_that_openssl_reads(authority: Authority, days: int) -> None:
    """Up to 2049 it has two digits for the year, then four."""
    issued = authority.issue(days=days)
    context = ssl.create_default_context(cafile=str(authority.ca))
    context.load_verify_locations(issued.cert)
    told = ssl._ssl._test_decode_cert(str(issued.cert))["notAfter"]  # type: ignore[attr-defined]

    assert read_certificate(str(issued.cert)).expires == ssl.cert_time_to_seconds(told)


def test_of_several_the_first_to_end_counts(tmp_path: Path, authority: Authority) -> None:
    chain = tmp_path / "chain.pem"
    issued = authority.issue(days=100)
    chain.write_bytes(b"# ours\n" + issued.cert.read_bytes() + authority.ca.read_bytes())
    found = read_certificate(str(chain))

    assert found.ders == (issued.der, ssl.PEM_cert_to_DER_cert(authority.ca.read_text()))
    assert found.expires == expiry(found.ders[1]) < expiry(found.ders[0])


def test_a_certificate_that_is_cut_anywhere_is_refused(issued: Issued) -> None:
    der = issued.der
    end = expiry(der)
    for size in range(len(der)):
        with pytest.raises(ValueError, match="cannot be read"):
            expiry(der[:size])
    assert expiry(der) == end


def test_each_file_is_named_once(authority: Authority, tmp_path: Path, issued: Issued) -> None:
    path = tmp_path / "router.yaml"
    backends = [{"url": f"https://{name}", "tls": {"ca_file": str(authority.ca)}, "api_key": "k"} for name in "ab"]
    path.write_text(yaml.safe_dump({"server": {"tls": issued.config()}, "backends": backends}))

    assert load(path).files == (str(issued.cert), str(issued.key), str(authority.ca))


def test_the_admin_listener_s_files_are_checked_and_named_as_the_clients_are(
    tmp_path: Path, issued: Issued, stranger: Authority
) -> None:
    path, other = tmp_path / "router.yaml", stranger.issue()
    tls = {"cert_file": str(issued.cert), "key_file": str(other.key)}
    path.write_text(yaml.safe_dump({"admin": {"tls": tls}, "backends": BACKENDS}))
    with pytest.raises(ConfigError) as caught:
        load(path)
    assert [fault.path for fault in caught.value.faults] == ["admin.tls.key_file"]
    assert caught.value.files == tuple(tls.values())

    path.write_text(yaml.safe_dump({"admin": {"tls": issued.config()}, "backends": BACKENDS}))
    assert load(path).files == (str(issued.cert), str(issued.key))


@pytest.mark.parametrize("section", ["server", "admin"])
def test_a_private_key_that_everybody_can_read_is_a_note(tmp_path: Path, authority: Authority, section: str) -> None:
    issued, path = authority.issue(), tmp_path / "router.yaml"
    path.write_text(yaml.safe_dump({section: {"tls": issued.config()}, "backends": BACKENDS}))
    assert load(path).notices == ()

    issued.key.chmod(0o644)

    (notice,) = load(path).notices
    assert notice == (
        f"{issued.key} holds a private key, and everybody on this machine can read it: chmod o-r {issued.key}"
    )
