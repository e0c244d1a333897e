"""YAML text to a tree with line numbers."""

import contextlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.config.document import MAX_TEXT, parse_document, parse_section
from router.config.tree import Leaf, find, plain
from router.errors import ConfigError, ConfigFault


def read(text: str) -> object:
    return plain(parse_document(text, "f.yaml"))


def faults(text: str) -> list[ConfigFault]:
    with pytest.raises(ConfigError) as caught:
        parse_document(text, "f.yaml")
    return caught.value.faults


def test_scalars_keep_the_text_that_was_written() -> None:
    """A YAML 1.1 reader would return False, True, 83, 90 and 1.1."""
    written = {"a": "off", "b": "yes", "c": "0123", "d": "1:30", "e": "1.10", "f": "2026-01-01", "g": "off"}

    assert read("a: off\nb: yes\nc: 0123\nd: 1:30\ne: 1.10\nf: 2026-01-01\ng: 'off'") == written


def test_empty_is_empty_and_null_is_none() -> None:
    assert read("a:\nb: null\nc: ~\nd: 'null'") == {"a": "", "b": None, "c": None, "d": "null"}
    assert read("") == read("# nothing\n") == read("---\n") == {}


def test_every_value_knows_its_file_and_line() -> None:
    tree = parse_document("server:\n  port: 1\nbackends:\n  - url: http://a\n", "f.yaml")

    leaf = find(tree, ("backends", 0, "url"))
    assert leaf is not None
    assert (leaf.line, leaf.origin) == (4, "f.yaml:4")


def test_a_key_given_twice_is_a_fault_with_both_lines() -> None:
    (fault,) = faults("server:\n  port: 1\n  host: h\n  port: 2\n")

    assert fault.line == 4
    assert "'port'" in fault.message
    assert "line 2" in fault.message


def test_all_faults_of_a_document_come_at_once() -> None:
    found = faults("a: 1\na: 2\nb: !python/object:os.system x\nc: *nowhere\n? [x]\n: y\n")

    assert [fault.line for fault in found] == [2, 3, 4, 5]


@pytest.mark.parametrize(
    "text", ["- {url: ${VAR}}", "{url: ${VAR}", "models: [${A}, b]", "{${VAR}: x}", "a: ${X:?set it: now}"]
)
def test_an_unquoted_variable_in_braces_gets_a_hint(text: str) -> None:
    (fault,) = faults(f"x:\n  {text}\n")

    assert fault.hint is not None
    assert '"${VAR}"' in fault.hint


def test_a_tab_gets_a_hint() -> None:
    (fault,) = faults("server:\n\tport: 1\n")

    assert fault.line == 2
    assert "spaces" in str(fault.hint)


def test_characters_that_yaml_forbids_are_named_with_their_line() -> None:
    (fault,) = faults("a: 1\nb: x\0y\n")

    assert fault.line == 2
    assert "U+0000" in fault.message


@pytest.mark.parametrize("text", ["- url: http://a\n", "just words", "42"])
def test_a_file_that_has_no_sections_is_refused(text: str) -> None:
    (fault,) = faults(text)

    assert "sections" in fault.message


def test_a_second_document_is_refused() -> None:
    assert "more than one document" in faults("a: 1\n---\nb: 2\n")[0].message


def test_aliases_and_merge_keys_are_filled_in() -> None:
    text = "x: &base {weight: 2, dialect: auto}\ny:\n  <<: *base\n  weight: 3\nz: *base\nw:\n  <<: [{a: 1}, *base]\n"

    tree = read(text)

    assert isinstance(tree, dict)
    assert tree["y"] == {"weight": "3", "dialect": "auto"}
    assert tree["z"] == {"weight": "2", "dialect": "auto"}
    assert tree["w"] == {"a": "1", "weight": "2", "dialect": "auto"}
    assert "<<" in faults("a:\n  <<: 5\n")[0].message


@pytest.mark.row(68)
@pytest.mark.parametrize("tag", ["!!python/object/apply:os.system", "!!python/name:os.system", "!secret", "!!binary"])
def test_tags_that_could_make_an_object_are_refused_with_their_line(tag: str) -> None:
    (fault,) = faults(f"backends:\n  - url: {tag} x\n")
    assert fault.line == 2
    assert "is not supported" in fault.message


@pytest.mark.row(68)
def test_aliases_cannot_be_expanded_without_bound() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 9)]

    assert "once its aliases are expanded" in faults("\n".join(lines))[0].message


def test_an_alias_within_its_own_anchor_is_refused() -> None:
    assert "no anchor before it" in faults("a: &a [*a]")[0].message


@pytest.mark.parametrize("opening", ["[", "{a: ", "- "])
def test_depth_is_bounded(opening: str) -> None:
    assert "nested deeper" in str(faults("a:\n  " + opening * 5000)[0])


def test_size_is_bounded() -> None:
    assert "larger than 1 MB" in faults("#" * (MAX_TEXT + 1))[0].message


@pytest.mark.row(68)
@settings(max_examples=200, deadline=None)
@given(st.one_of(st.text(max_size=60), st.text(alphabet="a:-[]{}&*!|>'\"%@`#,?<$ \n\t0", max_size=60)))
def test_any_text_is_a_tree_or_a_fault(text: str) -> None:
    with contextlib.suppress(ConfigError):
        assert isinstance(read(text), dict)


BROKEN = ["backends: [{url: http://h:1\n", "a: b: c\n", "b:\n\tx: 1\n", "server:\n  port: 1\n  port: 2\n"]


@pytest.mark.parametrize("other", BROKEN)
def test_a_section_is_read_alone_where_the_rest_is_no_yaml(other: str) -> None:
    section = "admin:  # here\n  # of operators\n\n  port: 7\n# its end\n"
    for text, line in ((section + other, 4), (other + section, 4 + other.count("\n"))):
        with pytest.raises(ConfigError):
            parse_document(text, "f.yaml")
        tree = parse_section(text, "f.yaml", "admin")
        leaf = find(tree, ("admin", "port"))
        assert isinstance(leaf, Leaf)
        assert (leaf.value, leaf.line) == ("7", line)


def test_of_a_file_without_a_fault_only_the_section_is_taken() -> None:
    assert plain(parse_section("server: {port: 1}\nadmin: {port: 7}\n", "f", "admin")) == {"admin": {"port": "7"}}
    assert plain(parse_section("server: {port: 1}\n", "f", "admin")) == {}


@pytest.mark.parametrize(
    "text",
    ["a: b: c\n", "a: b: c\nadmin: {port: 1}\nadmin: {port: 2}\n", "a: b: c\nadmin: [\n", "{admin: {port: 1}, x: [}\n"],
)
def test_a_section_that_cannot_be_told_is_not_guessed(text: str) -> None:
    with pytest.raises(ConfigError):
        parse_section(text, "f.yaml", "admin")
