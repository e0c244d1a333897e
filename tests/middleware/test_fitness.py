"""Rules of router/middleware/fitness.py: what may take the place of what came."""

from dataclasses import replace

import pytest

from router.middleware.fitness import changed_body, changed_request
from router.middleware.interface import Request

HAD = Request("POST", "/v1/chat/completions", "a=1", (("Host", "h"), ("Content-Type", "application/json")), b"{}")


def test_headers_and_body_may_be_others() -> None:
    wanted = replace(HAD, body=b'{"a": 1}', headers=(*HAD.headers, ("X-A", "b\xe9")))

    assert changed_request(HAD, wanted, is_json=True) is wanted
    assert changed_request(HAD, HAD, is_json=True) is HAD


@pytest.mark.parametrize(
    "change",
    [
        {"method": "GET"},
        {"path": "/v1/embeddings"},
        {"query": ""},
        {"body": "{}x"},
        {"body": bytearray(b"{}x")},
        {"body": b"{"},
        {"body": b"[]"},
        {"body": b""},
        {"body": b'"x"'},
        {"body": b'{"a": "\xff"}'},
        {"body": b'{"a": ' + b"[" * 10_000 + b"]" * 10_000 + b"}"},
        {"body": b'{"a": 1} x'},
        {"headers": []},
        {"headers": (("X-A",),)},
        {"headers": (("X-A", b"b"),)},
        {"headers": (("X A", "b"),)},
        {"headers": (("", "b"),)},
        {"headers": (("X-A", "b\r\nX-B: c"),)},
        {"headers": (("X-A", "b\nc"),)},
        {"headers": (("X-A", "b\0"),)},
        {"headers": (("X-A\r\n", "b"),)},
        {"headers": (("X-A", "\u20ac"),)},
        {"headers": (("X-A", "b"),) * 1001},
    ],
    ids=str,
)
def test_what_cannot_be_sent_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(ValueError, match=r"body|header|method"):
        changed_request(HAD, replace(HAD, **change), is_json=True)  # type: ignore[arg-type]


def test_a_body_of_a_route_that_takes_anything_may_be_anything() -> None:
    assert changed_request(HAD, replace(HAD, body=b"{"), is_json=False).body == b"{"


@pytest.mark.parametrize("after", [7, "x", [], {}, b"{}", object()])
def test_anything_but_a_request_is_refused(after: object) -> None:
    with pytest.raises(ValueError, match="not a Request"):
        changed_request(HAD, after, is_json=True)


def test_a_json_answer_stays_json() -> None:
    assert changed_body(b"[1]", is_json=True) == b"[1]"
    assert changed_body(b"x", is_json=False) == b"x"
    for wanted in (b"x", b"", b'{"a": }', b'"\xff"', "{}", 7, bytearray(b"{}")):
        with pytest.raises(ValueError, match=r"JSON|bytes"):
            changed_body(wanted, is_json=True)
