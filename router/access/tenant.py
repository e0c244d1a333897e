"""Whose a request is: its tenant. Pure.

    key:29a4f8a7e0b1c2d3e4f50617                        the owner of its credentials, by a hash of them
    cert:CN=agent-1,O=Example                           whose client certificate was shown, by its subject
    key:29a4f8a7e0b1c2d3e4f50617 cert:CN=agent-1,O=...  where both are: nobody has checked the key
    10.0.0.9                                            where neither is: whoever has the address

Credentials are what comes in Authorization (OpenAI's clients), X-Api-Key (Anthropic's) and Api-Key (Azure's). Their
hash tells nothing of a key that nobody can guess, and is the same in every worker, router and version: who has a key
finds its lines with `printf %s "$KEY" | b2sum --length 96`.
"""

from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b

from router.exchange import Exchange

CREDENTIALS = frozenset({"authorization", "x-api-key", "api-key"})  # headers, in lower case
HASH_BYTES = 12  # nobody finds another key with the same hash, to be taken for its owner


def credentials_of(fields: Mapping[str, Sequence[str]]) -> str:
    """Return a request's credentials, with NUL between several; "" where it has none.

    `fields`: the values of each header, by its name in Tornado's spelling, in Latin-1.
    """
    given = fields.get("Authorization")
    if given is not None and len(given) == 1 and "X-Api-Key" not in fields and "Api-Key" not in fields:
        return given[0]
    return "\0".join((*(given or ()), *fields.get("X-Api-Key", ()), *fields.get("Api-Key", ())))


def note_tenants(exchanges: Iterable[Exchange]) -> None:
    """Put down whose exchanges are, where that was not done yet, and let go of their credentials."""
    owners = {"": ""}
    for one in exchanges:
        if one.tenant:
            continue
        given, one.credentials = one.credentials, ""
        owner = owners.get(given)
        if owner is None:
            owner = owners[given] = _owner(given)
        if one.client_cert:
            owner = f"{owner} cert:{one.client_cert}".lstrip()
        one.tenant = owner or one.client


def _owner(credentials: str) -> str:
    """Return who has credentials, "" where they are empty."""
    keys = []
    for value in credentials.split("\0"):
        scheme, _, rest = value.partition(" ")  # RFC 6750 section 2.1: others send the key without the scheme
        keys.append(rest.strip(" \t") if scheme.lower() == "bearer" else value)
    told = "\0".join(dict.fromkeys(filter(None, keys))).encode("latin-1")  # some send one key in two headers
    return f"key:{blake2b(told, digest_size=HASH_BYTES).hexdigest()}" if told else ""
