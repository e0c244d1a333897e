"""What an answer says of tokens (S14, S1)."""

from typing import Any

from router.translate.mistral.fields import COMPLETION_DETAILS_KEYS, PROMPT_DETAILS_KEYS, USAGE_KEYS
from router.translate.mistral.reply import Repairs, keep_keys
from router.translate.notes import Rule

_COUNTS = ("prompt_tokens", "completion_tokens")
_MOST = 2**63  # what is counted is less: more could not be written
_DETAILS = (("prompt_tokens_details", PROMPT_DETAILS_KEYS), ("completion_tokens_details", COMPLETION_DETAILS_KEYS))


def plain_usage(usage: dict[str, Any], repairs: Repairs) -> dict[str, Any]:
    """Return a copy in which counts are numbers and only OpenAI's keys stand (S14, S1)."""
    plain = dict(usage)
    keep_keys(plain, USAGE_KEYS, repairs, "usage")
    for name, keys in _DETAILS:
        if isinstance(details := plain.get(name), dict):
            plain[name] = dict(details)
            keep_keys(plain[name], keys, repairs, "usage", name)
    for name in _COUNTS:
        if type(plain.get(name)) is not int:
            plain[name] = 0
            repairs.notes.repair(Rule.S14, "usage", name)
    if type(plain.get("total_tokens")) is not int:
        total = sum(plain[name] for name in _COUNTS)
        plain["total_tokens"] = total if abs(total) < _MOST else 0
        repairs.notes.repair(Rule.S14, "usage.total_tokens")
    return plain
