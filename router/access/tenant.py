"""Whose a request is: its tenant. Pure.

    key:29a4f8a7e0b1c2d3e4f50617   the owner of its credentials, by a hash of them
    cert:CN=agent-1,O=Example      without credentials: whose client certificate was shown
    10.0.0.9                       without either: whoever has the address

The hash tells nothing of a key that nobody can guess, and is the same in every worker, router and version: who has a
key finds its lines with `printf %s "$KEY" | b2sum --length 96`.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

HASH_BYTES = 12  # nobody finds another key with the same hash, to be taken for its owner
MAX_KNOWN = 1024
# In Tornado's spelling. OpenAI's clients send the first one, Anthropic's the second, Azure's the third.
_HEADERS = ("Authorization", "X-Api-Key", "Api-Key")
# By what Python's own hash makes of the credentials, which is quicker and different in each process: so no key stays in
# memory behind its request. That two owners meet there is as likely as guessing a number of 64 bits.
_known: dict[int, str] = {}


def tenant_of(fields: Mapping[str, Sequence[str]], client_cert: str | None, client: str) -> str:
    """Return whose a request is.

    `fields`: the values of each header, by its name in Tornado's spelling, in Latin-1. `client_cert`: whose verified
    certificate its client has shown. `client`: its address.
    """
    values: tuple[str, ...] = ()
    for name in _HEADERS:
        if name in fields:
            values += (*fields[name],)
    if values:
        mark = hash(values)
        owner = _known[mark] if mark in _known else _keep(mark, _owner(values))
        if owner:
            return owner
    return client if client_cert is None else f"cert:{client_cert}"


def _owner(values: Iterable[str]) -> str:
    """Return who has these credentials, "" where all are empty."""
    keys = []
    for value in values:
        scheme, _, rest = value.partition(" ")  # RFC 6750 section 2.1: others send the key without the scheme
        keys.append(rest.strip(" \t") if scheme.lower() == "bearer" else value)
    told = "\0".join(filter(None, keys)).encode("latin-1")
    return f"key:{blake2b(told, digest_size=HASH_BYTES).hexdigest()}" if told else ""


def _keep(mark: int, owner: str) -> str:
    if len(_known) >= MAX_KNOWN:
        _known.clear()
    _known[mark] = owner
    return owner
