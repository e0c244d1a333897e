"""What a profile says of a backend."""

import pytest

from router.translate.profile import PRESETS, STRICTEST, Profile, Renderer, parse_profile


def test_the_strictest_may_be_anything_and_takes_the_least() -> None:
    assert STRICTEST.may_be_template
    assert STRICTEST.may_be_mistral_common
    assert not STRICTEST.is_mistral_common
    assert STRICTEST.nine_ids
    assert STRICTEST.bridge
    assert not STRICTEST.strict_tools


@pytest.mark.parametrize("renderer", Renderer)
def test_a_known_renderer_is_no_other(renderer: Renderer) -> None:
    profile = Profile(renderer)

    assert profile.may_be_template is (renderer is Renderer.TEMPLATE)
    assert profile.may_be_mistral_common is profile.is_mistral_common is (renderer is Renderer.MISTRAL_COMMON)


@pytest.mark.parametrize(
    ("profile", "words"),
    [
        (STRICTEST, "renderer unknown"),
        (PRESETS["template"], "template"),
        (PRESETS["v11"], "mistral-common v11"),
        (PRESETS["v13-think"], "mistral-common v13, thinking"),
        (
            Profile(Renderer.MISTRAL_COMMON, 15, vision=True, nine_ids=False, bridge=False),
            "mistral-common v15, vision, free ids, no bridge",
        ),
        (Profile(Renderer.MISTRAL_COMMON, 7, vision=False), "mistral-common v7, text only"),
    ],
)
def test_a_status_page_tells_it_in_a_few_words(profile: Profile, words: str) -> None:
    assert profile.describe() == words


def test_presets_are_named_by_the_tokenizers_version() -> None:
    for name in ("v1", "v2", "v3", "v7", "v11", "v13", "v15"):
        assert PRESETS[name] == Profile(Renderer.MISTRAL_COMMON, int(name[1:]), thinking=False)


@pytest.mark.parametrize("name", PRESETS)
def test_a_preset_is_known_by_its_name(name: str) -> None:
    assert parse_profile(name) is PRESETS[name]


@pytest.mark.parametrize("renderer", [None, *Renderer])
@pytest.mark.parametrize("version", [None, 13])
@pytest.mark.parametrize("vision", [None, True, False])
@pytest.mark.parametrize("others", [{}, {"thinking": True, "nine_ids": False, "bridge": False, "strict_tools": True}])
def test_what_a_status_page_tells_can_be_read_back(
    renderer: Renderer | None, version: int | None, vision: bool | None, others: dict[str, bool]
) -> None:
    profile = Profile(renderer, version, vision=vision, **others)  # type: ignore[arg-type]  # all are flags

    assert parse_profile(profile.describe()) == profile


@pytest.mark.parametrize("text", ["", "v99", "mistral-common vx", "mistral-common v13, quick", "template,", "devstral"])
def test_what_is_no_profile_is_told_with_what_would_be(text: str) -> None:
    with pytest.raises(ValueError, match="strictest"):
        parse_profile(text)
