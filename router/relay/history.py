"""What a request tells of its conversation: keys of its opening and of what follows, read without parsing the texts.

    messages -> each in a form that stays the same while a client repeats it -> a hash that grows with each
             -> its value after the opening: the session's keys; after the last ones: what a backend has in its cache

The opening is all up to the first word of the assistant: what the next requests of a conversation begin with too, and
those of another one do not. Text counts as JSON text wherever it stands, as a string or as the only part of a list, for
some clients change from one to the other. What clients change from one request to the next is left out: marks for
caches, and reasoning, which most drop later. Tools are not looked at: they are none of the conversation. Keys of two
tenants, of two models and of two users whom one tenant names never meet.

Whatever stands in a body, it is read in one pass and within bounds, or not at all; nothing is raised. Pure.
"""

import re
from hashlib import blake2b

import msgspec
import orjson
from msgspec import Raw

from router.backends.sessions import KEY_BYTES, Keys

# The routes that carry a conversation, and those of which only ids are looked at.
CONVERSATIONS = frozenset({"/v1/chat/completions", "/v1/messages", "/v1/responses"})
WITH_IDS = frozenset({"/v1/completions"})

MAX_MESSAGES = 10_000
MAX_PARTS = 10_000  # of one content; each is looked at for itself
MAX_PIECES = 20 * MAX_MESSAGES  # of all that is hashed: twice what so many messages have, or half as many parts
MAX_ID = 1024  # bytes of a client's id; a longer one is none
MAX_OPENINGS = 8  # user messages in a row at the beginning: some clients send files or rules before the question
# Last messages at which an earlier request may have ended: more results of tools than are ever sent at once.
MAX_PREFIXES = 64
# Objects in a long body, and commas: one message is at least one object, one part ends with a comma or is the last, and
# the record of each takes 150 bytes while it is looked at.
LONG, MAX_OBJECTS = 1 << 20, 300_000

_NOTHING = Raw(b"")
_BEFORE = frozenset({"system", "developer"})
_PASSING = frozenset({"thinking", "redacted_thinking", "reasoning"})
# A mark with a comma of its own, so that what is left is what the client writes without it. In a text, the quotation
# marks of such a thing would have backslashes.
_MARKED = rb'"cache_control"\s*:\s*(?:null|\{[^{}]*\})'
_MARK = re.compile(rb",\s*" + _MARKED + rb"|" + _MARKED + rb"\s*,\s*")
# Of bodies that no backend would take: not JSON, too deep, half a surrogate pair, a role that is no text.
_ERRORS = (msgspec.MsgspecError, RecursionError, ValueError, TypeError)


# Values of another type end the reading where they begin: nothing is built of an object of a million keys.


class _Top(msgspec.Struct):
    messages: Raw = _NOTHING
    input: Raw = _NOTHING  # of the Responses API
    system: Raw = _NOTHING  # of the Messages API
    instructions: Raw = _NOTHING  # of the Responses API
    user: Raw = _NOTHING
    prompt_cache_key: Raw = _NOTHING
    previous_response_id: str | None = None


class _Message(msgspec.Struct):
    role: str | None = None
    type: str | None = None
    content: Raw = _NOTHING
    tool_calls: Raw = _NOTHING
    tool_call_id: Raw = _NOTHING
    name: Raw = _NOTHING
    call_id: Raw = _NOTHING  # of the Responses API, where calls and their results are messages
    arguments: Raw = _NOTHING
    output: Raw = _NOTHING


class _Part(msgspec.Struct):
    type: str | None = None
    text: Raw = _NOTHING


_TOP = msgspec.json.Decoder(_Top)
_MESSAGES = msgspec.json.Decoder(list[_Message])
_PARTS = msgspec.json.Decoder(list[Raw])
_PART = msgspec.json.Decoder(_Part)


def keys_of(path: str, body: bytes, *, tenant: bytes, model: str | None, ident: bytes | None) -> Keys | None:
    """Return what a request on a route tells, None where that is nothing.

    `tenant`: whose it is. `ident`: the id that its client gave in a header, None where it gave none.
    """
    if ident is None and path not in CONVERSATIONS and path not in WITH_IDS:
        return None
    base = _field(b"t", tenant) + _field(b"m", (model or "").encode(errors="surrogatepass"))
    try:
        top = _TOP.decode(body) if ident is None else _Top()
        if ident is None and 2 < len(top.prompt_cache_key) <= MAX_ID and bytes(top.prompt_cache_key)[:1] == b'"':
            ident = orjson.dumps(orjson.loads(bytes(top.prompt_cache_key)))[1:-1]
        if ident is not None:
            return Keys((_hash(base + _field(b"i", ident)),), is_explicit=True) if len(ident) <= MAX_ID else None
        if path not in CONVERSATIONS or top.previous_response_id is not None or _is_overlong(body):
            return None
        return _read(base, top)
    except _ERRORS:
        return None


def _hash(data: bytes) -> bytes:
    return blake2b(data, digest_size=KEY_BYTES, person=b"session").digest()


def _field(name: bytes, value: bytes) -> bytes:
    return b"%b%d:%b" % (name, len(value), value)


def _is_overlong(body: bytes) -> bool:
    return len(body) > LONG and (body.count(b"{") > MAX_OBJECTS or body.count(b",") > MAX_OBJECTS)


def _read(base: bytes, top: _Top) -> Keys | None:
    said = top.messages or top.input
    if bytes(said)[:1] == b'"':
        messages = [_Message(role="user", content=said)]
    else:
        messages = _MESSAGES.decode(said) if said else []
    if not messages or len(messages) > MAX_MESSAGES:
        return None
    running = blake2b(base, digest_size=KEY_BYTES, person=b"session")
    running.update(_field(b"u", bytes(top.user)))
    told = [*_content(top.system), b"\x02", *_content(top.instructions), b"\x02"]  # and not hashed yet
    openings: list[bytes] = []
    prefixes: list[bytes] = []
    is_opening, first_prefix, seen = True, len(messages) - MAX_PREFIXES, len(told)
    for number, message in enumerate(messages):
        role = message.role
        is_opening = is_opening and (role == "user" or role in _BEFORE)
        if message.type in _PASSING:
            continue
        pieces = _canonical(message)
        seen += len(pieces)
        if seen > MAX_PIECES:
            return None
        told += pieces
        if is_opening:
            into = openings if role == "user" and len(openings) < MAX_OPENINGS else None
        else:
            into = prefixes if number >= first_prefix and role != "assistant" else None
        if into is not None:
            running.update(b"".join(told))
            told.clear()
            into.append(running.digest())
    running.update(b"".join(told))
    whole = running.digest()
    if not openings:
        return Keys((whole,))
    known = [*openings, *prefixes]
    if known[-1] != whole:
        known.append(whole)
    return Keys(tuple(reversed(openings)), tuple(reversed(known)))


def _canonical(message: _Message) -> list[bytes]:
    """Return the bytes of a message. No JSON text has control characters in it: what stands between is unambiguous."""
    role = message.role
    pieces = [b"\x03", (role or "").encode(errors="surrogatepass")]
    pieces += _content(message.content)
    if message.tool_calls:
        pieces += b"\x04", bytes(message.tool_calls)
    if message.tool_call_id:
        pieces += b"\x05", bytes(message.tool_call_id)
    if message.name:
        pieces += b"\x06", bytes(message.name)
    if message.call_id:
        pieces += b"\x07", bytes(message.call_id)
    if message.arguments:
        pieces += b"\x08", bytes(message.arguments)
    if message.output:
        pieces += b"\x0e", bytes(message.output)
    pieces.append(b"\x02")
    return pieces


def _content(content: Raw) -> list[bytes]:
    """Return the parts of a content that stay what they are, with a mark before each."""
    whole = bytes(content)
    return [b"\x01", whole] if whole[:1] != b"[" else _parts(whole)


def _parts(content: bytes) -> list[bytes]:
    pieces: list[bytes] = []
    parts = _PARTS.decode(content)
    if len(parts) > MAX_PARTS:
        raise ValueError("too many parts")
    for raw in map(bytes, parts):
        if raw[:1] == b"{":
            part = _PART.decode(raw)
            if part.type in _PASSING:
                continue
            if part.text:
                raw = bytes(part.text)
            elif b'"cache_control"' in raw:
                raw = _MARK.sub(b"", raw)
        pieces += b"\x01", raw
    return pieces
