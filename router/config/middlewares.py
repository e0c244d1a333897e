"""The entries of `middlewares`: which there are, and what each may be told. docs/middlewares.md gives the reasons."""

from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, ValidationInfo, field_validator

from router.config.foreign import Options, class_at, options_of
from router.config.section import Section
from router.config.values import FLAG, HEADER, SIZE, SIZE_OR_OFF, TIMEOUT, list_of, matching, whole_or_off

MAX_MIDDLEWARES = 32  # each is asked for each request; their names stand in metrics
TYPE = matching(
    r"trace|printer|[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*",
    "trace, printer or the place of a class, as package.module:Class",
)


class TraceOptions(Options):
    """JSON files of requests and answers."""

    directory: Annotated[str, matching(r".{1,4096}", "the name of a folder")] = "./traces"
    include_headers: Annotated[bool, FLAG] = True
    include_body: Annotated[bool, FLAG] = True
    max_body_size: Annotated[int, SIZE] = 1 << 20  # of each body, and of a stream's events
    redact_headers: Annotated[tuple[str, ...], list_of(HEADER.parse)] = ()
    max_files: Annotated[int | None, whole_or_off(1, 10_000_000)] = 10_000
    max_total_size: Annotated[int | None, SIZE_OR_OFF] = 1 << 30
    max_age: Annotated[float | None, TIMEOUT] = None


class PrinterOptions(Options):
    """Requests and answers on the console."""

    log_requests: Annotated[bool, FLAG] = True
    log_responses: Annotated[bool, FLAG] = True
    log_body: Annotated[bool, FLAG] = False
    max_body_size: Annotated[int, SIZE] = 4 << 10  # of each body that is shown


OWN: dict[str, type[Options]] = {"trace": TraceOptions, "printer": PrinterOptions}


class MiddlewareConfig(Section):
    """One entry."""

    enabled: Annotated[bool, FLAG] = True  # first: a class that is not wanted is not imported
    type: Annotated[str, TYPE]
    config: Options = Field(default=Options(), validate_default=True)

    @field_validator("type")
    @classmethod
    def _is_there(cls, path: str, info: ValidationInfo) -> str:
        if path not in OWN and info.data.get("enabled", True):
            class_at(path)
            options_of(path)
        return path

    @field_validator("config", mode="plain")
    @classmethod
    def _of_its_kind(cls, value: Any, info: ValidationInfo) -> Options:
        """Read the options as the type's. Of a foreign one that is off nothing is known: its own are passed over."""
        kind, is_on = info.data.get("type"), info.data.get("enabled", True)
        if kind is None or not (kind in OWN or is_on):
            return Options()
        model = OWN[kind] if kind in OWN else options_of(kind)
        return model.model_validate({} if type(value) is Options else value)


def names_of(kind: object) -> Sequence[str]:
    """Return the options that a type has; none of one that is not known."""
    if not isinstance(kind, str):
        return ()
    try:
        return tuple((OWN.get(kind) or options_of(kind)).model_fields)
    except ValueError:
        return ()

