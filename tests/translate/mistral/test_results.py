"""What a tool returned."""

import json
from typing import Any

import pytest
from msgspec import UNSET

from router.translate.mistral.limits import parts_tally
from router.translate.mistral.message import encoded
from router.translate.mistral.results import result_content
from router.translate.notes import Notes, Rule
from router.translate.profile import PRESETS, Profile, Renderer

TEXT = {"type": "text", "text": "a"}
IMAGE = {"type": "image_url", "image_url": {"url": "data:x"}}
BLIND = Profile(vision=False)
RICH = PRESETS["v15"]


def read(content: Any, profile: Profile = PRESETS["v13"]) -> tuple[Any, Any, Notes]:
    notes = Notes(explain=True)
    raw, media = result_content(encoded(content), 2, profile=profile, join="\n\n", parts=parts_tally(), notes=notes)
    return json.loads(bytes(raw)), media, notes


def test_a_text_stays_the_object_it_is() -> None:
    raw, notes = encoded("a"), Notes()

    assert result_content(raw, 0, profile=RICH, join="", parts=parts_tally(), notes=notes) == (raw, None)
    assert not notes.repaired


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        ([], ""),
        ([TEXT], "a"),
        ([TEXT, {"type": "text", "text": "b", "cache_control": {}}], "a\n\nb"),
        ({"city": "Köln"}, '{"city": "Köln"}'),
        (5, "5"),
        (False, "false"),
        ([1, {"a": None}], '[1, {"a": null}]'),
    ],
)
def test_r8_anything_else_becomes_text(content: Any, text: str) -> None:
    value, media, notes = read(content)

    assert (value, media) == (text, None)
    assert notes.steps == [(Rule.R8, "messages.2.content", False)]


def test_r8_missing_content_is_empty_text() -> None:
    raw, _ = result_content(UNSET, 0, profile=RICH, join="", parts=parts_tally(), notes=Notes())

    assert bytes(raw) == b'""'


def test_r9_an_image_is_a_users_to_say() -> None:
    value, media, notes = read([TEXT, IMAGE])

    assert (value, media) == ("a", [IMAGE])
    assert notes.lost == {Rule.R9}


def test_r9_without_vision_a_text_stands_for_the_image() -> None:
    value, media, notes = read([TEXT, IMAGE], BLIND)

    assert (value, media) == ("a\n\n[image omitted]", None)
    assert notes.lost == {Rule.R9}


def test_r9_the_newest_tokenizer_takes_images_where_they_are() -> None:
    value, media, notes = read([TEXT, IMAGE], RICH)

    assert (value, media) == ([TEXT, IMAGE], None)
    assert not notes.repaired


def test_r8_parts_that_stay_lose_what_is_no_content() -> None:
    value, _, notes = read([{**TEXT, "cache_control": {}}, IMAGE], RICH)

    assert value == [TEXT, IMAGE]
    assert notes.repaired == {Rule.R8}


def test_r9_a_template_is_not_known_to_take_images_in_results() -> None:
    _, media, _ = read([IMAGE], Profile(Renderer.TEMPLATE, 15))

    assert media == [IMAGE]
