"""Rules between keys."""

import pytest

from router.config.checks import SMALLEST, check, notices
from router.config.document import parse_document
from router.config.schema import MAX_BACKENDS, Config


def found(text: str, *own_names: str) -> list[str]:
    return [str(fault) for fault in check(parse_document(text, "f.yaml"), own_names)]


@pytest.mark.parametrize("text", ["", "backends:", "backends: []", "server: {port: 1}"])
def test_without_backends_the_smallest_configuration_is_shown(text: str) -> None:
    (fault,) = found(text)

    assert "none is configured" in fault
    assert all(line in fault for line in SMALLEST.splitlines())


def test_a_backend_listed_twice_is_refused() -> None:
    (fault,) = found("backends:\n  - url: http://a:80/v1/\n  - url: http://b\n  - url: http://A\n")

    assert fault == "backends.2.url (line 4): is the same as backends.0.url"


def test_one_server_may_have_two_apis_with_names_of_their_own() -> None:
    assert found("backends: [{url: 'http://a/x'}, {url: 'http://a/y', name: y}]") == []
    assert "give each its own name" in found("backends: [{url: 'http://a/x'}, {url: 'http://a/y'}]")[0]
    assert "same as" in found("backends: [{url: 'http://a/x'}, {url: 'http://a', api_prefix: /x/, name: y}]")[0]


def test_a_name_given_twice_is_refused() -> None:
    (fault,) = found("backends:\n  - {url: http://a, name: n}\n  - url: http://b\n    name: n\n")

    assert fault == "backends.1.name (line 4): has the name 'n' of backends.0; give each its own name"


def test_a_backend_that_is_our_own_listener_is_refused() -> None:
    (fault,) = found("server:\n  port: 9001\nbackends:\n  - url: http://localhost:9001/v1\n")
    assert fault.startswith("backends.0.url (line 4): is this router itself, which listens on 0.0.0.0:9001;")

    assert found("backends: [{url: 'http://gate:9000'}]", "gate")
    assert not found("backends: [{url: 'http://gate:9000'}]")
    assert found("server: {unix_socket: /run/r.sock}\nbackends: [{url: 'unix:/run/r.sock'}]")


def test_what_cannot_be_read_is_left_to_the_schema() -> None:
    assert found("backends: 5") == []
    assert found("server: 5\nbackends: [5, {url: 7}, {}, {url: [x]}, {url: nope}]") == []
    assert found("server: {port: x, host: [1]}\nbackends: [{url: 'http://a'}]") == []


def test_the_number_of_backends_is_bounded() -> None:
    text = "backends:\n" + "".join(f"  - url: http://h:{port}\n" for port in range(1, MAX_BACKENDS + 2))

    assert "1000 are the most" in found(text)[0]


def test_what_is_allowed_but_odd_is_noted() -> None:
    config = Config.model_validate(
        {
            "backends": [{"url": "https://a", "api_key": "k", "tls": {"verify": False}}],
            "retry": {"base_delay": 5, "max_delay": 1},
        }
    )

    assert len(notices(config)) == 2
    assert notices(Config()) == []


def test_an_https_backend_that_will_see_no_key_at_all_is_noted() -> None:
    """The documents of other proxies promise that clients' keys are passed on; here that is a choice."""
    backends = [{"url": f"https://h{number}"} for number in range(5)]

    (notice,) = notices(Config.model_validate({"backends": backends}))
    assert "h0:443, h1:443, h2:443 ..." in notice
    assert not notices(Config.model_validate({"backends": backends, "server": {"forward_authorization": True}}))
    assert not notices(Config.model_validate({"backends": [{"url": "http://h"}, {"url": "https://h", "api_key": "k"}]}))


ONE = "backends: [{url: 'http://a'}]\n"


def test_a_port_asked_for_twice_is_refused() -> None:
    (fault,) = found(ONE + "server: {port: 9100}\nadmin:\n  port: 9100\n")
    assert fault == "admin.port (line 4): is server.port too; give each its own, or set admin.enabled: false"

    assert not found(ONE + "server: {port: 9100}\nadmin: {port: 9100, enabled: false}\n")
    assert not found(ONE + "server: {port: 9100, host: 10.0.0.9}\nadmin: {port: 9100}\n")
    assert not found(ONE + "server: {port: 0}\nadmin: {port: 0}\n")


def test_the_default_admin_port_gives_way_with_a_notice() -> None:
    """A router that always was on 9001 goes on being there."""
    assert not found(ONE + "server: {port: 9001}\n")

    (notice,) = notices(Config.model_validate({"server": {"port": 9001}, "backends": [{"url": "http://a"}]}))
    assert "there is no admin listener" in notice


def test_tracing_needs_its_extra_and_the_fault_says_how_to_get_it(monkeypatch: pytest.MonkeyPatch) -> None:
    on = SMALLEST + "tracing:\n  enabled: true\n"
    assert found(on) == []
    for missing in ("opentelemetry.exporter.otlp.proto.missing", "no_such_package.of.ours"):
        monkeypatch.setattr("router.config.checks.TRACING_SDK", missing)
        (fault,) = found(on)
        assert "tracing.enabled (line 4): needs OpenTelemetry's SDK" in fault
        assert "pip install 'devstral-router[otel]'" in fault
        assert found(on.replace("true", "false")) == found(on.replace("true", "maybe")) == []
