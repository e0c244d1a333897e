"""A configuration as text."""

from router.config.keys import keys
from router.config.schema import Config
from router.config.show import print_lines, summary_lines

CONFIG = Config.model_validate(
    {
        "server": {"host": "::1", "extra_routes": [{"path": "/x"}]},
        "backends": [{"url": "http://a", "api_key": "canary", "models": "m1,m2"}],
        "timeouts": {"connect": "500ms"},
        "middlewares": [{"type": "nobody.knows:It", "enabled": False}],
    }
)


def test_every_value_is_one_line_with_its_origin() -> None:
    lines = list(print_lines(CONFIG, {"server.host": "env PROXY_HOST"}))

    assert lines[0] == "server.host = ::1  (env PROXY_HOST)"
    assert "server.extra_routes.0.path = /x  (default)" in lines
    assert "backends.0.models = [m1, m2]  (default)" in lines
    assert "timeouts.connect = 500ms  (default)" in lines
    assert "timeouts.total = off  (default)" in lines
    assert "retry.budget = 20%  (default)" in lines
    assert "server.max_body = 64MB  (default)" in lines


def test_no_key_of_the_schema_is_left_out() -> None:
    shown = {line.split(" = ")[0] for line in print_lines(CONFIG, {})}

    assert {key.path.replace("*", "0") for key in keys()} == shown


def test_keys_are_masked() -> None:
    text = "\n".join([*print_lines(CONFIG, {}), *summary_lines(CONFIG)])

    assert "backends.0.api_key = ********" in text
    assert "canary" not in text


def test_the_summary_names_listener_and_backends() -> None:
    assert list(summary_lines(CONFIG)) == ["  - Server: [::1]:9000", "  - Backend: a:80 (auto) @ http://a/v1"]
    many = Config.model_validate({"backends": [{"url": f"http://h:{port}"} for port in range(1, 14)]})
    assert list(summary_lines(many))[-1] == "  - and 3 more backends"
