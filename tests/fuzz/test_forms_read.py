"""The other readers of forms read, and one that reads otherwise is seen."""

import itertools
import sys
from pathlib import Path

import pytest

from tests.fuzz.envelopes import CONTENT_TYPE
from tests.fuzz.forms_read import Reader, check, fetched, forms, installed, run
from tests.fuzz.seeds import FORMS


def test_the_installed_version_reads_a_form_whole_and_in_pieces() -> None:
    reader, body = installed(), FORMS["stream"]
    expected = {"stream": "0", "model": "m"}
    assert reader.fields([body], CONTENT_TYPE) == expected
    assert reader.fields([body[at : at + 1] for at in range(len(body))], CONTENT_TYPE) == expected
    assert reader.fields([body[:-20]], "multipart/form-data") is None
    assert check([reader], body, CONTENT_TYPE) == []
    assert check([reader], body[:-20], CONTENT_TYPE) is None


def test_a_version_that_finds_another_model_is_told_of(capsys: pytest.CaptureFixture[str]) -> None:
    class Other(Reader):
        def fields(self, parts: object, content_type: str) -> dict[str, str]:
            return {"model": "other"}

    other = Other("9.9", installed().package)
    told = check([installed(), other], FORMS["model"], CONTENT_TYPE)
    assert told is not None
    assert [line.partition(":")[0] for line in told] == ["9.9"]
    assert run([other], cases=50, seed=1) > 0
    assert "read otherwise by one of 9.9" in capsys.readouterr().out


def test_cases_are_the_same_for_a_seed_and_enough_of_them_are_taken() -> None:
    cases = list(itertools.islice(forms(1), 900))
    assert cases == list(itertools.islice(forms(1), 900))
    taken = [case for case in cases if check([], case[1], case[0]) is not None]
    assert len(taken) > 100


def test_some_cases_are_read_alike() -> None:
    assert run([installed()], cases=300, seed=1) == 0


def test_a_version_is_taken_from_the_cache_and_left_out_where_it_is_not_to_be_had(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(sys, "executable", "/bin/false")
    assert fetched("0.0.9") is None
    place = tmp_path / "devstral-router" / "multipart" / "0.0.9"
    place.mkdir(parents=True)
    (place / "multipart").symlink_to(installed().package)
    reader = fetched("0.0.9")
    assert reader is not None
    assert check([reader], FORMS["twice"], CONTENT_TYPE) == []
