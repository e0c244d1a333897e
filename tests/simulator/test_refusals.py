import json

from router.simulator import refusals


def test_an_error_is_vllms_object_with_the_status_as_its_code() -> None:
    error = refusals.bad_value("n is odd.", param="n", value=3)

    assert error.status == 400
    assert json.loads(error.body) == {
        "error": {"message": "n is odd. (parameter=n, value=3)", "type": "BadRequestError", "param": "n", "code": 400}
    }


def test_an_unknown_model_is_told_with_those_that_exist() -> None:
    error = refusals.unknown_model("x", ("a", "b"))

    assert error.status == 404
    assert "The model `x` does not exist. Valid aliases: a, b." in error.body.decode()


def test_a_wrong_key_is_a_bare_string() -> None:
    assert refusals.UNAUTHORIZED.body == b'{"error":"Unauthorized"}'


def test_anthropics_words_keep_type_and_message() -> None:
    told = json.loads(refusals.anthropic(refusals.bad("no")).body)

    assert told == {"type": "error", "error": {"type": "BadRequestError", "message": "no"}}
    assert refusals.anthropic(refusals.NOT_FOUND) is refusals.NOT_FOUND
