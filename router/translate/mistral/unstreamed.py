"""A request for a stream as a request for an answer in one piece (S16)."""

import msgspec

_decode = msgspec.json.Decoder(dict[str, msgspec.Raw]).decode
_FALSE = msgspec.Raw(b"false")


def unstreamed(body: bytes) -> bytes:
    """Return the JSON object `body` with `stream` off and without `stream_options`; all else stays the bytes it was."""
    fields = _decode(body)
    fields["stream"] = _FALSE
    fields.pop("stream_options", None)
    return msgspec.json.encode(fields)
