"""What fuzzing begins with: the corpus of hostile bytes, and what real clients and a real vLLM have sent."""

import json

from tests import captures, corpus
from tests.translate import cases
from tests.translate.corpus.requests import CASES

MOST = 16 * 1024  # bytes of a seed: longer ones cost time and find no more
HOST = b"Host: a\r\n"
POST = b"POST /v1/chat/completions HTTP/1.1\r\nHost: a\r\nContent-Type: application/json\r\n"
CHAT = b'{"model":"simulated-model","messages":[{"role":"user","content":"hi"}],"stream":true}'
OWN_REQUESTS = {
    "get": b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n",
    "get-1.0": b"GET / HTTP/1.0\r\n\r\n",
    "get-1.0-kept": b"GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\nGET / HTTP/1.0\r\n\r\n",
    "post": POST + b"Content-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT),
    "chunked": POST + b"Transfer-Encoding: chunked\r\n\r\n10;a=b\r\n%b\r\n%x\r\n%b\r\n0\r\nT: x\r\n\r\n"
    % (CHAT[:16], len(CHAT) - 16, CHAT[16:]),
    "expecting": POST + b"Expect: 100-continue\r\nContent-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT),
    "upgrade": POST + b"Connection: Upgrade\r\nUpgrade: h2c\r\nContent-Length: %d\r\n\r\n%b" % (len(CHAT), CHAT),
    "last": b"GET /x?y#z HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\nGET / HTTP/1.1\r\n" + HOST + b"\r\n",
    "pipelined": b"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nabHEAD /a HTTP/1.1\r\nHost: a\r\n\r\n" * 3,
    "options": b"OPTIONS * HTTP/1.1\r\nHost: a\r\nX-Empty:\r\nX-Pad: \t a \r\n\r\n",
    "empty-lines": b"\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
}
OWN_ANSWERS = {
    "length": b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}",
    "1.0": b"HTTP/1.0 200 OK\r\nContent-Type: text/plain\r\n\r\nuntil the end",
    "1xx": b"HTTP/1.1 102 Processing\r\nA: b\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "204": b"HTTP/1.1 204 No Content\r\n\r\n",
    "304": b"HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n",
    "error": b'HTTP/1.1 400 Bad Request\r\nContent-Length: 25\r\n\r\n{"error":{"message":"x"}}',
    "no-reason": b"HTTP/1.1 200\r\nTransfer-Encoding: chunked\r\n\r\n3;a=b\r\nabc\r\n0\r\nT: x\r\n\r\n",
    "last": b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok",
    "two": b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "stream": b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    b'2a\r\ndata: {"choices":[{"delta":{"content":"a"\r\n6\r\n}}]}\n\n\r\nd\r\ndata: [DONE]\n\r\n1\r\n\n\r\n0\r\n\r\n',
}


OWN_EVENTS = {
    "lines": b"\xef\xbb\xbf: hi\nevent: a\ndata: 1\ndata:2\ndata\n\ndata: x\r\n\r\ndata: y\r\rid: 1\nretry: 5\n\n",
    "unfinished": b"data: [DONE]\n\ndata: x\n",
}


def recorded_streams() -> dict[str, bytes]:
    """Return the bodies of recorded streams."""
    return {name.replace("/", "-"): body for name, _, body in captures.load_streams() if len(body) <= MOST}


def event_seeds() -> dict[str, bytes]:
    """Return the bytes of streams."""
    return {**OWN_EVENTS, **{f"recorded-{name}": body for name, body in recorded_streams().items()}}


def request_seeds() -> dict[str, bytes]:
    """Return the bytes of requests."""
    recorded = {
        f"recorded-{one.name.replace('/', '-')}": one.request
        for one in captures.load()
        if one.request and len(one.request) <= MOST
    }
    hostile = {f"corpus-{one.theme}-{one.name}": one.raw for one in corpus.requests() if len(one.raw) <= MOST}
    return {**OWN_REQUESTS, **hostile, **recorded}


def answer_seeds() -> dict[str, bytes]:
    """Return the bytes of answers."""
    recorded = {
        f"recorded-{one.name.replace('/', '-')}": one.response
        for one in captures.load()
        if len(one.response) <= MOST
    }
    hostile = {f"corpus-{one.theme}-{one.name}": one.raw for one in corpus.responses() if len(one.raw) <= MOST}
    return {**OWN_ANSWERS, **hostile, **recorded}


def json_bodies() -> dict[str, bytes]:
    """Return bodies of requests in JSON: recorded, of the translation's corpus and of the hostile one."""
    bodies = {"chat": CHAT, "no-model": b'{"stream": null, "messages": []}', "empty": b"{}", "null": b'{"model":null}'}
    for one in captures.load():
        if one.request_body.startswith(b"{"):
            bodies[f"recorded-{one.name.replace('/', '-')}"] = one.request_body
    for case in CASES:
        bodies[f"conversation-{case.name.replace('/', '-')}"] = json.dumps(case.request).encode()
    for hostile in corpus.requests():
        body = hostile.raw.partition(b"\r\n\r\n")[2]
        if body.lstrip()[:1] in (b"{", b"["):
            bodies[f"corpus-{hostile.name}"] = body
    return {name: body for name, body in bodies.items() if len(body) <= MOST}


def _form(*parts: tuple[bytes, bytes]) -> bytes:
    written = [b'--x\r\nContent-Disposition: form-data; %b\r\n\r\n%b\r\n' % part for part in parts]
    return b"".join(written) + b"--x--\r\n"


FORMS = {
    "model": _form((b'name="model"', b"whisper"), (b'name="file"; filename="a.wav"', b"RIFF")),
    "stream": _form((b'name="stream"', b"true"), (b'name="model"', b"m"), (b'name="stream"', b"0")),
    "no-model": _form((b'name="file"; filename="model"', b"RIFF"), (b'name="prompt"', b"hi")),
    "twice": _form((b'name="model"', b"a"), (b'name="model"', b"b")),
    "typed": _form((b'name="model"\r\nContent-Type: text/plain; charset=utf-16', b"a")),
}


def form_seeds() -> dict[str, bytes]:
    """Return forms, each behind a byte, and some behind a Content-Type (see envelopes.py)."""
    forms = {f"form-{name}": b"F" + body for name, body in FORMS.items()}
    return {**forms, **{f"typed-{name}": b"Tmultipart/form-data; boundary=x\n" + body for name, body in FORMS.items()}}


def envelope_seeds() -> dict[str, bytes]:
    """Return bodies, each behind a byte that says what it is (see envelopes.py)."""
    return {**form_seeds(), **{name: b"J" + body for name, body in json_bodies().items()}}


def translation_seeds() -> dict[str, bytes]:
    """Return requests, answers and streams, each behind two bytes that say what it is (see translations.py)."""
    answers = [(one.name, one.body) for one in captures.load() if one.is_whole and one.body.startswith(b"{")]
    answers += [(case.name, case.answer) for case in cases.load("answer")]
    streams = [*recorded_streams().items(), *((case.name, case.stream) for case in cases.load("stream"))]
    seeds = {}
    for kind, bodies in (("request", [*json_bodies().items()]), ("answer", answers), ("stream", streams)):
        for number, (name, body) in enumerate(bodies):
            seeds[f"{kind}-{name.replace('/', '-')}"] = kind[0].upper().encode() + b"%c" % (number % 256) + body
    return {name: body for name, body in seeds.items() if len(body) <= MOST}


def relayed_seeds() -> dict[str, bytes]:
    """Return requests and answers, each behind bytes that say what it is (see relayed.py)."""
    sent = {f"request-{name}": b"Q" + data for name, data in request_seeds().items()}
    for number, (name, data) in enumerate(answer_seeds().items()):
        sent[f"answer-{name}"] = b"P%c%c" % (number % 3, number // 3 % 3) + data
    return sent
