"""Rules of router/relay/history.py: which requests are of one conversation, and that no other ones are."""

import copy
import itertools
import json
import random
import time
import tracemalloc
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.backends.sessions import Keys
from router.relay.history import MAX_ID, MAX_MESSAGES, MAX_OBJECTS, MAX_OPENINGS, MAX_PARTS, MAX_PREFIXES, keys_of

CHAT, MESSAGES, RESPONSES = "/v1/chat/completions", "/v1/messages", "/v1/responses"
Message = dict[str, Any]

SYSTEM: Message = {"role": "system", "content": "You are a helpful assistant."}


def user(text: str) -> Message:
    return {"role": "user", "content": text}


def assistant(text: str) -> Message:
    return {"role": "assistant", "content": text}


def calls(*idents: str) -> Message:
    function = {"name": "read_file", "arguments": '{"path": "a"}'}
    made = [{"id": ident, "type": "function", "function": function} for ident in idents]
    return {"role": "assistant", "content": None, "tool_calls": made}


def tool(ident: str, text: str) -> Message:
    return {"role": "tool", "tool_call_id": ident, "content": text}


def raw_keys(
    body: bytes, path: str = CHAT, *, tenant: bytes = b"t", model: str | None = "m", ident: bytes | None = None
) -> Keys | None:
    return keys_of(path, body, tenant=tenant, model=model, ident=ident)


def keys(*messages: Message, tenant: bytes = b"t", model: str = "m", **fields: Any) -> Keys:
    found = raw_keys(json.dumps({"model": model, "messages": messages, **fields}).encode(), tenant=tenant, model=model)
    assert found is not None
    return found


def is_one(before: Keys, after: Keys) -> bool:
    """Whether the later request is known by what the earlier one has left: the table's own rule."""
    return before.openings[0] in after.openings


def goes_on(before: Keys, after: Keys) -> bool:
    """Whether the later request begins with all that the earlier one has said."""
    return bool(before.prefixes) and before.prefixes[0] in after.prefixes


FIRST = (SYSTEM, user("Fix the tests."))


def test_a_retry_is_the_same_request() -> None:
    assert keys(*FIRST) == keys(*FIRST)
    assert keys(*FIRST, temperature=0.1, stream=True) == keys(*FIRST)


def test_the_next_turn_begins_with_the_one_before() -> None:
    one = keys(*FIRST)
    two = keys(*FIRST, assistant("Done."), user("Thanks. And now?"))
    three = keys(*FIRST, assistant("Done."), user("Thanks. And now?"), assistant("Nothing."), user("Good."))

    assert is_one(one, two)
    assert is_one(one, three)
    assert two.prefixes.index(one.prefixes[0]) < len(two.prefixes)
    assert goes_on(two, three)
    assert not goes_on(three, two)


def test_a_tool_loop_is_one_conversation_and_each_step_goes_on_with_the_last() -> None:
    said = [*FIRST]
    steps = [keys(*said)]
    for number in range(40):
        said += [calls(f"call{number}"), tool(f"call{number}", f"result {number}")]
        steps.append(keys(*said))

    for before, after in itertools.pairwise(steps):
        assert is_one(steps[0], after)
        assert goes_on(before, after)
        assert after.prefixes[0] not in before.prefixes


def test_results_of_parallel_calls_in_another_order_lead_back_to_what_was_said_before_them() -> None:
    before = keys(*FIRST)
    one = keys(*FIRST, calls("a", "b"), tool("a", "1"), tool("b", "2"))
    other = keys(*FIRST, calls("a", "b"), tool("b", "2"), tool("a", "1"))

    assert is_one(one, other)
    assert goes_on(before, one)
    assert goes_on(before, other)
    assert not goes_on(one, other)


def test_a_branch_goes_on_with_the_last_thing_that_both_have_said() -> None:
    two = keys(*FIRST, assistant("Done."), user("Why?"))
    branch = keys(*FIRST, assistant("Done."), user("Undo it."), assistant("Undone."), user("Good."))

    assert is_one(two, branch)
    assert not goes_on(two, branch)
    assert goes_on(keys(*FIRST), branch)


def test_a_message_added_before_any_answer_came_is_the_same_conversation() -> None:
    assert is_one(keys(*FIRST), keys(*FIRST, user("Only those of the parser.")))


def test_what_is_sent_before_the_question_does_not_make_two_questions_one() -> None:
    """Some agents send files or rules as a user's message of its own, the same before every question."""
    rules = user("<environment>Linux</environment>")

    assert not is_one(keys(SYSTEM, rules, user("Fix the tests.")), keys(SYSTEM, rules, user("Write a poem.")))


@pytest.mark.parametrize(
    ("other", "why"),
    [
        (keys(*FIRST, tenant=b"u"), "another tenant"),
        (keys(*FIRST, model="n"), "another model"),
        (keys(*FIRST, user="u"), "another user of the same tenant"),
        (keys(user("Fix the tests.")), "another system prompt"),
        (keys(SYSTEM, user("Fix the tests")), "a sign less"),
        (keys(SYSTEM, user("Write the tests.")), "another word"),
        (keys(SYSTEM), "a system prompt alone"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_others_are_never_the_same_conversation(other: Keys, why: str) -> None:
    for one, two in ((keys(*FIRST), other), (other, keys(*FIRST, assistant("x"), user("y")))):
        assert not is_one(one, two), why
        assert not goes_on(one, two), why


def test_a_system_prompt_alone_is_nobodys_beginning() -> None:
    alone, asked = keys(SYSTEM), keys(*FIRST)

    assert alone == keys(SYSTEM)
    assert not {*alone.openings, *alone.prefixes} & {*asked.openings, *asked.prefixes}


def test_the_same_text_as_a_string_and_as_a_part_is_the_same_text() -> None:
    """Clients that mark a message for a cache send it as a list of parts, and the next time as a string again."""
    marked = {"type": "text", "text": "Fix the tests.", "cache_control": {"type": "ephemeral"}}

    assert keys(SYSTEM, {"role": "user", "content": [marked]}) == keys(*FIRST)


def test_marks_for_caches_move_on_and_change_nothing() -> None:
    image = {"type": "image", "source": {"type": "base64", "data": "AAAA"}}
    result = {
        "type": "tool_result",
        "tool_use_id": "a",
        "content": [{"type": "text", "text": '"cache_control": {}, x'}],
    }
    plain = [user("Look."), assistant("At what?"), {"role": "user", "content": [image, result]}]
    mark = {"cache_control": {"type": "ephemeral", "ttl": "1h"}}
    ways = [copy.deepcopy(plain) for _ in range(4)]
    ways[0][2]["content"][0] = {**image, **mark}
    ways[1][2]["content"][1] = {**mark, **result}
    ways[2][2]["content"][1]["content"][0] = {**result["content"][0], **mark}
    ways[3][2]["content"][1] = {**result, "cache_control": None}

    assert all(keys(*marked) == keys(*plain) for marked in ways)
    result["content"][0]["text"] = '"cache_control": {}, y'
    assert keys(*plain) != keys(*ways[0])


def test_reasoning_that_a_client_drops_later_changes_nothing() -> None:
    thought = {"role": "assistant", "content": "Done.", "reasoning_content": "Hm."}
    block = {"type": "thinking", "thinking": "Hm.", "signature": "x"}
    blocks = {"role": "assistant", "content": [block, {"type": "text", "text": "Done."}]}
    plain = keys(*FIRST, assistant("Done."), user("Why?"))

    assert keys(*FIRST, thought, user("Why?")) == plain
    assert keys(*FIRST, blocks, user("Why?")) == plain


def test_what_differs_in_one_field_of_a_message_is_another_prefix() -> None:
    base = calls("a")
    others = [calls("b"), {**base, "content": "x"}, {**base, "name": "bob"}, {**base, "role": "user"}, calls("a", "b")]
    found = [keys(*FIRST, each, tool("a", "1")).prefixes[0] for each in (base, *others)]
    found += [keys(*FIRST, base, each).prefixes[0] for each in (tool("b", "1"), tool("a", "2"), user("1"))]

    assert len(set(found)) == len(found)


def test_texts_that_run_together_are_not_the_same() -> None:
    """What stands where one message ends and the next begins counts."""
    pairs = [(("ab", "c"), ("a", "bc")), (("a", ""), ("", "a"))]
    for one, other in pairs:
        assert keys(*map(user, one)) != keys(*map(user, other))
        assert keys(user("q"), *map(assistant, one), user("z")) != keys(user("q"), *map(assistant, other), user("z"))


def test_a_conversation_of_the_messages_api_goes_on() -> None:
    def told(*messages: Message, system: object = "Be brief.") -> Keys:
        body = json.dumps({"model": "m", "system": system, "messages": messages}).encode()
        found = raw_keys(body, MESSAGES)
        assert found is not None
        return found

    use = {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "ls", "input": {}}]}
    result = {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "a b"}]}
    one = told(user("List."))

    assert is_one(one, told(user("List."), use, result))
    assert goes_on(one, told(user("List."), use, result))
    assert not is_one(one, told(user("List."), system="Be long."))
    parts = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    assert told(user("List."), system=parts) == one


def test_a_conversation_of_the_responses_api_goes_on() -> None:
    def told(said: object, **fields: object) -> Keys | None:
        return raw_keys(json.dumps({"model": "m", "input": said, **fields}).encode(), RESPONSES)

    one = told("List.", instructions="Be brief.")
    call = {"type": "function_call", "call_id": "c", "name": "ls", "arguments": "{}", "id": "fc_1"}
    result = {"type": "function_call_output", "call_id": "c", "output": "a b"}
    thought = {"type": "reasoning", "id": "rs_1", "summary": []}
    two = told([user("List."), thought, call, result], instructions="Be brief.")
    assert one is not None
    assert two is not None

    assert is_one(one, two)
    assert goes_on(one, two)
    assert two == told([user("List."), call, result], instructions="Be brief.")
    # It names an answer, not a conversation, and what was said before is not in the request.
    assert told("And now?", previous_response_id="resp_1") is None
    assert told("List.", previous_response_id=None, instructions="Be brief.") == one


def test_a_clients_own_id_wins_over_what_was_said() -> None:
    one = raw_keys(json.dumps({"messages": FIRST}).encode(), ident=b"abc")
    other = raw_keys(b"{}", ident=b"abc")
    assert one is not None

    assert one == other
    assert one.is_explicit
    assert one.prefixes == ()
    assert raw_keys(b"{}", ident=b"abd") != one
    assert raw_keys(b"{}", ident=b"abc", tenant=b"u") != one
    assert raw_keys(b"{}", ident=b"abc", model="n") != one


def test_prompt_cache_key_is_such_an_id_on_every_route_that_generates() -> None:
    for path in (CHAT, MESSAGES, RESPONSES, "/v1/completions"):
        found = raw_keys(b'{"prompt": "x", "prompt_cache_key": "abc"}', path)
        assert found == raw_keys(b"{}", ident=b"abc")
    assert raw_keys(b'{"prompt_cache_key": "\\u0061bc"}') == raw_keys(b"{}", ident=b"abc")


@pytest.mark.parametrize("given", ['""', "1", "null", '["a"]', '"' + "x" * MAX_ID + '"'])
def test_what_is_no_id_is_passed_over(given: str) -> None:
    body = json.dumps({"messages": FIRST})[:-1] + f', "prompt_cache_key": {given}}}'
    assert raw_keys(body.encode()) == keys(*FIRST)


def test_a_header_that_is_too_long_is_no_id() -> None:
    assert raw_keys(json.dumps({"messages": FIRST}).encode(), ident=b"x" * (MAX_ID + 1)) is None


@pytest.mark.parametrize("path", ["/v1/embeddings", "/tokenize", "/v1/audio/translations", "/v1/messages/count_tokens"])
def test_routes_without_conversations_have_none(path: str) -> None:
    assert raw_keys(json.dumps({"messages": FIRST}).encode(), path) is None


def test_a_completion_has_none_but_that_which_its_client_names() -> None:
    assert raw_keys(b'{"prompt": "Once upon a time"}', "/v1/completions") is None


def test_no_key_has_anything_readable_in_it() -> None:
    found = keys(user("canary-prompt"), tenant=b"canary-tenant", user="canary-user")

    assert all(len(each) == 16 for each in (*found.openings, *found.prefixes))
    assert b"canary" not in b"".join((*found.openings, *found.prefixes))


def test_the_number_of_keys_is_bounded_whatever_the_length() -> None:
    long = keys(*[user(str(number)) for number in range(100)], *[tool("a", str(number)) for number in range(500)])

    assert len(long.openings) == MAX_OPENINGS
    assert len(long.prefixes) <= MAX_OPENINGS + MAX_PREFIXES + 1
    said = [*FIRST]
    for number in range(200):
        said += [assistant("x"), user(str(number))]
    assert goes_on(keys(*said[:-2]), keys(*said))


def unrelated(count: int) -> list[list[Message]]:
    """Return conversations of few words, much alike, as a likeness would take for each other."""
    dice = random.Random(11)
    words = ["fix", "the", "tests", "of", "my", "parser", "please", "write", "a", "new", "one", "for", "it"]
    openings: set[str] = set()
    while len(openings) < count:
        openings.add(" ".join(dice.choices(words, k=dice.randrange(3, 9))))
    said = []
    for opening in sorted(openings):
        one = [SYSTEM, user(opening)]
        for _ in range(dice.randrange(4)):
            one += [assistant("OK, done."), user(dice.choice(["Thanks.", "And now?", "start over", "new chat"]))]
        said.append(one)
    return said


def test_conversations_that_are_alike_are_never_taken_for_each_other() -> None:
    """Proxies that go by likeness confuse two in five of such; every request of every one is looked at here."""
    known: dict[bytes, int] = {}
    for number, said in enumerate(unrelated(600)):
        for end in range(2, len(said) + 1, 2):
            found = keys(*said[:end])
            for each in (*found.openings, *found.prefixes):
                assert known.setdefault(each, number) == number


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["role", "type", "content", "text", "tool_calls", "cache_control", "name"]),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@settings(max_examples=300, deadline=None)
@given(
    body=st.dictionaries(
        st.sampled_from(["messages", "input", "system", "user", "prompt_cache_key", "previous_response_id"]), JSON
    ),
    path=st.sampled_from([CHAT, MESSAGES, RESPONSES]),
)
def test_no_json_raises_and_the_same_json_has_the_same_keys(body: dict[str, Any], path: str) -> None:
    raw = json.dumps(body).encode()

    assert raw_keys(raw, path) == raw_keys(raw, path)
    found = raw_keys(raw, path)
    assert found is None or all(len(each) == 16 for each in (*found.openings, *found.prefixes))


@settings(max_examples=200, deadline=None)
@given(body=st.binary(max_size=200), at=st.integers(0, 200))
def test_no_bytes_raise(body: bytes, at: int) -> None:
    good = json.dumps({"messages": [*FIRST, calls("a"), tool("a", "1")]}).encode()

    raw_keys(body)
    raw_keys(good[:at] + body + good[at:])
    raw_keys(good[:at])


HOSTILE = {
    "deep": b'{"messages":[' + b"[" * 100_000 + b"]" * 100_000 + b"]}",
    "deep content": b'{"messages":[{"role":"user","content":' + b"[" * 50_000 + b"]" * 50_000 + b"}]}",
    "deep marks": b'{"messages":[{"role":"user","content":[{"cache_control":' + b'{"a":' * 900 + b"1}]}]}",
    "many messages": b'{"messages":[' + b"{}," * (MAX_MESSAGES + 1) + b"{}]}",
    "very many messages": b'{"messages":[' + b"{}," * (MAX_OBJECTS + 100_000) + b"{}]}",
    "very many parts of a long content": b'{"messages":[{"role":"user","content":[' + b"1," * 4_000_000 + b"1]}]}",
    "very many parts of a system prompt": b'{"messages":[{"role":"user"}],"system":[' + b'"",' * 2_000_000 + b'""]}',
    "an id that is a long list": b'{"previous_response_id":[' + b"[]," * 2_700_000 + b'[]],"messages":[]}',
    "half of a surrogate pair": b'{"messages":[{"role":"\\ud800","content":"\\udfff"}],"user":"\\ud800"}',
    "no UTF-8": b'{"messages":[{"role":"user","content":"\xff\xfe"}]}',
    "numbers that are no numbers": b'{"messages":[{"role":1e999,"content":-0}]}',
    "roles and types that are no texts": b'{"messages":[{"role":["user"],"type":{}},{"role":"user","type":[]}]}',
    "a list": b"[]",
    "nothing": b"",
}


CROWDED = {  # in about a megabyte
    "parts": b'{"messages":[{"role":"user","content":[' + b"1," * 500_000 + b"1]}]}",
    "empty parts": b'{"messages":[{"role":"user","content":[' + b"{}," * 340_000 + b"{}]}]}",
    "messages of many parts": b'{"messages":['
    + b",".join([b'{"role":"user","content":[' + b"1," * (MAX_PARTS - 1) + b"1]}"] * 50)
    + b"]}",
}


@pytest.mark.parametrize("what", CROWDED)
def test_more_parts_than_anybody_sends_are_not_looked_at(what: str) -> None:
    """One by one, they would hold up every stream for a quarter of a second."""
    assert raw_keys(CROWDED[what]) is None


def test_as_many_parts_as_may_be_are_looked_at() -> None:
    content = b"[" + b'{"type":"text","text":"a"},' * (MAX_PARTS - 1) + b'{"type":"text","text":"a"}]'

    assert raw_keys(b'{"messages":[{"role":"user","content":' + content + b"}]}") is not None


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_bodies_cost_little_and_raise_nothing(what: str) -> None:
    tracemalloc.start()
    begun = time.process_time()
    raw_keys(HOSTILE[what])
    took = time.process_time() - begun
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()

    assert took < 2.0
    assert peak < 64 << 20
