"""Rules of router/errors.py."""

import pytest

from router import errors
from router.errors import AnswerError, ConfigError, ConfigFault, StatusError


def answer_errors() -> list[type[AnswerError]]:
    return [each for each in AnswerError.__subclasses__() if each is not StatusError]


@pytest.mark.parametrize("kind", answer_errors())
def test_every_error_has_openais_four_fields_and_a_status(kind: type[AnswerError]) -> None:
    error = kind("why", param="model")
    assert set(error.envelope()["error"]) == {"message", "type", "param", "code"}
    assert 400 <= error.status <= 599
    assert (error.kind == "invalid_request_error") == (error.status < 500)


def test_a_backends_report_keeps_its_status_and_never_a_number_as_code() -> None:
    assert StatusError("x", status=503).envelope()["error"]["code"] == "overloaded"
    assert StatusError("x", status=400).envelope()["error"]["type"] == "invalid_request_error"
    assert StatusError("x", status=500).envelope()["error"]["code"] is None


def test_a_config_error_tells_all_its_faults_with_place_and_hint() -> None:
    faults = [ConfigFault("server.prot", "unknown key", line=3, hint="did you mean port?"), ConfigFault("", "empty")]
    assert str(ConfigError(faults)).splitlines() == [
        "server.prot (line 3): unknown key; did you mean port?",
        "config: empty",
    ]


def test_wire_errors_are_no_answers() -> None:
    """What went wrong on the way to a backend is never shown as it is."""
    assert not issubclass(errors.WireError, AnswerError)
