"""Rules of router/handlers/openapi/words.py."""

import inspect

import pytest

from router import errors as failing
from router.errors import AnswerError, StatusError
from router.handlers.cors import Cors
from router.handlers.openapi import words
from router.translate.refusals import envelope, told
from tests.handlers.openapi.fitting import faults, public

DOCUMENT = public()
ANSWERS = [
    found
    for _, found in inspect.getmembers(failing, inspect.isclass)
    if issubclass(found, AnswerError) and found is not StatusError
]


@pytest.mark.parametrize("kind", ANSWERS)
def test_every_error_of_ours_fits_the_schema_and_has_an_answer_for_its_status(kind: type[AnswerError]) -> None:
    error = kind("It failed.", param="model")

    assert not faults("Error", error.envelope(), DOCUMENT)
    assert not faults("Error", {"type": "error", **error.envelope()}, DOCUMENT)
    statuses = {status for name in words.error_components() for status in words.errors(name)}
    assert str(error.status) in statuses


@pytest.mark.parametrize("status", [400, 401, 404, 413, 422, 429, 500, 503])
@pytest.mark.parametrize(
    "body", [b"{}", b"<html>", b'{"error": {"message": "m", "code": 400}}', b'{"detail": [{"msg": "m", "loc": ["a"]}]}']
)
def test_every_error_of_a_backend_as_it_is_told_fits_the_schema(status: int, body: bytes) -> None:
    assert not faults("Error", envelope(told(status, body, we_hold_key=False)), DOCUMENT)


@pytest.mark.parametrize("value", [{}, {"error": "no object"}, {"detail": "Not Found"}, {"error": {"message": "m"}}])
def test_another_form_of_an_error_does_not_fit(value: object) -> None:
    assert faults("Error", value, DOCUMENT)


def test_the_headers_that_pages_of_other_origins_may_read_are_described() -> None:
    lines = Cors().lines("http://a").decode()
    exposed = lines.partition("Access-Control-Expose-Headers: ")[2].partition("\r\n")[0].split(", ")

    assert set(exposed) <= set(words.HEADERS)


def test_answers_stand_in_the_order_of_their_statuses() -> None:
    assert list(words.errors("Unavailable", "NotFound", "Refused", "BadRequest")) == ["400", "404", "4XX", "503"]
