"""The base of every section of the schema."""

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


def none_is_empty(value: object) -> object:
    """A list whose items are all commented out is an empty one."""
    return () if value is None or value == "" else value


class Section(BaseModel):
    """Base of every section; one whose keys are all commented out is an empty one."""

    model_config = ConfigDict(frozen=True, extra="forbid", hide_input_in_errors=True)

    @model_validator(mode="before")
    @classmethod
    def _empty(cls, data: Any) -> Any:
        return {} if data is None or data == "" else data
