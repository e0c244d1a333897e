"""Rules of router/config/section.py: what every section of the schema has."""

import pytest
from pydantic import ValidationError

from router.config.section import Section, none_is_empty


class Some(Section):
    number: int = 1


@pytest.mark.parametrize("nothing", [None, "", {}])
def test_a_section_with_nothing_in_it_has_its_defaults(nothing: object) -> None:
    assert Some.model_validate(nothing) == Some()


def test_sections_are_frozen_and_refuse_unknown_keys_without_quoting_them() -> None:
    with pytest.raises(ValidationError) as caught:
        Some.model_validate({"other": "canary"})

    assert "canary" not in str(caught.value)
    with pytest.raises(ValidationError):
        Some().number = 2  # type: ignore[misc]


def test_a_list_that_is_commented_out_is_empty() -> None:
    assert [none_is_empty(value) for value in (None, "", [1])] == [(), (), [1]]
