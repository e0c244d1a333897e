import json

from router.simulator.answers import CREATED, IDENT, dress, event, interleave, named_event, plain


def test_id_and_time_are_put_in_place_everywhere() -> None:
    data = event({"id": f"chatcmpl-{IDENT}", "created": CREATED, "again": IDENT})

    assert dress(data, b"abc", b"12") == b'data: {"id":"chatcmpl-abc","created":12,"again":"abc"}\n\n'


def test_a_named_event_has_its_name_first() -> None:
    assert named_event("ping", {"a": 1}) == b'event: ping\ndata: {"a":1}\n\n'


def test_choices_take_turns_until_each_has_ended() -> None:
    assert interleave([[b"a1", b"a2"], [b"b1"], [b"c1", b"c2"]]) == ((b"a1", b"b1", b"c1"), (b"a2", b"c2"))
    assert interleave([]) == ()


def test_a_plain_answer_is_one_object() -> None:
    answer = plain({"a": 1}, prompt=3)

    assert json.loads(answer.body or b"") == {"a": 1}
    assert answer.prompt_tokens == 3
