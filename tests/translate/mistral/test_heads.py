import pytest

from router.translate.mistral.heads import MAX_HEAD, MORE, Head, head_at

TOOLS = frozenset(("add", "get_weather", "T"))

# What stands in front of a call, up to the character that decides it: name, where the JSON begins.
MARKED = [
    ('[TOOL_CALLS]add[ARGS]{"', "add", 21),
    ("[TOOL_CALLS]add{}", "add", 15),
    ('TOOL_CALLSadd{ "', "add", 13),
    ('[TOOL_CALLS] add [ARGS] {"', "add", 24),
    ('[TOOL_CALLS]add[CALL_ID]abcDEF123[ARGS]{"', "add", 39),
    ('[TOOL_CALLS]addabcDEF123[ARGS]{"', "add", 30),
    ("[TOOL_CALLS][{", None, 12),
    ("[TOOL_CALLS] [ {", None, 13),
]
BARE = [('add{"', "add", 3), ('add[ARGS]{"', "add", 9), ('[{"name": "add"', None, 0), ('[ { "name" :"add"', None, 0)]
NONE = [
    *("[TOOL_CALLS]sub[", "[TOOL_CALLS]addx{", "[TOOL_CALLS]add{a", "[TOOL_CALLS]add[ARGS]x", "[TOOL_CALLS][1"),
    *("[TOOL_CALLS]add[CALL_ID]abc-", "[TOOL_CALLSx", "[TOOL", "x", "[TOOL_CALLS]add[x", "[TOOL_CALLS]a dd{"),
]


@pytest.mark.parametrize(("text", "name", "start"), MARKED)
@pytest.mark.parametrize("bare", [True, False])
def test_the_front_of_a_call_is_known_by_its_mark(text: str, name: str | None, start: int, bare: bool) -> None:
    assert head_at(text, 0, TOOLS, bare=bare) == Head(name, start, len(text))
    assert head_at("x " + text + " more", 2, TOOLS, bare=bare) == Head(name, start + 2, len(text) + 2)


@pytest.mark.parametrize(("text", "name", "start"), BARE)
def test_without_a_mark_only_where_that_may_be(text: str, name: str | None, start: int) -> None:
    assert head_at(text, 0, TOOLS, bare=True) == Head(name, start, len(text))
    assert head_at(text, 0, TOOLS, bare=False) is None


@pytest.mark.parametrize("text", [text for text, _, _ in MARKED + BARE])
def test_every_beginning_of_it_may_be_one(text: str) -> None:
    assert all(head_at(text[:end], 0, TOOLS, bare=True) is MORE for end in range(len(text)))


@pytest.mark.parametrize("text", NONE)
def test_what_is_none_is_none_at_once(text: str) -> None:
    found = head_at(text, 0, TOOLS, bare=False)

    assert found is None or (found is MORE and text == "[TOOL")


@pytest.mark.parametrize("text", ["add {", "ad{", "addx", '[{"name": "sub"', '[{"id"', "{", "Add"])
def test_without_a_mark_the_name_has_to_be_exact(text: str) -> None:
    assert head_at(text, 0, TOOLS, bare=True) is None


def test_a_mark_and_a_name_may_begin_alike() -> None:
    assert head_at("T", 0, TOOLS, bare=True) is MORE
    assert head_at('T{"', 0, TOOLS, bare=True) == Head("T", 1, 3)
    assert head_at("TO", 0, TOOLS, bare=True) is MORE


def test_a_name_has_a_bound() -> None:
    assert head_at("[TOOL_CALLS]" + "a" * MAX_HEAD, 0, {"a" * (2 * MAX_HEAD)}, bare=False) is None
