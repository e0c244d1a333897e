"""Loading: files in, one checked configuration or every fault out."""

from pathlib import Path

import pytest

from router.config.load import find_config, load, load_admin, read_text
from router.config.schema import AdminConfig
from router.errors import ConfigError


def write(path: Path, text: str | bytes) -> str:
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return str(path)


def faults(*arguments: object, **keywords: object) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load(*arguments, **keywords)  # type: ignore[arg-type]
    return [str(fault) for fault in caught.value.faults]


@pytest.fixture(autouse=True)
def _elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No .env of the project's own directory is read."""
    monkeypatch.chdir(tmp_path)


def test_the_smallest_configuration_is_a_list_of_urls(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", "backends:\n  - url: http://10.0.0.11:8000\n  - url: http://10.0.0.12:8000\n")

    loaded = load(path)

    assert [backend.name for backend in loaded.config.backends] == ["10.0.0.11:8000", "10.0.0.12:8000"]
    assert loaded.path == path
    assert not loaded.notices


def test_every_value_has_an_origin(tmp_path: Path) -> None:
    text = "backends:\n  - url: https://a/api/v1\n    models: []\nserver:\n  path_prefixes: [/v1]\n"

    origins = load(write(tmp_path / "r.yaml", text), environ={"PROXY_PORT": "1"}).origins

    assert origins["server.port"] == "env PROXY_PORT"
    assert origins["server.host"] == "default"
    assert origins["server.path_prefixes"] == "r.yaml:5"
    assert origins["backends.0.url"] == origins["backends.0.name"] == origins["backends.0.api_prefix"] == "r.yaml:2"
    assert origins["backends.0.models"] == "r.yaml:3"
    assert origins["backends.0.tls.verify"] == "default"


def test_the_environment_alone_is_enough() -> None:
    assert load(environ={"VLLM_BASE": "http://127.0.0.1:8000"}).config.backends[0].name == "default"


def test_faults_of_every_kind_come_at_once_in_the_order_of_the_file(tmp_path: Path) -> None:
    text = (
        "server:\n  prot: 1\n  host: ${NO}\nbackends:\n  - url: http://localhost:9000\n  - url: nope\n"
        "  - url: http://b\n  - url: http://b\nretry:\n  budget: 20\n"
    )

    found = faults(write(tmp_path / "r.yaml", text), environ={"MAX_RETRIES": "x"})

    assert [fault.split(":")[0] for fault in found] == [
        "server.prot (line 2)",
        "server.host (line 3)",
        "backends.0.url (line 5)",
        "backends.1.url (line 6)",
        "backends.3.url (line 8)",
        "retry.budget (line 10)",
        "retry.max_attempts",
    ]


def test_a_key_given_twice_hides_nothing_else(tmp_path: Path) -> None:
    text = (
        "server:\n  port: x\n  port: 1\n  tls: {cert_file: /nowhere.pem}\n"
        "backends:\n  - url: nope\n    url: http://a\n    weight: !kilo 5\n    name: *nobody\n"
        "server:\n  host: ${NO}\n  prot: 1\n"
    )

    found = faults(write(tmp_path / "r.yaml", text))

    assert [fault.split(":")[0] for fault in found] == [
        "server.port (line 2)",
        "config (line 3)",
        "server.tls.cert_file (line 4)",
        "backends.0.url (line 6)",
        "config (line 7)",
        "config (line 8)",
        "config (line 9)",
        "config (line 10)",
        "server.host (line 11)",
        "server.prot (line 12)",
    ]


def test_where_there_is_no_tree_what_was_read_of_it_is_told(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "r.yaml", "retry:\n  budget: 20\nretry: x\nserver: [\n"))

    assert [fault.split(":")[0] for fault in found] == ["config (line 3)", "config (line 4)"]


def test_what_comes_of_a_fault_of_the_document_is_not_told_beside_it(tmp_path: Path) -> None:
    found = faults(write(tmp_path / "r.yaml", "backends:\n  - url: *nobody\n"))

    assert [fault.split(":")[0] for fault in found] == ["config (line 2)"]


def test_secrets_are_in_no_fault_and_no_origin(tmp_path: Path) -> None:
    text = (
        "backends:\n  - {url: 'http://u:canary@a', api_key: 'canary canary'}\n"
        "  - {url: http://b, api_key: '${K}'}\nx: 1\n"
    )

    found = faults(write(tmp_path / "r.yaml", text), environ={"K": "canary\ncanary", "LLM_API_KEY": "canary"})

    assert len(found) >= 4
    assert "canary" not in "\n".join(found)


def test_dotenv_is_read_from_the_working_directory_and_its_unknown_keys_are_ignored(tmp_path: Path) -> None:
    write(tmp_path / ".env", "VLLM_BASE=http://127.0.0.1:8000\nREACT_APP_X=1\nnonsense\n")

    loaded = load()

    assert loaded.origins["backends.0.url"] == ".env VLLM_BASE"
    assert loaded.notices == (".env: no KEY=VALUE on line 3: passed over",)


def test_a_named_env_file_replaces_dotenv_and_must_exist(tmp_path: Path) -> None:
    write(tmp_path / ".env", "VLLM_BASE=http://a\n")
    other = write(tmp_path / "other", "VLLM_BASE=http://b\n")

    assert load(env_file=other).config.backends[0].url == "http://b"
    assert "cannot be read: No such file" in faults(env_file="missing")[0]


def test_a_dotenv_that_cannot_be_read_does_not_stop_us(tmp_path: Path) -> None:
    """It merely lies there, and may belong to another tool."""
    write(tmp_path / ".env", b"\xff\xfe")

    loaded = load(environ={"VLLM_BASE": "http://a"})

    assert ".env is not UTF-8 text: passed over" in loaded.notices


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"a: 1\nb: \xff\n", "(line 2): {} is not UTF-8 text"),
        ("a: ü".encode("utf-16"), "is not UTF-8 text"),
        (b"a: \0\n", "(line 1): has the character U+0000"),
        (b"#" * (5 << 20), "is larger than 1 MB"),
        (b"#" * (2 << 20), "is larger than 1 MB"),
        (b"[" * 100_000, "nested deeper"),
        (b"backends: [", "is no valid YAML"),
        (b"- x", "must consist of sections"),
    ],
)
def test_what_is_no_configuration_gives_one_clear_fault(tmp_path: Path, data: bytes, message: str) -> None:
    path = write(tmp_path / "r.yaml", data)

    (fault,) = faults(path)

    assert message.format(path) in fault


def test_a_file_that_cannot_be_opened_is_named(tmp_path: Path) -> None:
    for path in (tmp_path / "missing.yaml", tmp_path, "a\0b"):
        with pytest.raises(ConfigError, match="cannot be read"):
            read_text(str(path))


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = write(tmp_path / "r.yaml", b"\xef\xbb\xbfbackends:\r\n  - url: http://a\r\n")

    assert load(path).config.backends[0].url == "http://a"


def test_the_first_standard_place_that_holds_a_file_is_taken(tmp_path: Path) -> None:
    first, second = tmp_path / "1.yaml", write(tmp_path / "2.yaml", "")

    assert find_config([str(first), second]) == second
    assert find_config([str(first)]) is None


def test_a_missing_certificate_file_is_told_with_its_place(tmp_path: Path) -> None:
    """Else the backend would only seem to be down."""
    path = tmp_path / "router.yaml"
    path.write_text("backends:\n  - url: https://127.0.0.1:9102\n    tls:\n      ca_file: /nonexistent.pem\n")

    with pytest.raises(ConfigError) as caught:
        load(str(path), environ={})

    assert [(fault.path, fault.line) for fault in caught.value.faults] == [("backends.0.tls.ca_file", 4)]


def test_the_admin_section_is_read_whatever_the_rest_of_the_file_says(tmp_path: Path) -> None:
    path = write(
        tmp_path / "f.yaml", "admin: {host: '${WHERE}', port: 7, token: '${KEY:-k}'}\nbackends: 5\nx: ${UNSET}\n"
    )
    admin = load_admin(path, environ={"WHERE": "127.0.0.2"})

    assert (admin.host, admin.port) == ("127.0.0.2", 7)
    assert admin.token is not None
    assert admin.token.get_secret_value() == "k"
    assert load_admin(write(tmp_path / "g.yaml", "backends: 5\n")) == load_admin() == AdminConfig()


def test_an_admin_section_that_cannot_be_used_is_a_fault_and_a_known_token_none(tmp_path: Path) -> None:
    path = write(tmp_path / "f.yaml", "admin:\n  port: x\n  token: ${UNSET}\n")
    with pytest.raises(ConfigError) as caught:
        load_admin(path, environ={})
    assert [fault.path for fault in caught.value.faults] == ["admin.port", "admin.token"]
    path = write(tmp_path / "g.yaml", "admin:\n  port: 7\n  token: ${UNSET}\n")
    assert load_admin(path, environ={}, token="k").port == 7
    with pytest.raises(ConfigError):
        load_admin(tmp_path / "missing.yaml", environ={})
