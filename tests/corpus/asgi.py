"""An application for uvicorn that tells a backend, in plain HTTP/1.1, of each request that it was given, and says 200.

It runs in an environment that has nothing but uvicorn; the backend's port stands in the file `backend` beside it.
"""

import asyncio
from pathlib import Path
from typing import Any

BODY = b'{"object":"chat.completion","choices":[]}'


async def app(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Serve one request."""
    if scope["type"] != "http":
        return
    body = b""
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    head = scope["method"].encode() + b" " + scope["raw_path"] + b" HTTP/1.1\r\nContent-Length: %d\r\n\r\n" % len(body)
    reader, writer = await asyncio.open_connection("127.0.0.1", int(Path(__file__).with_name("backend").read_text()))
    writer.write(head + body)
    await reader.readuntil(b"\r\n\r\n")
    writer.close()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(BODY))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": BODY})
