"""Asks a backend how many tokens a text has, so that a continuation generates as many as are left, and which text some
tokens have, so that nothing of it is missing."""

import re

import orjson
from tornado.httpclient import AsyncHTTPClient

from router.errors import RouterError
from router.exchange import Exchange
from router.relay.endpoint import Endpoint
from router.relay.route import Job
from router.wire.client import Request

_ID = re.compile(rb" ?\d{1,12}")  # of a token, with a space where one stands behind the comma
TIMEOUT = 2.0  # seconds; the client waits in the middle of its answer
TEXT_TIMEOUT = 10.0  # ... for what only this answer can tell; a backend that has much to do takes its time


async def tokenize(
    client: AsyncHTTPClient, endpoint: Endpoint, job: Job, body: dict[str, object], *, exchange: Exchange
) -> dict[str, object]:
    """Return what vLLM's /tokenize tells of a text or a conversation (`tokens`, `count`); {} where it tells nothing."""
    return await _asked(client, endpoint, job, "/tokenize", body, exchange=exchange, limit=TIMEOUT)


async def detokenize(
    client: AsyncHTTPClient, endpoint: Endpoint, job: Job, ids: list[bytes], *, exchange: Exchange
) -> str | None:
    """Return the text of tokens as vLLM's /detokenize tells it, with that of special ones; None where it does not."""
    if not all(_ID.fullmatch(one) for one in ids):  # they came from a backend as they are
        return None
    body: dict[str, object] = {"tokens": [int(one) for one in ids]}
    told = await _asked(client, endpoint, job, "/detokenize", body, exchange=exchange, limit=TEXT_TIMEOUT)
    text = told.get("prompt")
    return text if isinstance(text, str) else None


async def _asked(
    client: AsyncHTTPClient,
    endpoint: Endpoint,
    job: Job,
    path: str,
    body: dict[str, object],
    *,
    exchange: Exchange,
    limit: float,
) -> dict[str, object]:
    request = Request(
        origin=endpoint.origin,
        method="POST",
        target=endpoint.base_path + path,
        header_lines=endpoint.to_backend.lines(job.headers, job.connection, exchange.id)
        + endpoint.key_lines(named_events=False),
        body=orjson.dumps({"model": job.model, **body}),
        connect_timeout=TIMEOUT,
        request_timeout=limit,
    )
    try:
        response = await client.fetch(request, raise_error=False)
        told = orjson.loads(response.body) if response.code == 200 else None
    except (RouterError, ValueError, OSError):
        told = None
    return told if isinstance(told, dict) else {}
