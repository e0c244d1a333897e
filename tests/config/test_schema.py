"""The schema by itself, as Python code builds it."""

import pytest
from pydantic import ValidationError

from router.config.schema import Config


def config(**sections: object) -> Config:
    return Config.model_validate(sections)


def backend(**keys: object) -> object:
    return config(backends=[{"url": "http://a:8000", **keys}]).backends[0]


def error(**sections: object) -> str:
    with pytest.raises(ValidationError) as caught:
        config(**sections)
    return str(caught.value)


def test_values_are_plain_attributes_of_frozen_models() -> None:
    found = config(server={"port": "9001"}, timeouts={"total": "5m", "idle": "off"})

    assert found.server.port == 9001
    assert found.timeouts.total == 300.0
    assert found.timeouts.idle is None
    assert "port" in vars(found.server)
    with pytest.raises(ValidationError):
        found.server.port = 1  # type: ignore[misc]


def test_a_path_in_the_url_is_the_api_prefix() -> None:
    found = config(backends=[{"url": "https://api.venice.ai/api/v1"}, {"url": "http://b:8000"}]).backends

    assert [(one.url, one.api_prefix, one.name) for one in found] == [
        ("https://api.venice.ai", "/api/v1", "api.venice.ai:443"),
        ("http://b:8000", "/v1", "b:8000"),
    ]


def test_an_api_prefix_of_its_own_counts_where_the_url_has_no_path() -> None:
    found = config(
        backends=[{"url": "http://a", "api_prefix": "/llm/"}, {"url": "http://b", "api_prefix": "/"}]
    ).backends

    assert [one.api_prefix for one in found] == ["/llm", ""]


def test_a_path_and_a_different_api_prefix_are_refused() -> None:
    assert "give the path once" in error(backends=[{"url": "http://a/v1", "api_prefix": "/v2"}])
    assert config(backends=[{"url": "http://a/v1", "api_prefix": "/v1/"}]).backends[0].api_prefix == "/v1"


def test_keys_are_masked_wherever_a_model_is_shown() -> None:
    shown = config(backends=[{"url": "http://a", "api_key": "sk-canary"}])

    assert "canary" not in repr(shown) + str(shown) + str(shown.model_dump()) + shown.model_dump_json()
    assert "canary" not in error(backends=[{"url": "http://a", "api_key": "sk canary"}])


def test_sections_and_lists_with_nothing_in_them_are_defaults() -> None:
    assert config(server="", backends=None, retry=None) == Config()
    assert config(server={"cors": "", "extra_routes": ""}) == Config()


@pytest.mark.row(68)
def test_unknown_keys_are_refused_in_every_section() -> None:
    for section in Config.model_fields:
        found = (
            error(**{section: [{"url": "http://a", "nope": 1}]})
            if section in ("backends", "middlewares")
            else error(**{section: {"nope": 1}})
        )
        assert "nope" in found


def test_tls_is_for_https() -> None:
    assert "https" in error(backends=[{"url": "http://a", "tls": {"verify": "no"}}])
    assert config(backends=[{"url": "http://a", "tls": {"verify": "yes"}}]).backends
    assert "cert_file" in error(backends=[{"url": "https://a", "tls": {"key_file": "/k.pem"}}])


@pytest.mark.row(71)
def test_extra_routes_are_a_method_and_an_exact_path() -> None:
    (route,) = config(server={"extra_routes": [{"method": "get", "path": "/v1/x"}]}).server.extra_routes

    assert (route.method, route.path) == ("GET", "/v1/x")
    assert "path" in error(server={"extra_routes": [{"path": "x"}]})


def test_a_breaker_is_not_open_longer_at_first_than_at_most() -> None:
    assert "max_open_for" in error(breaker={"open_for": 10, "max_open_for": 5})


def test_names_are_fit_for_labels_and_headers() -> None:
    assert "name" in error(backends=[{"url": "http://a", "name": "a b"}])
    assert backend(name="gpu-1").name == "gpu-1"  # type: ignore[attr-defined]
