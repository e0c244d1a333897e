import json
from typing import Any

from router.simulator.responses import answer_response
from router.simulator.settings import Settings
from tests.simulator.asking import events_of
from tests.simulator.test_chat import sent

SETTINGS = Settings(models=("m",), tokens=6)


def answer(**fields: Any) -> Any:
    return json.loads(answer_response({"input": "Hello", **fields}, SETTINGS).body or b"")


def stream(**fields: Any) -> list[Any]:
    return events_of(sent(answer_response({"input": "Hello", "stream": True, **fields}, SETTINGS)))


def test_a_streamed_answer_says_what_the_plain_one_says() -> None:
    deltas = [event["delta"] for event in stream() if event["type"] == "response.output_text.delta"]

    assert "".join(deltas) == answer()["output"][0]["content"][0]["text"]


def test_events_are_numbered_and_the_last_one_has_the_whole_response() -> None:
    events = stream()

    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert (events[0]["type"], events[-1]["type"]) == ("response.created", "response.completed")
    assert events[-1]["response"]["output"] == answer()["output"]


def test_an_answer_that_is_cut_is_incomplete() -> None:
    assert answer(max_output_tokens=2)["incomplete_details"] == {"reason": "max_output_tokens"}
    assert answer()["status"] == "completed"


def test_input_is_text_or_messages_and_instructions_come_first() -> None:
    items = [{"role": "developer", "content": "Be brief."}, {"role": "user", "content": [{"text": "Hello"}]}]

    assert answer(input=items)["usage"]["input_tokens"] == answer(instructions="Be brief.")["usage"]["input_tokens"]
