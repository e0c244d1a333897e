"""Faults as people read them."""

import pytest

from router.config.document import parse_document
from router.config.faults import fault_at, from_validation, quoted, without_repeats
from router.config.keys import keys
from router.config.schema import Config
from router.config.tree import Leaf, plain
from router.errors import ConfigFault


def faults(text: str) -> list[str]:
    tree = parse_document(text, "f.yaml")
    with pytest.raises(ValueError) as caught:
        Config.model_validate(plain(tree))
    return [str(fault) for fault in from_validation(caught.value, tree)]  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("server:\n  prot: 1", "server.prot (line 2): unknown key; did you mean port?"),
        ("server:\n  port: x", "server.port (line 2): must be a whole number from 0 to 65535, not 'x'"),
        ("server:\n  port:", "server.port (line 2): must be a whole number from 0 to 65535, not empty"),
        ("backends:\n  - weight: 1", "backends.0.url (line 2): is missing"),
        ("backends: http://a", "backends (line 1): must be a list; each item on a line of its own, after a dash"),
        ("backends:\n  - http://a", "backends.0 (line 2): must be a section; write - url: http://..."),
        ("middlewares:\n  - trace", "middlewares.0 (line 2): must be a section; write - type: trace"),
        ("sessions: on", "sessions (line 1): must be a section; did you mean sessions.enabled: on?"),
        ("server: 5", "server (line 1): must be a section; keys below it, indented"),
        ("resume: off", "resume (line 1): must be a section; did you mean resume.mode: off?"),
        ("resume: exact", "resume (line 1): must be a section; did you mean resume.mode: exact?"),
        ("hedge: off", "hedge (line 1): must be a section; did you mean hedge.after: off?"),
        ("hedge: soon", "hedge (line 1): must be a section; keys below it, indented"),
        ("metrics: yes", "metrics (line 1): must be a section; did you mean metrics.enabled: yes?"),
        ("retry: off", "retry (line 1): must be a section; keys below it, indented"),
        (
            "server: {cors: off}",
            "server.cors (line 1): must be a section; did you mean server.cors.enabled: off?",
        ),
        ("server:\n  port: [1]", "server.port (line 2): must be a whole number from 0 to 65535"),
        ("breaker:\n  open_for: 1h", "breaker (line 1): max_open_for must not be less than open_for"),
    ],
)
def test_a_fault_has_path_line_reason_and_hint(text: str, fault: str) -> None:
    assert faults(text) == [fault]


@pytest.mark.parametrize("section", ["admin", "breaker", "health", "hedge", "metrics", "resume", "server.cors"])
def test_a_section_that_is_said_to_be_off_is_told_the_key_that_switches_it(section: str) -> None:
    text = section.replace(".", ": {") + ": off" + "}" * section.count(".")
    (fault,) = faults(text)
    key = fault.rpartition("did you mean ")[2].partition(": ")[0]

    assert key in {each.path for each in keys()}
    assert key.startswith(f"{section}.")


def test_all_faults_come_at_once() -> None:
    assert len(faults("server:\n  prot: 1\n  port: x\nretry:\n  budget: 20\nbackends:\n  - weight: 0")) == 5


def test_a_value_that_came_by_another_name_is_told_with_it() -> None:
    tree = parse_document("server: {port: x}", "f.yaml")
    tree.items["pool"] = Leaf("x", "env POOL", None, "x", "env POOL")  # type: ignore[index]

    assert str(fault_at(tree, ("pool",), "must be a section")) == "pool: must be a section (env POOL)"


def test_what_may_be_a_secret_is_not_quoted() -> None:
    assert quoted(Leaf("s", "f", 1, "s"), ("backends", 0, "api_key")) == ""
    assert quoted(Leaf("s", "f", 1, "http://u:p@h"), ("backends", 0, "url")) == ""
    assert quoted(Leaf("s", "f", 1, "http://h?key=s"), ("backends", 0, "url")) == ""
    assert quoted(Leaf("s", "f", 1, None), ("server", "port")) == ""
    assert len(quoted(Leaf("s", "f", 1, "x" * 5000), ("server", "port"))) < 200


def test_one_fault_is_told_per_path_in_the_order_of_the_file() -> None:
    given = [
        ConfigFault("b", "1", line=9),
        ConfigFault("a", "2"),
        ConfigFault("c", "3", line=2),
        ConfigFault("b", "again", line=9),
        ConfigFault("", "whole"),
    ]

    assert [fault.message for fault in without_repeats(given)] == ["3", "1", "whole", "2"]


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ("server: {{deadline_header: {}}}", "server.deadline_header"),
        ("server: {{cors: {{allow_headers: [{}]}}}}", "server.cors.allow_headers"),
        ("sessions: {{headers: [{}]}}", "sessions.headers"),
        ("logging: {{headers: [{}]}}", "logging.headers"),
        ("middlewares: [{{type: trace, config: {{redact_headers: [{}]}}}}]", "middlewares.0.config.redact_headers"),
    ],
)
def test_a_header_is_named_whole_wherever_one_is(text: str, key: str) -> None:
    """A pattern would match nothing, and a name that no header can have neither; nobody would be told."""
    for wrong, why in (("x-*", "patterns with * are not supported"), ("'x team'", "no blank"), ("'x:'", "no colon")):
        (fault,) = faults(text.format(wrong))
        assert fault.startswith(f"{key} (line 1): ")
        assert why in fault
    Config.model_validate(plain(parse_document(text.format("X-Team"), "f.yaml")))


def test_a_star_alone_stands_for_all_headers_where_browsers_ask() -> None:
    assert Config.model_validate({"server": {"cors": {"allow_headers": "*"}}}).server.cors.allow_headers == ("*",)
    assert "patterns" in faults("logging: {headers: ['*']}")[0]
