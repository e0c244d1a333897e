"""Rules of router/config/diff.py."""

from typing import Any

import pytest

from router.config.diff import FIXED, differences, in_effect, waiting
from router.config.schema import AdminConfig, Config, ServerConfig


def config(**sections: Any) -> Config:
    return Config.model_validate({"backends": [{"url": "http://a:1"}], **sections})


def test_each_value_that_is_another_one_is_a_line_in_the_words_of_the_file() -> None:
    after = config(
        retry={"max_attempts": 5},
        timeouts={"idle": "off", "first_byte": "3m"},
        server={"cors": {"allow_origins": ["http://a", "http://b"]}, "max_body": "1MB"},
    )

    assert list(differences(config(), after)) == [
        "server.max_body: 64MB -> 1MB",
        "server.cors.allow_origins: [*] -> [http://a, http://b]",
        "retry.max_attempts: 3 -> 5",
        "timeouts.first_byte: 120s -> 180s",
        "timeouts.idle: 60s -> off",
    ]


def test_keys_and_tokens_are_never_shown() -> None:
    one, two = config(admin={"token": "canary-1"}), config(admin={"token": "canary-2"})

    assert list(differences(config(), one)) == ["admin.token: off -> ********"]
    assert list(differences(one, two)) == ["admin.token: changed"]


def test_lists_of_sections_are_told_as_changed() -> None:
    assert list(differences(config(), config(server={"extra_routes": [{"path": "/x"}]}))) == [
        "server.extra_routes: changed"
    ]


def test_backends_are_not_compared_here() -> None:
    assert list(differences(config(), Config.model_validate({"backends": [{"url": "http://b:1"}]}))) == []


def test_what_is_bound_stays_and_is_named_each_time() -> None:
    running = config(server={"port": 9100})
    wanted = config(server={"port": 9200, "max_headers": 50})
    effective = in_effect(running, wanted)

    assert (effective.server.port, effective.server.max_headers) == (9100, 50)
    for _ in range(2):
        assert waiting(effective, wanted) == ["needs a restart: server.port: 9100 -> 9200"]


def test_a_listener_open_to_others_keeps_its_token() -> None:
    """Its address stays until the restart: without the token everybody could give orders."""
    running = config(admin={"host": "0.0.0.0", "token": "t0ken"})
    wanted = config(admin={"host": "127.0.0.1"})

    effective = in_effect(running, wanted)

    assert effective.admin.host == "0.0.0.0"
    assert effective.admin.token is not None
    assert "needs a restart: admin.token: ******** -> off" in waiting(running, wanted)


@pytest.mark.parametrize(("name", "section"), [("server", ServerConfig), ("admin", AdminConfig)])
def test_what_stays_is_in_the_schema(name: str, section: type) -> None:
    assert set(FIXED[name]) <= section.model_fields.keys()  # type: ignore[attr-defined]
