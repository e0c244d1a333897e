import json
from typing import Any

from router.simulator.anthropic import answer_messages, as_chat, count_tokens
from router.simulator.settings import Settings
from tests.simulator.asking import events_of
from tests.simulator.test_chat import sent

SETTINGS = Settings(models=("m",), tokens=6)
HELLO: dict[str, Any] = {"max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}
TOOL = {
    "name": "add",
    "input_schema": {"type": "object", "properties": {"a": {"type": "integer"}}, "required": ["a"]},
}


def answer(**fields: Any) -> Any:
    return json.loads(answer_messages({**HELLO, **fields}, SETTINGS).body or b"")


def stream(**fields: Any) -> list[Any]:
    return events_of(sent(answer_messages({**HELLO, "stream": True, **fields}, SETTINGS)))


def test_a_streamed_answer_says_what_the_plain_one_says() -> None:
    deltas = [event["delta"]["text"] for event in stream() if event["type"] == "content_block_delta"]

    assert "".join(deltas) == answer()["content"][0]["text"]


def test_a_stream_begins_and_ends_as_the_api_has_it() -> None:
    """There is no [DONE]: message_stop is the end."""
    kinds = [event["type"] for event in stream()]

    assert kinds[:3] == ["message_start", "content_block_start", "content_block_delta"]
    assert kinds[-3:] == ["content_block_stop", "message_delta", "message_stop"]


def test_why_it_ended_is_told_in_anthropics_words() -> None:
    text = answer()["content"][0]["text"]

    assert answer()["stop_reason"] == "end_turn"
    assert answer(max_tokens=2)["stop_reason"] == "max_tokens"
    assert (answer(stop_sequences=[text[8:12]])["stop_reason"]) == "stop_sequence"


def test_a_forced_tool_is_used() -> None:
    plain = answer(tools=[TOOL], tool_choice={"type": "any"})
    events = stream(tools=[TOOL], tool_choice={"type": "tool", "name": "add"})
    json_text = "".join(event["delta"]["partial_json"] for event in events if event["type"] == "content_block_delta")

    assert (plain["stop_reason"], plain["content"][0]["input"]) == ("tool_use", {"a": 0})
    assert json.loads(json_text) == {"a": 0}
    assert events[1]["content_block"]["type"] == "tool_use"


def test_blocks_become_messages_of_a_chat() -> None:
    conversation = [
        {"role": "user", "content": "Add"},
        {"role": "assistant", "content": [{"type": "tool_use", "id": "abcDEF123", "name": "add", "input": {"a": 1}}]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "abcDEF123", "content": "2"}]},
    ]
    chat = as_chat({"system": [{"type": "text", "text": "Be brief."}], "messages": conversation})

    assert [message["role"] for message in chat["messages"]] == ["system", "user", "assistant", "tool"]
    assert answer(messages=conversation)["type"] == "message"


def test_tokens_are_counted_without_an_answer() -> None:
    told = json.loads(count_tokens(HELLO, SETTINGS).body or b"")

    assert told == {"input_tokens": answer()["usage"]["input_tokens"]}
