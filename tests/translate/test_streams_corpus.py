"""The streams of tests/translate/answers: what servers send, and what exactly the client gets, however it is cut."""

import json
from collections.abc import Iterator
from functools import cache
from typing import Any

import pytest

from router.translate.mistral.stream import StreamTranslator
from router.translate.notes import Rule
from router.wire.sse import EventSplitter, event_data, split_events
from tests.translate import cases, client, judge
from tests.translate.cases import Case

STREAMS = cases.load("stream")
JUDGED = [case for case in STREAMS if "stream to the client" in case.sections]


@pytest.fixture(scope="module")
def sdk() -> client.Sdk:
    return client.Sdk()


def blocks_of(pieces: Iterator[bytes] | list[bytes]) -> list[bytes]:
    """What a splitter makes of pieces of a stream: blocks of whole events."""
    splitter = EventSplitter()
    blocks = [block for piece in pieces if (block := splitter.feed(piece))]
    assert not splitter.finish()
    return blocks


def translated(case: Case, blocks: list[bytes], *, is_fast: bool = True) -> tuple[bytes, set[Rule]]:
    translator = StreamTranslator(case.asked, form=case.form, new_id=cases.new_ids(), is_fast=is_fast)
    out = b"".join(map(translator.feed, blocks)) + translator.finish()
    return client.relayed(out), translator.notes.repaired


@cache
def whole(case: Case) -> tuple[bytes, set[Rule]]:
    """The case as one block."""
    return translated(case, [case.stream])


def lines_of(stream: bytes) -> list[Any]:
    """A stream as the case files write it: an object, [DONE] or a comment for each event."""
    lines: list[Any] = []
    for event in split_events(stream):
        data = event_data(event)
        if data is None:
            lines.append(event.decode().strip())
        else:
            lines.append("[DONE]" if data == b"[DONE]" else plain(json.loads(data)))
    return lines


def plain(payload: Any) -> Any:
    """Without what means nothing: null logprobs; a finish_reason that is not there is null."""
    for choice in payload.get("choices", ()):
        if choice.get("logprobs", 0) is None:
            del choice["logprobs"]
        choice.setdefault("finish_reason", None)
    return payload


def stated_lines(case: Case) -> list[Any]:
    lines = case.lines("stream to the client")
    return [plain(json.loads(line)) if line.startswith("{") else line for line in lines]


def as_stated(case: Case, out: bytes) -> None:
    if case.is_unchanged("stream to the client"):
        assert out == case.stream
    elif "stream to the client" in case.sections:
        got, stated = lines_of(out), stated_lines(case)
        assert len(got) == len(stated), got
        for one, other in zip(got, stated, strict=True):
            assert judge.agrees(one, other), (one, other)
    view = client.view_of_stream(out, case.asked, case.form)
    client.assert_text_before_calls(out)
    if (stated_view := case.view("view of the stream")) is not None:
        judge.assert_view(view, stated_view)


# -------------------------------------------------------------------------------------------------------- streams


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_a_stream_becomes_what_the_case_states(case: Case) -> None:
    as_stated(case, whole(case)[0])


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_same_comes_out_of_one_event_at_a_time(case: Case) -> None:
    assert translated(case, split_events(case.stream))[0] == whole(case)[0]


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_same_comes_out_of_events_in_pairs_and_threes(case: Case) -> None:
    events = split_events(case.stream)
    for size in (2, 3):
        blocks = [b"".join(events[start : start + size]) for start in range(0, len(events), size)]
        assert translated(case, blocks)[0] == whole(case)[0]


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_same_comes_out_of_bytes_split_at_every_position(case: Case) -> None:
    """Where the splitter makes the same blocks of two cuts, the translator sees no difference: one of them is fed."""
    stream, seen = case.stream, set[tuple[int, ...]]()
    for position in range(len(stream) + 1):
        blocks = blocks_of([stream[:position], stream[position:]])
        if (cut := tuple(map(len, blocks))) not in seen:
            seen.add(cut)
            assert translated(case, blocks)[0] == whole(case)[0], f"split at {position}"


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_same_comes_out_of_single_bytes(case: Case) -> None:
    blocks = blocks_of([case.stream[at : at + 1] for at in range(len(case.stream))])

    assert translated(case, blocks)[0] == whole(case)[0]


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_same_comes_out_where_nothing_is_learned(case: Case) -> None:
    slowly, _ = translated(case, split_events(case.stream), is_fast=False)

    assert lines_of(slowly) == lines_of(whole(case)[0])


@pytest.mark.parametrize("case", STREAMS, ids=str)
@pytest.mark.parametrize("end", [b"\r\n", b"\r"], ids=["CRLF", "CR"])
def test_lines_may_end_otherwise(case: Case, end: bytes) -> None:
    """A proxy may write other line ends; what the client has at the end is the same."""
    out, _ = translated(case, blocks_of([case.stream.replace(b"\n", end)]))

    assert lines_of(out) == lines_of(whole(case)[0])


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_openai_python_sees_what_the_case_states(case: Case, sdk: client.Sdk) -> None:
    out = whole(case)[0]

    client.assert_agrees(client.view_of_stream(out, case.asked, case.form), sdk.view_of_stream(out))


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_only_a_stream_that_counts_what_it_does_not_say_has_lost_a_call(case: Case) -> None:
    """S16: from then on such a backend is asked for whole answers."""
    translator = StreamTranslator(case.asked, form=case.form, new_id=cases.new_ids())
    translator.feed(case.stream)
    translator.finish()

    assert translator.swallowed == (case.name == "136_swallowed_call")


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_a_translated_stream_is_translated_to_itself(case: Case) -> None:
    """What is strictly OpenAI's passes as the bytes it was, be it our own work."""
    out, _ = whole(case)
    again = StreamTranslator(cases.asked_back(case), form=case.form, new_id=cases.new_ids())

    assert b"".join(map(again.feed, split_events(out))) + again.finish() == out


@pytest.mark.parametrize("case", [case for case in STREAMS if case.is_unchanged("stream to the client")], ids=str)
def test_events_that_need_no_change_are_the_same_objects(case: Case) -> None:
    translator = StreamTranslator(case.asked, form=case.form, new_id=cases.new_ids())

    assert all(translator.feed(event) is event for event in split_events(case.stream))
    assert translator.finish() == b""
    assert not translator.notes.repaired


@pytest.mark.parametrize("case", JUDGED, ids=str)
def test_what_the_cases_state_is_itself_strictly_of_openai(case: Case, sdk: client.Sdk) -> None:
    stream = case.stream
    if not case.is_unchanged("stream to the client"):
        lines = [line.replace('"*"', '"any"') for line in case.lines("stream to the client")]
        stream = "".join(f"{line}\n\n" if line.startswith(":") else f"data: {line}\n\n" for line in lines).encode()

    client.assert_agrees(client.view_of_stream(stream, case.asked, case.form), sdk.view_of_stream(stream))


@pytest.mark.parametrize("case", STREAMS, ids=str)
def test_the_rules_of_a_case_are_noted(case: Case) -> None:
    """A case with an answer too may name rules that only that one needs."""
    missing = case.rules - whole(case)[1]

    assert not missing or "answer" in case.sections
