"""The recorded exchanges are read as they were received."""

import pytest

from tests.captures import Capture, capture, load, load_streams


def test_there_are_streams_of_all_modes_and_most_are_whole() -> None:
    names = [name for name, _, _ in load_streams()]

    assert len(names) > 60
    assert {name.split("/")[0] for name in names} == {"tekken-v13", "tekken-v11", "hf-hermes", "lifecycle", "quirks"}
    assert len(list(load_streams(whole=True))) >= len(names) - 10


@pytest.mark.parametrize("one", [one for one in load() if one.is_stream], ids=lambda one: one.name)
def test_a_streams_body_is_its_chunks_and_each_chunk_is_one_event(one: Capture) -> None:
    assert all(chunk.endswith(b"\n\n") and chunk.count(b"data: ") == 1 for chunk in one.chunks)
    assert one.body == b"".join(one.chunks)


@pytest.mark.parametrize("one", [one for one in load() if not one.is_stream], ids=lambda one: one.name)
def test_a_plain_answers_body_has_the_length_that_its_head_says(one: Capture) -> None:
    assert one.is_whole or one.method == "HEAD" or one.name.startswith("lifecycle/")


def test_a_broken_stream_is_told_from_a_whole_one() -> None:
    assert not capture("lifecycle/sigkill-api").is_whole
    assert capture("tekken-v13/stream-plain").is_whole
