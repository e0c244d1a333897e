"""Rules of router/config/middlewares.py: the entries of `middlewares`, and that the documents name all options."""

import re
from pathlib import Path

import pytest

from router.config.keys import keys
from router.config.load import load
from router.config.middlewares import OWN, MiddlewareConfig, PrinterOptions, TraceOptions, names_of
from router.errors import ConfigError

STRICT = "tests.middleware.samples:Strict"
BACKENDS = "backends: [{url: 'http://a:1'}]\n"


def faults(text: str, tmp_path: Path) -> list[str]:
    path = tmp_path / "router.yaml"
    path.write_text(BACKENDS + text)
    with pytest.raises(ConfigError) as caught:
        load(path)
    return [str(fault) for fault in caught.value.faults]


def test_options_stand_below_config_and_have_the_types_of_their_middleware() -> None:
    one = MiddlewareConfig.model_validate({"type": "trace", "config": {"max_body_size": "1KB", "max_age": "1h"}})

    assert isinstance(one.config, TraceOptions)
    assert one.enabled
    assert (one.config.max_body_size, one.config.max_age, one.config.max_files) == (1024, 3600, 10_000)
    assert MiddlewareConfig.model_validate({"type": "printer"}).config == PrinterOptions()


def test_the_configuration_of_another_proxy_is_one_of_ours(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(
        BACKENDS + "middlewares:\n  - type: trace\n    enabled: true\n"
        "    config: {directory: ./traces, include_headers: true, include_body: true, max_body_size: 1048576}\n"
        "  - type: printer\n    enabled: true\n"
        "    config: {log_requests: true, log_responses: true, log_body: false}\n"
    )

    loaded = load(path)

    assert [each.config for each in loaded.config.middlewares] == [TraceOptions(), PrinterOptions()]
    assert loaded.origins["middlewares.0.config.directory"] == "router.yaml:5"


@pytest.mark.row(68)
def test_every_fault_is_told_with_its_key_and_a_suggestion(tmp_path: Path) -> None:
    found = faults(
        f"""\
middlewares:
  - type: trace
    config: {{directry: x, max_body_size: big}}
  - type: printer
    config: {{max_files: 3}}
  - type: nothing_of_this_name.x:Y
  - type: Trace
  - {{type: {STRICT}, config: {{wrod: a, api_key: [canary]}}}}
  - type: trace
    directory: x
  - enabled: true
""",
        tmp_path,
    )

    assert sorted(found) == [
        'middlewares.0.config.directry (line 4): unknown key; did you mean directory?',
        "middlewares.0.config.max_body_size (line 4): must be a size such as 4096, 64KB, 64MB or 1GiB, not 'big'",
        'middlewares.1.config.max_files (line 6): unknown key; middlewares.1.config may have: log_requests,'
        ' log_responses, log_body, max_body_size',
        'middlewares.2.type (line 7): nothing_of_this_name.x cannot be imported: ModuleNotFoundError: No'
        " module named 'nothing_of_this_name', not 'nothing_of_this_name.x:Y'",
        'middlewares.3.type (line 8): must be trace, printer or the place of a class, as'
        " package.module:Class, not 'Trace'",
        'middlewares.4.config.api_key (line 9): must be a text, and not empty',
        'middlewares.4.config.word (line 9): is missing',
        'middlewares.4.config.wrod (line 9): unknown key; did you mean word?',
        'middlewares.5.directory (line 11): unknown key; middlewares.5 may have: enabled, type, config',
        'middlewares.6.type (line 12): is missing',
    ]


def test_a_class_that_is_off_is_not_imported() -> None:
    one = MiddlewareConfig.model_validate({"type": "no_such.module:It", "enabled": "no", "config": {"any": "thing"}})

    assert not type(one.config).model_fields


@pytest.mark.parametrize("text", ["middlewares: trace", "middlewares: {type: trace}", "middlewares:\n  - trace\n"])
def test_it_must_be_a_list_of_sections(tmp_path: Path, text: str) -> None:
    assert faults(text, tmp_path)


def test_there_are_so_many_at_most(tmp_path: Path) -> None:
    assert "at most 32" in faults("middlewares:\n" + "  - type: printer\n" * 33, tmp_path)[0]


def test_names_are_told_of_types_that_are_known() -> None:
    assert "directory" in names_of("trace")
    assert next(iter(names_of(STRICT))) == "word"
    assert not names_of("no_such:X")
    assert not names_of(None)


@pytest.mark.parametrize("kind", OWN)
def test_the_documentation_has_every_option_with_its_default(kind: str, root: Path) -> None:
    text = (root / "docs" / "middlewares.md").read_text()
    section = re.split(r"^## ", text, flags=re.MULTILINE)
    (own,) = [each for each in section if each.startswith(f"{kind}\n")]
    rows = re.findall(r"^\| `(\w+)` \| ([^|]+) \| [^|]{4,} \|$", own, re.MULTILINE)

    assert rows == [(key.path, key.shown) for key in keys(OWN[kind])]


@pytest.mark.parametrize("kind", [*OWN, STRICT])
def test_its_options_are_shown_one_by_one(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"
    path.write_text(f"{BACKENDS}middlewares: [{{type: '{kind}', config: {{{'word: a' if kind == STRICT else ''}}}}}]\n")

    shown = [key for key in load(path).origins if key.startswith("middlewares.0.config.")]

    assert [key.rsplit(".", 1)[1] for key in shown] == list(names_of(kind))
