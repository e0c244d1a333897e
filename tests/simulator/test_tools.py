import re
from typing import Any

import pytest

from router.simulator.generation import Sampling, generate
from router.simulator.refusals import Refusal
from router.simulator.tools import call_ident, deltas, read_call, whole

WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    },
}
ADD = {"type": "function", "function": {"name": "add"}}


def call_for(choice: Any, *, asked: str = "", parser: str = "mistral") -> Any:
    body = {"tools": [WEATHER, ADD], "tool_choice": choice}
    return read_call(body, prompt=[1], parser=parser, asked=asked)


@pytest.mark.parametrize(
    ("choice", "name", "finish", "content"),
    [
        ("required", "get_weather", "tool_calls", ""),
        ({"type": "function", "function": {"name": "add"}}, "add", "stop", ""),
    ],
)
def test_a_forced_call_is_always_made(choice: Any, name: str, finish: str, content: str) -> None:
    call = call_for(choice)

    assert (call.name, call.finish, call.content) == (name, finish, content)


def test_under_auto_the_tool_that_the_user_names_is_called() -> None:
    assert call_for("auto", asked="Please add 1 and 2").name == "add"
    assert call_for(None, asked="Please add").content is None
    assert call_for("auto", asked="Hello") is None
    assert call_for("none", asked="add") is None


def test_arguments_conform_to_the_tools_schema() -> None:
    assert call_for("required").arguments == '{"city":""}'


def test_ids_have_the_form_of_the_parser() -> None:
    assert re.fullmatch(r"[0-9a-zA-Z]{9}", call_ident("x", parser="mistral"))
    assert re.fullmatch(r"chatcmpl-tool-[0-9a-f]{16}", call_ident("x", parser="hermes"))


@pytest.mark.parametrize("parser", ["mistral", "hermes"])
def test_the_deltas_of_a_call_add_up_to_the_whole_call(parser: str) -> None:
    call = call_for("required", parser=parser)
    generation = generate([1], Sampling(limit=99, natural=3), text=call.arguments)
    parts = [delta["tool_calls"][0] for delta in deltas(call, generation, parser=parser) if "tool_calls" in delta]
    first = parts[0]

    assert "".join(part["function"].get("arguments", "") for part in parts) == call.arguments
    assert {"id": first["id"], "name": first["function"]["name"]} == {"id": call.ident, "name": call.name}
    assert ("arguments" in first["function"]) is (parser == "mistral")
    assert whole(call, generation)["function"]["arguments"] == call.arguments


def test_a_call_that_is_cut_off_shows_no_arguments() -> None:
    call = call_for("required")
    generation = generate([1], Sampling(limit=1, natural=3), text=call.arguments)

    assert whole(call, generation)["function"]["arguments"] == "{}"
    assert deltas(call, generation, parser="mistral")[0]["tool_calls"][0]["function"]["arguments"] == ""


@pytest.mark.parametrize("choice", ["any", "sometimes", {"type": "function", "function": {"name": "nope"}}])
def test_an_impossible_choice_is_refused(choice: Any) -> None:
    with pytest.raises(Refusal):
        call_for(choice)
