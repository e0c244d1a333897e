from typing import Any

import orjson
import pytest

from router.translate.asked import AnswerForm, Asked, ReasoningField
from router.translate.mistral.delta import Choice
from router.translate.mistral.pattern import MAX_KNOWN, Patterns
from router.translate.mistral.reply import Repairs
from router.translate.notes import Notes
from router.wire.sse import event_data

ROLE = {"index": 0, "delta": {"role": "assistant", "content": ""}, "finish_reason": None}


def told_choice(**asked: Any) -> Choice:
    repairs = Repairs(Asked(**asked), AnswerForm(reasoning=ReasoningField.REASONING), str, True, Notes())
    choice = Choice(0, repairs)
    choice.feed(ROLE)
    choice.feed({**ROLE, "delta": {"content": "x"}})
    return choice


def event_of(chunk: Any) -> bytes:
    return b"data: " + orjson.dumps(chunk) + b"\n\n"


def chunk_of(delta: Any, **more: Any) -> Any:
    return {"id": "i", "model": "m", "choices": [{"index": 0, "delta": delta, "finish_reason": None, **more}]}


def learned(event: bytes, choice: Choice, main: Any = ...) -> Any:
    """The patterns after `event` passed unchanged, or became `main`."""
    patterns = Patterns(Notes(), is_on=True)
    chunk = orjson.loads(event[5:])
    before = orjson.dumps(chunk)
    patterns.learn(event, chunk, choice, main=chunk if main is ... else main)
    assert orjson.dumps(chunk) == before
    return patterns


def test_an_event_is_parted_at_its_text() -> None:
    event = event_of(chunk_of({"content": 'a "b" \\'}))

    ((prefix, suffix, place, guard, is_text, pieces),) = learned(event, told_choice()).live()

    assert event.startswith(prefix)
    assert event.endswith(suffix)
    assert orjson.loads(event[place]) == 'a "b" \\'
    assert (guard, is_text, pieces) == (None, False, None)


def test_what_becomes_of_it_is_parted_too() -> None:
    event = event_of(chunk_of({"content": "Hi"}, token_ids=None))
    main = chunk_of({"content": "Hi"})

    ((*_, pieces),) = learned(event, told_choice(), main).live()

    assert b'"Hi"'.join(pieces) == event_of(main)


@pytest.mark.parametrize(
    "event",
    [
        event_of(chunk_of({"content": ""})),
        event_of(chunk_of({})),
        event_of(chunk_of({"content": "Hi"}, logprobs={"content": []})),
        event_of(chunk_of({"content": "Hi"}, token_ids=[1])),
        event_of(chunk_of({"content": "Hi", "reasoning": "So"})),
        event_of({**chunk_of({"content": "Hi"}), "usage": {"content": "Hi"}}),
        event_of({**chunk_of({"content": "Hi"}), "obfuscated": ["x"]}),
        event_of(chunk_of({"content": "Hi"})).replace(b'"Hi"', b'"x","content":"Hi"'),
        event_of(chunk_of({"content": "Hi"})).replace(b"{", b"{\ndata: ", 1),
        b"event: x\n" + event_of(chunk_of({"content": "Hi"})),
        event_of(chunk_of({"tool_calls": [{"index": 0, "function": {"arguments": "{}"}}]})),  # no such call
        event_of(chunk_of({"content": "Hi", "role": "assistant"})),
    ],
)
def test_nothing_is_learned_from_what_may_differ_in_more_than_its_text(event: bytes) -> None:
    choice = told_choice(tools=frozenset(("add",)))
    patterns = Patterns(Notes(), is_on=True)
    chunk = orjson.loads(event_data(event) or b"")

    patterns.learn(event, chunk, choice, main=chunk)

    assert not patterns.live()


def test_nothing_is_learned_from_text_of_which_nothing_is_left() -> None:
    """A piece that completed a mark says nothing of the next one."""
    event = event_of(chunk_of({"content": "THINK]"}))

    assert not learned(event, told_choice(), None).live()


def test_what_was_learned_holds_while_its_choice_is_calm() -> None:
    choice = told_choice(tools=frozenset(("add",)))
    patterns = learned(event_of(chunk_of({"content": "Hi"})), choice)
    states = []
    for text in (" [", "x"):
        choice.feed({**ROLE, "delta": {"content": text}})
        states.append(bool(patterns.live()))
    choice.feed({**ROLE, "delta": {}, "finish_reason": "stop"})
    states.append(bool(patterns.live()))

    assert states == [False, True, False]


def test_what_is_known_has_a_bound() -> None:
    choice, patterns = told_choice(), Patterns(Notes(), is_on=True)
    for number in range(2 * MAX_KNOWN):
        chunk = {**chunk_of({"content": "Hi"}), "id": str(number)}
        patterns.learn(event_of(chunk), chunk, choice, main=chunk)

    assert len(patterns.live()) == MAX_KNOWN


def test_several_events_are_known_together() -> None:
    event = event_of(chunk_of({"content": "Hi"}, token_ids=None))
    main = chunk_of({"content": "Hi"})
    patterns = learned(event, told_choice(), main)
    other = event.replace(b'"Hi"', b'"\\"\\n"')

    assert patterns.apply_to_many(event + other) == event_of(main) + event_of(main).replace(b'"Hi"', b'"\\"\\n"')
    assert patterns.apply_to_many(event + other.replace(b"null}]", b"1}]") + event) is None
    assert patterns.apply_to_many(event + event.replace(b"Hi", b"a\\") + event) is None


def test_several_events_that_do_not_change_are_the_same_object() -> None:
    event = event_of(chunk_of({"content": "Hi"}))
    block = event * 3

    assert learned(event, told_choice()).apply_to_many(block) is block


@pytest.mark.parametrize("space", [b"\n", b"\r", b" "])
def test_several_events_with_white_space_around_a_text_are_left_to_be_read_one_by_one(space: bytes) -> None:
    """JSON allows it; a line's end there cuts the event in two."""
    event = event_of(chunk_of({"content": "a"}))
    patterns = learned(event, told_choice())

    for odd in (event.replace(b'"a"', space + b'"a"'), event.replace(b'"a"', b'"a"' + space)):
        assert patterns.apply_to_many(event + odd + event) is None
