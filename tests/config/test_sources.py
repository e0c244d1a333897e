"""Which of several sources has the say."""

import pytest

from router.config.document import parse_document
from router.config.sources import Given, Report, drop_unused, fill_variables, lay_over
from router.config.tree import Branch, Leaf, find, plain

BACKENDS = "backends:\n  - url: http://a\n"


def layered(text: str, given: Given) -> tuple[Branch, Report]:
    tree, report = parse_document(text, "f.yaml"), Report()
    drop_unused(tree, given, report)
    fill_variables(tree, given, report)
    lay_over(tree, given, report)
    return tree, report


def value(text: str, path: str, **sources: dict[str, str]) -> tuple[object, str]:
    flags = {name: [one] for name, one in sources.pop("flags", {}).items()}
    tree, report = layered(text, Given(flags, **sources))  # type: ignore[arg-type]
    assert not report.faults
    leaf = find(tree, tuple(path.split(".")))
    return (leaf.value, leaf.origin) if isinstance(leaf, Leaf) else (None, "")


def test_flags_beat_the_environment_which_beats_dotenv_which_beats_the_file() -> None:
    text = "server:\n  port: 1\n"
    env, dotenv, flags = {"PROXY_PORT": "2"}, {"PROXY_PORT": "3"}, {"--port": "4"}

    assert value(text, "server.port", environ=env, dotenv=dotenv, flags=flags) == ("4", "--port")
    assert value(text, "server.port", environ=env, dotenv=dotenv) == ("2", "env PROXY_PORT")
    assert value(text, "server.port", dotenv=dotenv) == ("3", ".env PROXY_PORT")
    assert value(text, "server.port") == ("1", "f.yaml:2")


def test_generic_names_stay_below_the_file_and_below_specific_names() -> None:
    text = "server:\n  port: 1\n"

    assert value(text, "server.port", environ={"PORT": "2"}) == ("1", "f.yaml:2")
    assert value("", "server.port", environ={"PORT": "2"}, dotenv={"PROXY_PORT": "3"}) == ("3", ".env PROXY_PORT")
    assert value("", "server.port", environ={"PORT": "2"}, dotenv={"PORT": "3"}) == ("2", "env PORT")
    assert value("", "server.port", dotenv={"PORT": "3"}) == ("3", ".env PORT")
    assert value("", "timeouts.total", environ={"TIMEOUT": "30", "REQUEST_TIMEOUT": "60"})[0] == "60"


def test_an_empty_variable_says_nothing() -> None:
    assert value("", "server.port", environ={"PROXY_PORT": "", "PORT": " "}) == (None, "")


def test_a_true_debug_beats_the_log_level_and_anything_else_says_nothing() -> None:
    level = {"LOG_LEVEL": "warning"}

    assert value("", "logging.level", environ={**level, "DEBUG": "true"}) == ("debug", "env DEBUG")
    assert value("", "logging.level", environ={**level, "DEBUG": "false"}) == ("warning", "env LOG_LEVEL")
    assert value("", "logging.level", environ={**level, "DEBUG": "express:*"}) == ("warning", "env LOG_LEVEL")


def test_variables_are_looked_up_in_the_environment_first() -> None:
    text = "server:\n  host: ${H}\n"

    assert value(text, "server.host", environ={"H": "a"}, dotenv={"H": "b"}) == ("a", "f.yaml:2, env H")
    assert value(text, "server.host", dotenv={"H": "b"}) == ("b", "f.yaml:2, .env H")


def test_a_variable_that_is_not_set_is_a_fault_with_its_line() -> None:
    _, report = layered("server:\n  host: ${H}\n  port: ${P:?which}\n", Given())

    assert [str(fault) for fault in report.faults] == [
        "server.host (line 2): H is not set; set it, or write ${H:-default}",
        "server.port (line 3): P is not set: which",
    ]


def test_foreign_keys_of_the_file_become_ours() -> None:
    text = "llm:\n  base_url: http://a\n  type: vllm\n  api_key: k\n  timeout: 30\n  max_retries: 3\n"

    tree, report = layered(text, Given())

    assert not report.faults
    assert plain(tree) == {
        "timeouts": {"total": "30"},
        "retry": {"max_attempts": "4"},
        "backends": [{"url": "http://a", "name": "default", "dialect": "auto", "api_key": "k"}],
    }
    leaf = find(tree, ("retry", "max_attempts"))
    assert isinstance(leaf, Leaf)
    assert leaf.origin == "f.yaml:6 llm.max_retries"


def test_a_foreign_key_beside_ours_is_a_fault() -> None:
    _, report = layered("logging:\n  backups: 1\n  backup_count: 2\n", Given())

    assert (
        str(report.faults[0])
        == "logging.backups (line 2): is given here and as logging.backup_count (line 3); keep one"
    )


def test_what_is_wrong_in_a_foreign_section_is_told_under_its_own_name() -> None:
    _, report = layered("llm:\n  base_ulr: x\n  timeout: [1]\n  max_retries: many\n  base_url:\n", Given())

    assert sorted(fault.path for fault in report.faults) == ["llm.base_ulr", "llm.max_retries", "llm.timeout"]
    assert layered("llm: x", Given())[1].faults[0].path == "llm"
    assert layered("session: x", Given())[1].faults[0].path == "session"
    (fault,) = layered("session:\n  max_session: 5\n", Given())[1].faults
    assert str(fault).startswith("session.max_session (line 2): unknown key")


def test_a_variable_that_cannot_be_converted_is_told_with_its_name() -> None:
    _, report = layered("", Given(environ={"MAX_RETRIES": "many"}))

    assert (
        str(report.faults[0]) == "retry.max_attempts: must be a whole number, 0 or more, not 'many' (env MAX_RETRIES)"
    )


def test_what_has_no_effect_is_noted_and_never_shown() -> None:
    text = "session: {enabled: true, similarity_threshold: 0.85}\n"

    tree, report = layered(text, Given(environ={"PROXY_API_KEY": "canary", "WORKER_THREADS": "4"}))

    assert plain(tree) == {"sessions": {"enabled": "true"}}
    assert not report.faults
    assert len(report.notices) == 3
    assert any("NOT asked for a key" in notice for notice in report.notices)
    assert "canary" not in str(report.notices)


def test_interceptors_are_middlewares_and_both_at_once_are_a_fault() -> None:
    tree, report = layered("interceptors:\n  - type: printer\n", Given())

    assert plain(tree) == {"middlewares": [{"type": "printer"}]}
    assert not report.faults
    both = layered("interceptors:\n  - type: printer\nmiddlewares:\n  - type: trace\n", Given())[1]
    assert [fault.path for fault in both.faults] == ["middlewares"]


def test_options_of_other_printers_that_mean_nothing_here_are_noted() -> None:
    text = "middlewares:\n  - type: printer\n    config: {show_tools: true, log_body: true}\n  - type: trace\n"

    tree, report = layered(text, Given())

    assert plain(tree) == {"middlewares": [{"type": "printer", "config": {"log_body": "true"}}, {"type": "trace"}]}
    assert len(report.notices) == 1
    assert "middlewares.0.config.show_tools" in report.notices[0]


@pytest.mark.parametrize("text", ["middlewares: 3", "middlewares: {a: 1}", "middlewares: [3, [4], {type: [5]}]"])
def test_middlewares_of_a_wrong_form_are_left_for_the_schema_to_refuse(text: str) -> None:
    _, report = layered(text, Given())

    assert not report.notices


def test_the_limit_of_connections_is_laid_over_every_backend() -> None:
    text = "backends:\n  - url: http://a\n    max_connections: 5\n  - url: http://b\n"

    tree, _ = layered(text, Given(environ={"MAX_CONNECTIONS": "7"}))

    assert [find(tree, ("backends", n, "max_connections")).value for n in (0, 1)] == ["7", "7"]  # type: ignore[union-attr]
