import json
from typing import Any

import pytest

from router.simulator.refusals import Refusal
from router.simulator.settings import Settings
from router.simulator.texts import answer_detokenize, answer_speech, answer_tokenize
from tests.simulator.asking import events_of
from tests.simulator.test_chat import sent

SETTINGS = Settings(models=("m",), tokens=6)
FORM = "multipart/form-data; boundary=xyz"


def form(**fields: str) -> bytes:
    head = '--xyz\r\nContent-Disposition: form-data; name="'
    parts = [f'{head}{name}"\r\n\r\n{value}\r\n' for name, value in fields.items()]
    file = '--xyz\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n\r\nRIFF\0\r\n--xyz--\r\n'
    return ("".join(parts) + file).encode()


def test_a_text_is_tokens_and_back() -> None:
    told = json.loads(answer_tokenize({"prompt": "Hello router", "return_token_strs": True}, SETTINGS).body or b"")
    back: Any = json.loads(answer_detokenize({"tokens": told["tokens"]}, SETTINGS).body or b"")

    assert back == {"prompt": "<s>Hello router"}
    assert "".join(told["token_strs"]) == "<s>Hello router"
    assert told["count"] == len(told["tokens"])


def test_special_tokens_can_be_left_out() -> None:
    told = json.loads(answer_tokenize({"prompt": "x", "add_special_tokens": False}, SETTINGS).body or b"")

    assert told["count"] == 1


def test_a_recording_is_made_text_and_can_be_streamed() -> None:
    plain = json.loads(answer_speech(form(model="m"), FORM, SETTINGS).body or b"")
    events = events_of(sent(answer_speech(form(model="m", stream="true"), FORM, SETTINGS)))

    assert plain["text"] == "".join(event["choices"][0]["delta"]["content"] for event in events[:-1]).strip()
    assert events[-1] == "[DONE]"
    assert plain["usage"]["type"] == "duration"


def test_the_model_stands_in_a_form_part() -> None:
    with pytest.raises(Refusal, match="404"):
        answer_speech(form(model="other"), FORM, SETTINGS)


@pytest.mark.parametrize(("raw", "kind"), [(b"--xyz--", FORM), (b"garbage", FORM), (b"{}", "application/json")])
def test_a_form_without_a_file_is_refused(raw: bytes, kind: str) -> None:
    with pytest.raises(Refusal, match="400"):
        answer_speech(raw, kind, SETTINGS)
