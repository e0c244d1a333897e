"""Rules of router/relay/forms.py."""

import time

import pytest

from router.errors import InvalidRequest
from router.relay.envelope import Envelope
from router.relay.forms import MAX_PARTS, fill_multipart_model, peek_multipart

FORM = "multipart/form-data; boundary=xyz"


def form(*parts: tuple[str, bytes]) -> bytes:
    body = b"".join(
        b"--xyz\r\nContent-Disposition: form-data; " + head.encode() + b"\r\n\r\n" + text + b"\r\n"
        for head, text in parts
    )
    return body + b"--xyz--\r\n"


def test_a_form_names_its_model_and_stream() -> None:
    body = form(
        ('name="file"; filename="a.wav"', b"RIFF\r\n--xy\r\n"), ('name="model"', b"whisper"), ('name="stream"', b"true")
    )
    assert peek_multipart(body, FORM) == Envelope("whisper", True)


def test_a_file_called_model_is_no_model() -> None:
    assert peek_multipart(form(('name="model"; filename="model"', b"x")), FORM) == Envelope(None, False)


@pytest.mark.parametrize("head", ['name="model"; filename="a"', 'name="stream"; filename=""'])
def test_a_file_behind_a_text_of_its_name_counts(head: str) -> None:
    """Of fields with one name readers take the last, whatever it is."""
    text = form(('name="model"', b"m"), ('name="stream"', b"true"))
    named = peek_multipart(text.removesuffix(b"--xyz--\r\n") + form((head, b"other")), FORM)
    assert named == (Envelope(None, True) if "model" in head else Envelope("m", False))
    behind = form((head, b"other")).removesuffix(b"--xyz--\r\n") + text
    assert peek_multipart(behind, FORM) == Envelope("m", True)


@pytest.mark.parametrize(
    ("body", "content_type"),
    [
        (form(("name=a", b"1")), "multipart/form-data"),
        (b"nothing", FORM),
        (form(('name="model"', b"x" * 5000)), FORM),
        (form(('name="model"', b"x")).removesuffix(b"--xyz--\r\n")[:-2], FORM),
    ],
)
def test_a_broken_form_is_refused(body: bytes, content_type: str) -> None:
    with pytest.raises(InvalidRequest):
        peek_multipart(body, content_type)


def test_a_form_gets_the_model_that_was_meant() -> None:
    body = form(('name="file"; filename="a"', b"\x00\xff"))
    filled = fill_multipart_model(body, FORM, "m")
    assert peek_multipart(filled, FORM).model == "m"
    assert filled.startswith(body.removesuffix(b"--xyz--\r\n"))
    assert filled.endswith(b"\r\n--xyz--\r\n")


def test_an_empty_model_is_replaced_also_where_it_stands_last() -> None:
    """Of two fields with one name readers take the last."""
    body = form(('name="model"', b"a"), ('name="model"', b""))
    assert peek_multipart(body, FORM).model is None
    assert peek_multipart(fill_multipart_model(body, FORM, "m"), FORM).model == "m"


@pytest.mark.parametrize(
    "part",
    [
        b'--xyz\rContent-Disposition: form-data; name="model"\r\n\r\nm\r\n',
        b'--xyz \r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="model"\r\nContent-Disposition: form-data; name=x\r\n\r\nm\r\n',
        b'\n--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name=a; name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="model"a\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="mo\\del"\r\n\r\nm\r\n',
        b"--xyz\r\nContent-Disposition: form-data; name*=utf-8''model\r\n\r\nm\r\n",
        b"--xyz\r\nContent-Disposition: form-data; name=model; filename*=utf-8''a\r\n\r\nm\r\n",
        b"--xyz\r\nContent-Disposition: form-data; name=j; name*0=model\r\n\r\nm\r\n",
        b"--xyz\r\nContent-Disposition: form-data; name=j; name*0*=utf-8''model\r\n\r\nm\r\n",
        b"--xyz\r\nContent-Disposition: form-data; name=j; filename*0=a\r\n\r\nm\r\n",
        b'--xyz\r\nContent-Disposition: form-data; name="x\\\\"; y="; name=model; z="\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name=x; filename="\\\\"; y="; name=model; z="\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: attachment; name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data;\r\n name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition : form-data; name="model"\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="model"\n\r\n\r\nm\r\n',
        b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n\xff\r\n',
        b"--xyz\r\n\r\n\r\n",
    ],
)
def test_what_readers_of_forms_differ_on_is_refused(part: bytes) -> None:
    with pytest.raises(InvalidRequest):
        peek_multipart(part + form(('name="file"; filename="a"', b"x")), FORM)


def test_a_body_that_begins_like_a_boundary_is_a_body() -> None:
    """The empty line's end is not the one before a boundary."""
    body = b'--xyz\r\nContent-Disposition: form-data; name="model"\r\n\r\n' + form(('name="x"', b"y"))
    assert peek_multipart(body, FORM).model == '--xyz\r\nContent-Disposition: form-data; name="x"\r\n\r\ny'


@pytest.mark.parametrize(
    "more",
    [
        *("; boundary=abc", "; charset=utf-16", '; x="a', "; x=1; X=2", ";"),
        *("; boundary*=utf-8''y", "; boundary*0=y", "; boundary*0*=utf-8''y", "; charset*0=utf-7"),
    ],
)
def test_a_content_type_that_readers_differ_on_is_refused(more: str) -> None:
    with pytest.raises(InvalidRequest):
        peek_multipart(form(('name="model"', b"m")), FORM + more)


@pytest.mark.parametrize("head", [b"", b'\r\nContent-Disposition: form-data; name="a"'])
def test_a_form_of_many_tiny_parts_is_refused_before_they_are_all_read(head: bytes) -> None:
    part = head + b"\r\n\r\n\r\n--xyz"
    body = b"--xyz" + part * (8 * 1024 * 1024 // len(part)) + b"--\r\n"
    started = time.perf_counter()
    with pytest.raises(InvalidRequest, match="part"):
        peek_multipart(body, FORM)
    assert time.perf_counter() - started < 1


def test_a_form_may_have_as_many_parts_as_the_bound_says() -> None:
    parts = [(f'name="p{number}"', b"1") for number in range(MAX_PARTS - 1)]
    assert peek_multipart(form(*parts, ('name="model"', b"m")), FORM).model == "m"
    with pytest.raises(InvalidRequest, match="parts"):
        peek_multipart(form(*parts, ('name="model"', b"m"), ('name="x"', b"1")), FORM)


@pytest.mark.parametrize("content_type", ["Multipart/Form-Data; Boundary=xyz", 'multipart/form-data; boundary="xyz"'])
def test_a_boundary_is_found_in_any_legal_spelling(content_type: str) -> None:
    assert peek_multipart(form(('name="model"', b"m")), content_type).model == "m"


@pytest.mark.parametrize("head", ['name="x; name=model"', 'name="x"; title="a; name=\\"model\\""', 'name="a\\"model"'])
def test_a_quoted_name_is_not_taken_apart(head: str) -> None:
    assert peek_multipart(form(('name="model"', b"m"), (head, b"other")), FORM).model == "m"


def test_backslashes_and_quotes_within_a_files_name_are_taken() -> None:
    """As curl writes them."""
    head = r'name="file"; filename="C:\\a\"b\\\".wav"'
    assert peek_multipart(form((head, b"x"), ('name="model"', b"m")), FORM).model == "m"


@pytest.mark.parametrize("head", ["name=model", 'name="model"; charset=utf-8', 'name="model" ', 'x=";"; name="model"'])
def test_a_models_part_is_found_in_any_legal_spelling(head: str) -> None:
    assert peek_multipart(form((head, b"m")), FORM).model == "m"


def test_what_stands_before_and_behind_a_form_means_nothing() -> None:
    body = form(('name="model"', b"m"))
    assert peek_multipart(b"preamble\r\n" + body, FORM).model == "m"
    assert peek_multipart(body + b"\r\nepilogue\r\n\r\nmore\r\n--xyz\r\n", FORM).model == "m"
