"""Asks a backend how many tokens a text has, so that a continuation generates as many as are left."""

import orjson
from tornado.httpclient import AsyncHTTPClient

from router.errors import RouterError
from router.exchange import Exchange
from router.relay.endpoint import Endpoint
from router.relay.route import Job
from router.wire.client import Request

TIMEOUT = 2.0  # seconds; the client waits in the middle of its answer


async def tokenize(
    client: AsyncHTTPClient, endpoint: Endpoint, job: Job, body: dict[str, object], *, exchange: Exchange
) -> dict[str, object]:
    """Return what vLLM's /tokenize tells of a text or a conversation (`tokens`, `count`); {} where it tells nothing.

    What has `tokens` goes to /detokenize, which tells their text (`prompt`).
    """
    request = Request(
        origin=endpoint.origin,
        method="POST",
        target=endpoint.base_path + ("/detokenize" if "tokens" in body else "/tokenize"),
        header_lines=endpoint.to_backend.lines(job.headers, job.connection, exchange.id)
        + endpoint.key_lines(named_events=False),
        body=orjson.dumps({"model": job.model, **body}),
        connect_timeout=TIMEOUT,
        request_timeout=TIMEOUT,
    )
    try:
        response = await client.fetch(request, raise_error=False)
        told = orjson.loads(response.body) if response.code == 200 else None
    except (RouterError, ValueError, OSError):
        told = None
    return told if isinstance(told, dict) else {}
