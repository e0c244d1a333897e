"""Settings that a backend would refuse although they mean nothing to it."""

import json

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.translate.asked import RequestForm
from router.translate.mistral.parameters import CONCERNED, needs_none, translate_parameters
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, STRICTEST, Profile, Renderer

Fields = dict[str, object]

TEMPLATE, V13, V15 = PRESETS["template"], PRESETS["v13"], PRESETS["v15"]
PLAIN = RequestForm()
CLAMP = RequestForm(clamp_max_tokens=True)


def raw_fields(fields: Fields) -> Fields:
    return dict(msgspec.json.decode(json.dumps(fields).encode(), type=dict[str, msgspec.Raw]))


def translated(
    fields: Fields, profile: Profile = STRICTEST, form: RequestForm = PLAIN, *, raw: bool = True
) -> tuple[Fields, Notes]:
    kept, notes = raw_fields(fields) if raw else dict(fields), Notes()
    translate_parameters(kept, profile, form=form, notes=notes)
    return json.loads(msgspec.json.encode(kept)), notes


SCHEMA = {"type": "object", "properties": {"a": {}}}
NESTED = {"type": "json_schema", "json_schema": {"name": "response", "schema": SCHEMA}}


@pytest.mark.parametrize(
    ("fields", "expected", "rule"),
    [
        ({"stream": False, "stream_options": {"include_usage": True}}, {"stream": False}, Rule.R30),
        ({"stream_options": {}}, {}, Rule.R30),
        ({"stream": None, "stream_options": {}}, {"stream": None}, Rule.R30),
        ({"chat_template_kwargs": {"enable_thinking": False}}, {}, Rule.R31),
        ({"chat_template_kwargs": {}}, {}, Rule.R31),
        ({"chat_template": "{{ x }}", "skip_special_tokens": False}, {}, Rule.R31),
        ({"random_seed": 7, "safe_prompt": False}, {"seed": 7}, Rule.R32),
        ({"random_seed": 7, "seed": None}, {"seed": 7}, Rule.R32),
        ({"random_seed": 7, "seed": 8}, {"seed": 8}, Rule.R32),
        ({"random_seed": None, "safe_prompt": None}, {}, Rule.R32),
        ({"reasoning_effort": "low"}, {}, Rule.R33),
        ({"reasoning": {"effort": "high", "exclude": True}}, {}, Rule.R33),
        ({"max_tokens": -1}, {}, Rule.R34),
        ({"max_completion_tokens": -1.0, "max_tokens": 5}, {"max_tokens": 5}, Rule.R34),
        ({"response_format": {"type": "json_schema", "schema": SCHEMA}}, {"response_format": NESTED}, Rule.R35),
        (
            {"response_format": {"type": "json_schema", "schema": SCHEMA, "name": "n", "strict": True}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": SCHEMA, "strict": True},
                }
            },
            Rule.R35,
        ),
        ({"response_format": {"type": "json_schema", "json_schema": SCHEMA}}, {"response_format": NESTED}, Rule.R35),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"schema": SCHEMA}}},
            {"response_format": NESTED},
            Rule.R35,
        ),
    ],
)
@pytest.mark.parametrize("raw", [True, False])
def test_what_a_backend_would_refuse_is_changed(fields: Fields, expected: Fields, rule: Rule, raw: bool) -> None:
    """p_stream_options_no_stream, p_chat_template_kwargs, p_reasoning_effort_low, p_max_tokens_minus1 and others."""
    better, notes = translated(fields, raw=raw)

    assert better == expected
    assert notes.repaired == {rule}
    assert notes.lost == ({Rule.R33} if rule is Rule.R33 else set())
    assert not needs_none(raw_fields(fields), STRICTEST, PLAIN)
    assert needs_none(raw_fields(better), STRICTEST, PLAIN)


@pytest.mark.parametrize(
    "fields",
    [
        {"stream": True, "stream_options": {"include_usage": True}},
        {"stream_options": None},
        {"chat_template": None, "chat_template_kwargs": None, "skip_special_tokens": True},
        {"max_tokens": 0},  # the client's own error
        {"max_tokens": 5_000, "max_completion_tokens": None},
        {"max_tokens": "5"},
        {"reasoning_effort": None, "reasoning": {"effort": None}},
        {"reasoning": {"exclude": True}},
        {"response_format": NESTED},
        {"response_format": {"type": "json_object"}},
        {"response_format": {"type": "json_schema"}},
        {"response_format": None},
        # p_openai_extras, p_temperature_2
        {"temperature": 2, "metadata": {}, "store": True, "prediction": None, "seed": 3, "user": "u", "logit_bias": {}},
    ],
)
def test_everything_else_stays_the_bytes_it_was(fields: Fields) -> None:
    given_ = raw_fields(fields)
    kept, notes = dict(given_), Notes()
    translate_parameters(kept, STRICTEST, form=PLAIN, notes=notes)

    assert all(kept[key] is given_[key] for key in given_ | kept)
    assert not notes.repaired
    assert needs_none(given_, STRICTEST, PLAIN)


def test_a_template_keeps_what_is_said_to_it() -> None:
    fields: Fields = {"chat_template_kwargs": {}, "skip_special_tokens": False, "reasoning_effort": "low"}

    assert translated(fields, TEMPLATE)[0] == fields


@pytest.mark.parametrize(
    ("fields", "expected", "lost"),
    [
        ({"reasoning_effort": "none"}, {"reasoning_effort": "none"}, False),
        ({"reasoning_effort": "minimal"}, {"reasoning_effort": "none"}, True),
        ({"reasoning_effort": "low"}, {"reasoning_effort": "high"}, True),
        ({"reasoning_effort": "high"}, {"reasoning_effort": "high"}, False),
        ({"reasoning_effort": "xhigh"}, {"reasoning_effort": "high"}, True),
        ({"reasoning_effort": 3}, {}, True),
        ({"reasoning": {"effort": "high"}}, {"reasoning_effort": "high"}, False),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "high"}, True),
        ({"reasoning": {"effort": "low"}, "reasoning_effort": "none"}, {"reasoning_effort": "none"}, False),
        ({"reasoning": {"effort": ["low"]}}, {}, True),
    ],
)
def test_efforts_become_the_two_that_version_15_knows(fields: Fields, expected: Fields, lost: bool) -> None:
    better, notes = translated(fields, V15)

    assert better == expected
    assert bool(notes.lost) == lost
    assert needs_none(raw_fields(better), V15, PLAIN)
    assert translated(fields, V13)[0] == {}


@pytest.mark.parametrize("profile", [Profile(Renderer.TEMPLATE, 13), Profile(Renderer.MISTRAL_COMMON), V13])
def test_an_effort_is_left_out_where_the_model_is_not_known_to_know_it(profile: Profile) -> None:
    assert translated({"reasoning_effort": "high"}, profile)[0] == {}


@pytest.mark.parametrize(
    ("form", "longest", "kept"),
    [(CLAMP, 1_024, False), (CLAMP, 5_000, True), (CLAMP, None, True), (PLAIN, 1_024, True)],
)
def test_a_limit_above_the_models_length_is_none_where_that_was_configured(
    form: RequestForm, longest: int | None, kept: bool
) -> None:
    better, notes = translated({"max_tokens": 5_000}, Profile(max_model_len=longest), form)

    assert better == ({"max_tokens": 5_000} if kept else {})
    assert bool(notes.repaired) != kept


@pytest.mark.parametrize("key", sorted(CONCERNED - {"safe_prompt"}))
def test_a_field_that_is_no_json_is_refused(key: str) -> None:
    with pytest.raises(InvalidRequest) as refused:
        translate_parameters({key: msgspec.Raw(b'"\xff"')}, STRICTEST, form=PLAIN, notes=Notes())
    assert refused.value.param == key


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), st.text()),
    lambda inner: st.one_of(
        st.lists(inner, max_size=2),
        st.dictionaries(st.sampled_from(["type", "schema", "json_schema", "name", "effort"]), inner, max_size=3),
    ),
    max_leaves=5,
)
PROFILES = st.sampled_from([STRICTEST, TEMPLATE, V13, V15, Profile(max_model_len=10)])


@settings(max_examples=200, deadline=None)
@given(
    st.dictionaries(st.sampled_from([*sorted(CONCERNED), "stream", "seed"]), JSON, max_size=5), PROFILES, st.booleans()
)
def test_any_json_is_translated_once(fields: Fields, profile: Profile, raw: bool) -> None:
    better, _ = translated(fields, profile, CLAMP, raw=raw)

    assert needs_none(raw_fields(better), profile, CLAMP)
