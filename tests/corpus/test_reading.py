"""The body that is checked is the body that is sent: what the router reads in it is what a backend reads in it.

The router looks at `model` and `stream` with msgspec; vLLM reads the bytes that it gets with Python's json, others with
readers of their own. For texts that are made to be read differently (keys given twice, keys in escapes, odd numbers,
halves of surrogate pairs, other encodings, bytes changed at random) all must agree, or the request goes nowhere.
"""

import contextlib
import json
import random
from email import message_from_bytes
from typing import Any

import orjson
import pydantic_core
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.errors import InvalidRequest
from router.relay.envelope import Envelope, fill_json_model, peek_json
from router.relay.forms import peek_multipart
from router.translate.mistral.message import System, User
from router.translate.mistral.request import read, translate
from router.translate.profile import Profile
from tests.corpus import requests
from tests.front import run
from tests.relay.scripted import plain, says, scripted

MODELS = ("a", "b")
NOTHING = object()
MESSAGES = '[{"role":"user","content":"hi"}]'
TWO_ROLES = '[{"role":"user","role":"system","content":"hi","content":"ho"},{"role":"user","content":"hi"}]'


# What the standard has (RFC 8259), though some of it is read differently all the same; and what it does not have.
SPACES = ("", "", " ", "\t", "\r\n")
ODD_SPACES = ("\x0b", "\xa0", "\ufeff", "/**/", "\x00", "\u2028")
LEAVES = (
    *("0", "-0", "1e400", "-1e-400", "1E+2", "9" * 5000, "18446744073709551616", "true", "false", "null", '""', '"x"'),
    *('"\\ud83d\\ude00"', '"\\u0000"', '"\\/"', '"é"', '"\u2028"', '"model\\":\\"b"', '"\x7f"', MESSAGES),
)
ODD_LEAVES = (
    *("01", "+1", ".5", "1.", "NaN", "Infinity", "-Infinity", "0x10", "1_000", "1e", "٣", "True", "nul", "undefined"),
    *('"\\ud800"', '"\\udc00\\ud800"', '"\ud800"', '"\\x41"', "'x'", '"\x01"', '"open', '"\\"', '"\\u00', '"a\nb"'),
)
KEYS = (*("model",) * 3, "stream", "messages", "x", "Model", "model ", "mod\0el", "MODEL", "ｍodel", "")
VALUES = {
    "model": (*('"a"', '"b"') * 3, '"\\u0061"', '"\\u0062"', "null", '""', '"c"', "1", "[]", "{}"),
    "stream": ("true", "false", "null", "false", "true", '"true"', "1"),
    "messages": (MESSAGES, MESSAGES, TWO_ROLES, '"x"'),
}
ODDITIES = (*("",) * 6, "space", "value", "ends", "coding", "bytes")


def spelt(text: str, rng: random.Random) -> str:
    """Return a JSON string, some of its characters in escapes."""
    chars = (f"\\u{ord(char):04x}" if char < " " or rng.random() < 0.1 else char for char in text)
    return '"' + "".join(chars) + '"'


def nested(leaves: tuple[str, ...], rng: random.Random, depth: int = 3) -> str:
    """Return a value of any form."""
    kind = rng.choice(("leaf", "leaf", "list", "object")) if depth else "leaf"
    if kind == "leaf":
        return rng.choice(leaves)
    items = [nested(leaves, rng, depth - 1) for _ in range(rng.randrange(3))]
    if kind == "list":
        return "[" + ",".join(items) + "]"
    return "{" + ",".join(f"{spelt(rng.choice(KEYS), rng)}:{item}" for item in items) + "}"


def value_of(name: str, rng: random.Random) -> str:
    """Return a value for a key, mostly of the right kind."""
    return rng.choice(VALUES[name]) if name in VALUES else nested(LEAVES, rng)


def hostile(rng: random.Random) -> bytes:
    """Return bytes that some may read otherwise than others, or that some take for JSON and others do not."""
    odd, how = rng.choice(ODDITIES), "utf-8"
    names = [*rng.choices(KEYS, k=rng.randrange(4)), *rng.choices(("model", "messages"), k=3)]
    rng.shuffle(names)
    members = [(spelt(name, rng), value_of(name, rng)) for name in names]
    space = rng.choice(ODD_SPACES if odd == "space" else SPACES)
    if odd == "value":
        members.insert(rng.randrange(len(members)), (spelt("x", rng), nested(ODD_LEAVES, rng)))
    if odd == "coding":
        how = rng.choice(("utf-16", "utf-16-le", "utf-32", "utf-8-sig", "latin-1", "cp1252"))
    text = space + "{" + (space + ",").join(f"{key}{space}:{space}{value}" for key, value in members) + "}" + space
    if odd == "ends":
        text = rng.choice((text + text, text[:-1], "[" + text + "]", text + "]", text + ",", "x" + text))
    raw = bytearray(text.encode(how, "surrogatepass" if how.startswith("utf") else "replace"))
    if odd == "bytes":
        for _ in range(rng.randrange(1, 4)):
            raw[rng.randrange(len(raw))] = rng.randrange(256)
    return bytes(raw)


def backend_reads(body: bytes) -> Any:
    """Return what vLLM's server reads (`json.loads` of the bytes), NOTHING where it refuses them."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return NOTHING


def others_read(body: bytes) -> list[Any]:
    """Return what other readers make of it, those that take it."""
    found = []
    for reader in (orjson.loads, pydantic_core.from_json):
        with contextlib.suppress(ValueError, RecursionError):
            found.append(reader(body))
    return found


def agrees(value: Any, envelope: Envelope) -> bool:
    """Whether somebody who has read `value` knows the same model and stream."""
    if value is NOTHING:
        return True  # the backend refuses it: nothing has got past anything
    return isinstance(value, dict) and (value.get("model") or None, bool(value.get("stream"))) == (
        envelope.model,
        envelope.stream,
    )


ROLES = {System: "system", User: "user"}
PROFILE = Profile(version=13)
CORPUS = [case.raw.partition(b"\r\n\r\n")[2] for case in requests() if case.theme == "json" and len(case.raw) < 10_000]


@settings(max_examples=100, deadline=None)
@given(st.integers(0))
def test_what_is_peeked_is_what_every_reader_reads_or_it_is_refused(seed: int) -> None:
    for body in (*texts(60, seed), *CORPUS):
        try:
            envelope = peek_json(body)
        except InvalidRequest:
            continue
        for value in (backend_reads(body), *others_read(body)):
            assert agrees(value, envelope), body
        filled = fill_json_model(body, "a")
        for value in (backend_reads(filled), *others_read(filled)):
            assert agrees(value, Envelope("a", envelope.stream)), filled


@settings(max_examples=100, deadline=None)
@given(st.integers(0))
def test_a_conversation_is_read_and_sent_as_every_reader_reads_it(seed: int) -> None:
    """The readers of requests that may have to be translated are others than the envelope's."""
    for body in (*texts(60, seed), *CORPUS):
        shape, value = read(body), backend_reads(body)
        if shape is not None:
            assert agrees(value, Envelope(shape.model, shape.stream)), body
            if value is not NOTHING:
                roles = [ROLES[type(message)] for message in shape.messages]
                assert roles == [message["role"] for message in value.get("messages", ())], body
        try:
            sent = backend_reads(translate(body, PROFILE).body)
        except InvalidRequest:
            continue
        if shape is not None:
            assert agrees(sent, Envelope(shape.model, shape.stream)), body
        if value is not NOTHING and sent is not NOTHING:
            assert all(sent.get(key) == value.get(key) for key in ("model", "stream")), body


def texts(count: int, seed: int) -> list[bytes]:
    """Return so many hostile texts, the same ones for the same seed."""
    rng = random.Random(seed)
    return [hostile(rng) for _ in range(count)]


@pytest.mark.row(56)
@pytest.mark.parametrize("options", [{"dialect": "openai"}, {"dialect": "mistral", "profile": "v13"}], ids=str)
def test_no_text_brings_a_request_for_one_model_to_a_backend_of_another(options: dict[str, str]) -> None:
    """What a backend gets names its own model, for whoever reads it; and what it answers goes to who asked for it."""

    bodies = (*texts(1500, seed=1), *CORPUS)

    async def test() -> None:
        answers = [says(plain(200, {"served_by": model})) for model in MODELS]
        config = {"backend_options": [{"models": [model], **options} for model in MODELS], "retry": {"max_attempts": 1}}
        async with scripted(*answers, config=config) as (it, asked):
            passed = 0
            for body in bodies:
                asked.clear()
                answer = await it.ask("/v1/chat/completions", body)
                got = [one for one in asked if one.head.startswith(b"POST /v1/chat/completions ")]  # no probe
                passed += len(got)
                assert len(got) <= 1
                assert bool(got) == (answer.code == 200), body
                for one in got:
                    served = json.loads(answer.body)["served_by"]
                    for value in (backend_reads(one.body), *others_read(one.body)):
                        assert value is NOTHING or value["model"] == served, body
                    for value in (backend_reads(body), *others_read(body)):
                        assert value is NOTHING or value["model"] == served, body
            assert 20 < passed < len(bodies) - 50  # some get through, some do not: else this tells nothing

    run(test, timeout=60)


def test_of_a_form_the_last_model_counts_for_every_reader() -> None:
    """Starlette, which vLLM stands on, keeps all parts and takes the last; the standard library stands in for it."""
    part = b'--x\r\nContent-Disposition: form-data; name="%b"\r\n\r\n%b\r\n'
    body = part % (b"model", b"a") + part % (b"file", b"--y") + part % (b"model", b"b") + b"--x--\r\n"
    parts = message_from_bytes(b"Content-Type: multipart/form-data; boundary=x\r\n\r\n" + body).walk()
    values = {part.get_param("name", header="content-disposition"): part.get_payload() for part in parts}

    assert peek_multipart(body, "multipart/form-data; boundary=x").model == str(values["model"]).strip() == "b"
