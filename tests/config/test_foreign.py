"""Rules of router/config/foreign.py: classes of users, and what they may be told."""

import pickle
import sys
from pathlib import Path

import pytest
from pydantic import ValidationError

from router.config.foreign import class_at, options_of
from router.config.show import values
from router.config.values import MASK
from tests.middleware.samples import Recorder, Strict

SAMPLES = "tests.middleware.samples"
STRICT = f"{SAMPLES}:Strict"


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A file that Python finds as `of_a_user`."""
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delitem(sys.modules, "of_a_user", raising=False)
    return tmp_path / "of_a_user.py"


def test_a_class_is_found_by_its_import_path() -> None:
    assert class_at(f"{SAMPLES}:Recorder") is Recorder


@pytest.mark.parametrize(
    ("path", "why"),
    [
        ("no_such_package.x:Y", "no_such_package.x cannot be imported: ModuleNotFoundError"),
        (f"{SAMPLES}:Nobody", "has no class Nobody"),
        (f"{SAMPLES}:RAISED", "has no class RAISED"),
        (f"{SAMPLES}:Recorder.seen", "has no class Recorder.seen"),
        (f"{SAMPLES}:Hookless", "has none of the hooks on_request"),
        (f"{SAMPLES}:Waiting", "Waiting.on_request is async"),
    ],
)
def test_what_cannot_be_used_is_told_with_its_reason(path: str, why: str) -> None:
    with pytest.raises(ValueError, match=why.replace(".", r"\.")):
        class_at(path)


@pytest.mark.parametrize("code", ["raise SystemExit(3)", "1/0", "x = (", "import no_such_thing", "raise KeyError"])
def test_code_that_fails_while_it_is_imported_is_a_fault_and_not_an_end(module: Path, code: str) -> None:
    module.write_text(code)

    with pytest.raises(ValueError, match="of_a_user cannot be imported: "):
        class_at("of_a_user:X")


def test_a_constructor_s_parameters_are_the_options_with_their_types() -> None:
    texts = {"word": "off", "count": "0123", "share": "1e-1", "flag": "on", "names": "a, b", "api_key": "sk-1"}
    options = options_of(STRICT).model_validate(texts)

    assert options.given() == {
        "word": "off", "count": 123, "share": 0.1, "flag": True, "names": ["a", "b"], "api_key": "sk-1",
    }  # fmt: skip
    assert Strict(**options.given()).given == ("off", 123, 0.1, True, ["a", "b"], "sk-1")


def test_defaults_are_the_constructor_s_and_off_is_none_where_none_may_be() -> None:
    assert options_of(STRICT).model_validate({"word": "a"}).given() == {
        "word": "a", "count": 3, "share": 0.5, "flag": False, "names": None, "api_key": "",
    }  # fmt: skip
    assert options_of(STRICT).model_validate({"word": "a", "names": "off"}).given()["names"] is None


@pytest.mark.parametrize(
    ("options", "part"),
    [
        ({}, "word"),
        ({"word": "a", "nope": 1}, "nope"),
        ({"word": "a", "count": "many"}, "whole number"),
        ({"word": "a", "share": "half"}, "must be a number"),
        ({"word": "a", "share": "inf"}, "must be a number"),
        ({"word": "a", "flag": "perhaps"}, "true or false"),
        ({"word": ["a"]}, "must be a text"),
        ({"word": "a", "names": {"a": 1}}, "must be a list"),
    ],
)
def test_options_are_checked_by_their_types(options: dict[str, object], part: str) -> None:
    with pytest.raises(ValidationError, match=part):
        options_of(STRICT).model_validate(options)


def test_secrets_are_masked_wherever_options_are_shown() -> None:
    options = options_of(STRICT).model_validate({"word": "http://u:canary@h/?a=canary", "api_key": "canary"})

    shown = dict(values(options))
    assert (shown["api_key"], shown["word"], shown["count"]) == (MASK, MASK, "3")
    assert "canary" not in f"{shown} {options!r} {options!s} {options.model_dump()}"


def test_another_process_gets_the_same_options() -> None:
    options = options_of(STRICT).model_validate({"word": "a", "api_key": "sk-1", "names": "x,y"})

    again = pickle.loads(pickle.dumps(options))

    assert again == options
    assert again.given() == options.given()


@pytest.mark.parametrize(
    ("name", "why"), [("Sloppy", "each option must be a keyword parameter"), ("Odd", "option when is of a type")]
)
def test_parameters_that_a_configuration_cannot_give_are_refused(name: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        options_of(f"{SAMPLES}:{name}")


@pytest.mark.parametrize("name", ["model_x", "_x", "given", "copy"])
def test_parameters_that_would_stand_in_the_way_are_refused(module: Path, name: str) -> None:
    module.write_text(f"class X:\n    def __init__(self, {name}=1): ...\n    def on_end(self, call, ending): ...\n")

    with pytest.raises(ValueError, match="take another name"):
        options_of.__wrapped__("of_a_user:X")


def test_a_class_without_a_constructor_has_no_options() -> None:
    assert not options_of(f"{SAMPLES}:Recorder").model_fields
