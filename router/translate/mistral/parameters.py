"""Settings beside messages and tools: what a backend would refuse although it means nothing to it (R30 to R35).

Everything else at a request's top level passes as it came (R36).
"""

from collections.abc import Mapping
from typing import cast

from msgspec import Raw

from router.translate.asked import RequestForm
from router.translate.mistral.values import is_number, value_of
from router.translate.notes import Notes, Rule
from router.translate.profile import Profile

EFFORT_VERSION = 15  # the first tokenizer that knows reasoning_effort
NO_EFFORT = frozenset(("none", "minimal"))  # of OpenAI's values; all others are the one other of mistral-common
LIMITS = ("max_tokens", "max_completion_tokens")
SCHEMA_FIELDS = ("name", "description", "schema", "strict")  # of json_schema in response_format
TEMPLATE_KEYS = ("chat_template", "chat_template_kwargs", "skip_special_tokens")

# A request without these keys needs nothing of this module.
CONCERNED = frozenset(
    (
        *("stream_options", "random_seed", "safe_prompt", "reasoning_effort", "reasoning", "response_format"),
        *LIMITS,
        *TEMPLATE_KEYS,
    )
)


def needs_none(fields: Mapping[str, object], profile: Profile, form: RequestForm) -> bool:
    """Return whether R30 to R35 leave every field as it is; quick where none of their fields is there.

    Raises InvalidRequest where such a value is no JSON.
    """
    concerned = fields.keys() & CONCERNED
    if not form.clamp_max_tokens:  # most requests have a limit, and nothing else
        concerned = {key for key in concerned if key not in LIMITS or not _is_count(fields[key])}
    if not concerned:
        return True
    notes = Notes()
    translate_parameters(dict(fields), profile, form=form, notes=notes)
    return not notes.repaired


def _is_count(value: object) -> bool:
    """Return whether it is a number of JSON without sign and fraction, at a glance."""
    return isinstance(value, Raw) and bytes(value).isdigit()


def translate_parameters(fields: dict[str, object], profile: Profile, *, form: RequestForm, notes: Notes) -> None:
    """Carry out R30 to R35 in place. Values may be parsed or `msgspec.Raw`; those that stay are left as they came.

    Raises InvalidRequest where a value that a rule concerns is no JSON.
    """
    present = fields.keys() & CONCERNED
    if "stream_options" in present:
        _stream_options(fields, notes)
    if profile.may_be_mistral_common:
        _template_settings(fields, notes)
    if "random_seed" in present or "safe_prompt" in present:
        _seed(fields, notes)
    if "reasoning_effort" in present or "reasoning" in present:
        _effort(fields, profile, notes)
    for key in LIMITS:
        if key in present:
            _limit(fields, key, notes, profile.max_model_len if form.clamp_max_tokens else None)
    if "response_format" in present:
        _response_format(fields, notes)


def _stream_options(fields: dict[str, object], notes: Notes) -> None:
    """R30: left out where nothing is streamed; null is no option."""
    if value_of(fields.get("stream"), "stream") is True or value_of(fields["stream_options"], "stream_options") is None:
        return
    del fields["stream_options"]
    notes.repair(Rule.R30, "stream_options")


def _template_settings(fields: dict[str, object], notes: Notes) -> None:
    """R31: mistral-common has no template, and refuses to be told of one."""
    for key in TEMPLATE_KEYS:
        if key not in fields:
            continue
        value = value_of(fields[key], key)
        if value is None or (key == "skip_special_tokens" and value is True):
            continue
        del fields[key]
        notes.repair(Rule.R31, key)


def _seed(fields: dict[str, object], notes: Notes) -> None:
    """R32: what bodies of Mistral's own SDK call differently, or know alone."""
    if "random_seed" in fields:
        seed = fields.pop("random_seed")
        if value_of(seed, "random_seed") is not None and value_of(fields.get("seed"), "seed") is None:
            fields["seed"] = seed
        notes.repair(Rule.R32, "random_seed")
    if "safe_prompt" in fields:
        del fields["safe_prompt"]
        notes.repair(Rule.R32, "safe_prompt")


def _effort(fields: dict[str, object], profile: Profile, notes: Notes) -> None:
    """R33: none or high where the tokenizer knows it, left out where it does not.

    A template whose model is not known may know every value.
    """
    if not profile.may_be_mistral_common and profile.version is None:
        return
    own = value_of(fields.get("reasoning_effort"), "reasoning_effort")
    reasoning = value_of(fields.get("reasoning"), "reasoning")
    wanted, where = own, "reasoning_effort"
    if isinstance(reasoning, dict) and reasoning.get("effort") is not None:
        del fields["reasoning"]
        if own is None:
            wanted, where = reasoning["effort"], "reasoning.effort"
        else:
            notes.repair(Rule.R33, "reasoning.effort")
    if wanted is None:
        return
    known = None
    if profile.version is not None and profile.version >= EFFORT_VERSION and isinstance(wanted, str):
        known = "none" if wanted in NO_EFFORT else "high"
    if known == own and where == "reasoning_effort":
        return
    fields.pop("reasoning_effort", None)
    if known is not None:
        fields["reasoning_effort"] = known
    (notes.repair if known == wanted else notes.lose)(Rule.R33, where)


def _limit(fields: dict[str, object], key: str, notes: Notes, most: int | None) -> None:
    """R34: a negative number of tokens means that none was set, and so does one above `most`.

    That one is left out instead of becoming `most`, which older vLLM (0.10) refuses with every prompt: it adds both up.
    """
    tokens = value_of(fields[key], key)
    if is_number(tokens) and (cast("float", tokens) < 0 or (most is not None and cast("float", tokens) > most)):
        del fields[key]
        notes.repair(Rule.R34, key)


def _response_format(fields: dict[str, object], notes: Notes) -> None:
    """R35: a schema that stands beside `type`, or alone in `json_schema`, is nested and named."""
    asked = value_of(fields["response_format"], "response_format")
    if not isinstance(asked, dict) or asked.get("type") != "json_schema":
        return
    nested = asked.get("json_schema")
    if nested is None and isinstance(asked.get("schema"), dict):
        named = {key: value for key, value in asked.items() if key in SCHEMA_FIELDS and value is not None}
    elif isinstance(nested, dict) and not isinstance(nested.get("name"), str):
        named = nested if isinstance(nested.get("schema"), dict) else {"schema": nested}
    else:
        return
    if not isinstance(named.get("name"), str):
        named = {**named, "name": "response"}
    fields["response_format"] = {"type": "json_schema", "json_schema": named}
    notes.repair(Rule.R35, "response_format")
