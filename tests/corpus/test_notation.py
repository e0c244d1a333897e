"""The notation of the cases: what a person reads is what goes over the wire."""

from pathlib import Path

import pytest

import tests.corpus as corpus
from tests.corpus.notation import End, Forever, Pause, Write, steps, written


@pytest.mark.parametrize(
    ("text", "raw"),
    [
        ("GET / HTTP/1.1\nHost: a\n\n", b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"),
        ("a\\\nb\\", b"ab\\"),
        ("a\\\n\\\nb", b"ab"),
        (r"\r\n\t\0\x00\xff\\", b"\r\n\t\0\0\xff\\"),
        (r'{"mod\u0065l":"\q"}', rb'{"mod\u0065l":"\q"}'),
        ("é", "é".encode()),
        ("<<3 * ab>>", b"ababab"),
        (r"<<2 * \x00\n>>", b"\0\n\0\n"),
        ("<<chunk <<3 * ab>>>>", b"6\r\nababab\r\n"),
        ("<<chunk >>", b"0\r\n\r\n"),
        ("L: <<length>>\n\nabc", b"L: 3\r\n\r\nabc"),
        ("L: <<length>>\n\n<<10 * a>>\n\n", b"L: 14\r\n\r\naaaaaaaaaa\r\n\r\n"),
        ("<<answer>>", b'{"object":"chat.completion","choices":[]}'),
    ],
)
def test_a_text_says_which_bytes_are_written(text: str, raw: bytes) -> None:
    assert written(steps(text)) == raw


def test_marks_say_what_else_is_done() -> None:
    assert steps("a<<pause>>b<<pause 0.5>><<half-close>>") == (
        *(Write(b"a"), Pause(0.05), Write(b"b"), Pause(0.5), End("half-close")),
    )
    assert steps("a<<forever xy>>") == (Write(b"a"), Forever(b"xy"))
    assert [steps(f"<<{how}>>") for how in ("close", "reset")] == [(End("close"),), (End("reset"),)]


def test_pieces_have_the_lengths_that_they_tell() -> None:
    for piece in ("request", "smuggled", "whole"):
        head, _, body = written(steps(f"<<{piece}>>")).partition(b"\r\n\r\n")
        assert f"Content-Length: {len(body)}".encode() in head


@pytest.mark.parametrize("text", ["<<nonsense>>", "<<pause", "a>>", "<<chunk <<pause>>>>", "<<pause x>>"])
def test_a_mark_that_means_nothing_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        steps(text)


@pytest.mark.parametrize(
    "text",
    [
        "- {name: a, rows: [1], rule: r}",
        "- {name: a, rows: [1], rule: r, send: x, sends: y}",
        "- {name: a, rows: [1], rule: r, send: x}\n- {name: a, rows: [1], rule: r, send: y}",
    ],
)
def test_a_case_that_is_written_wrong_is_refused(text: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "requests").mkdir()
    (tmp_path / "requests" / "theme.yaml").write_text(text)
    monkeypatch.setattr(corpus, "FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"theme\.yaml: a"):
        corpus.requests.__wrapped__()
