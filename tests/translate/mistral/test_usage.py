import orjson

from router.translate.asked import AnswerForm, Asked
from router.translate.mistral.reply import Repairs
from router.translate.mistral.usage import plain_usage
from router.translate.notes import Notes, Rule


def repairs() -> Repairs:
    return Repairs(Asked(), AnswerForm(), str, True, Notes())


def test_usage_of_openai_is_left_alone() -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 2, "total_tokens": 3, "prompt_tokens_details": None}
    asked = repairs()

    assert plain_usage(usage, asked) == usage
    assert not asked.notes.repaired


def test_counts_are_numbers_and_unknown_keys_go() -> None:
    """S14, S1."""
    usage = {
        "prompt_tokens": 1,
        "completion_tokens": None,
        "x": 1,
        "prompt_tokens_details": {"cached_tokens": 1, "y": 2},
    }
    before = {**usage, "prompt_tokens_details": dict(usage["prompt_tokens_details"])}
    asked = repairs()

    assert plain_usage(usage, asked) == {
        **{"prompt_tokens": 1, "completion_tokens": 0, "total_tokens": 1},
        "prompt_tokens_details": {"cached_tokens": 1},
    }
    assert usage == before
    assert asked.notes.repaired == {Rule.S1, Rule.S14}


def test_a_sum_that_no_json_can_tell_is_told_as_nothing() -> None:
    """Each of the counts may be as large as a number of 64 bits."""
    for count in (2**63, -(2**63)):
        told = plain_usage({"prompt_tokens": count, "completion_tokens": count}, repairs())
        assert told["total_tokens"] == 0
        orjson.dumps(told)
