"""Rule S16: the request behind a stream that is made from a whole answer."""

import json

from router.translate.mistral.unstreamed import unstreamed


def test_stream_is_off_and_everything_else_the_bytes_it_was() -> None:
    body = (
        b'{"model":"m","x":1.50,"stream" : true,"stream_options":{"include_usage":true},"messages":[ {"a":"\\u00e9"} ]}'
    )

    made = unstreamed(body)

    assert json.loads(made) == {"model": "m", "x": 1.5, "stream": False, "messages": [{"a": "é"}]}
    assert b"1.50" in made
    assert b'[ {"a":"\\u00e9"} ]' in made
