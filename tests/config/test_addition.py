"""Rules of router/config/addition.py: one more backend is read as an entry of the file is."""

from typing import Any

import pytest

from router.config.addition import read_addition, read_logging
from router.config.schema import MAX_BACKENDS, Config, LoggingConfig
from router.errors import ConfigError

CONFIG = Config.model_validate(
    {"server": {"unix_socket": "/run/r.sock"}, "backends": [{"url": "http://a:1"}, {"url": "http://b:1", "name": "b"}]}
)


def faults(fields: dict[str, Any], config: Config = CONFIG, *own_names: str) -> list[str]:
    with pytest.raises(ConfigError) as found:
        read_addition(fields, config, own_names)
    return [str(fault) for fault in found.value.faults]


def test_of_the_log_level_sample_and_access_can_be_changed() -> None:
    changed = read_logging({"level": "DEBUG", "sample": "10%"}, LoggingConfig(file="/x", access=False))

    assert changed == LoggingConfig(level="debug", sample=0.1, file="/x", access=False)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "nothing is to be changed"),
        ({"file": "/etc/passwd"}, "file: cannot be changed so"),
        ({"headers": ["cookie"]}, "headers: cannot be changed so"),
        ({"level": "loud"}, "logging.level: must be debug or info"),
        ({"sample": 2}, "logging.sample: must be a share"),
    ],
)
def test_whatever_else_of_the_log_cannot(fields: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError) as found:
        read_logging(fields, LoggingConfig())

    assert told in str(found.value.faults[0])


def test_an_entry_has_all_keys_of_the_file() -> None:
    backend = read_addition(
        {"url": "https://c/api/v1", "weight": "2", "models": ["m"], "tls": {"verify": False}, "api_key": "k" * 20},
        CONFIG,
    )

    assert (backend.name, backend.api_prefix, backend.weight) == ("c:443", "/api/v1", 2)
    assert (backend.models, backend.tls.verify) == (("m",), False)


@pytest.mark.parametrize(
    ("fields", "told"),
    [
        ({}, "url: is missing"),
        ({"url": "c:1"}, "url: must start with http:// or https:// (or unix:/path), not 'c:1'"),
        ({"url": "http://c", "weight": 0}, "weight: must be a whole number from 1 to 100, not '0'"),
        ({"url": "http://c", "tls": {"verfy": 1}}, "tls.verfy: unknown key; did you mean verify?"),
        ({"url": "http://c", "tls": 5}, "tls: must be a section; keys below it, indented"),
        (
            {"url": "http://c", "tls": {"verify": False}},
            "backend: tls is given, but the url does not start with https://",
        ),
        ({"url": "http://a:1", "name": "x"}, "url: is that of backend a:1 already"),
        ({"url": "http://c", "name": "b"}, "name: 'b' is another backend's; give each its own name"),
        ({"url": "http://127.0.0.1:9000"}, "url: is this router itself"),
        ({"url": "unix:/run/r.sock"}, "url: is this router itself"),
    ],
)
def test_its_faults_are_those_of_the_file(fields: dict[str, Any], told: str) -> None:
    assert faults(fields) == [told]


def test_this_machines_own_name_is_this_router() -> None:
    assert faults({"url": "http://gate:9000"}, CONFIG, "gate") == ["url: is this router itself"]


def test_a_key_is_never_quoted() -> None:
    (told,) = faults({"url": "http://c", "api_key": ["sk-canary"]})

    assert told.startswith("api_key: ")
    assert "canary" not in told


def test_there_are_never_more_backends_than_a_file_may_have() -> None:
    full = Config.model_validate({"backends": [{"url": f"http://h{number}:1"} for number in range(MAX_BACKENDS)]})

    assert "which are the most" in faults({"url": "http://c"}, full)[0]
