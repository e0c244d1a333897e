"""Clients that read streams line by line as they come, and clients that go on asking, each in a thread of its own."""

import http.client
import json
import threading
import time

from vllm_cluster import MODEL, Answer, fetch

CHAT = "/v1/chat/completions"
PATIENCE = 90  # seconds without a line, after which a client gives up
# Left to itself the tiny model soon says one thing again and again, or unfinished characters, of which vLLM sends no
# text before the end. With these tokens, which are whole characters, and a penalty on what was said, its text flows.
SAYS = {"allowed_token_ids": list(range(64 + 256, 64 + 256 + 1500)), "repetition_penalty": 3}
RESUMED = b": resumed on another backend\n"


def chat(number: int, *, tokens: int, stream: bool = True) -> dict[str, object]:
    """Return a request for so many tokens, greedily; each number asks something else."""
    more = {"stream_options": {"include_usage": True}} if stream else {}
    return {
        "model": MODEL,
        "messages": [{"role": "user", "content": f"{number}. Tell me about the weather."}],
        "max_tokens": tokens,
        "temperature": 0,
        "ignore_eos": True,
        **SAYS,
        "stream": stream,
        **more,
    }


class Stream(threading.Thread):
    """Asks for one stream at once, and reads it to its end."""

    def __init__(self, url: str, body: dict[str, object]) -> None:
        """`url`: of the router, or of a server."""
        super().__init__(daemon=True)
        self._url = url.removeprefix("http://")
        self._ask = json.dumps(body).encode()
        self.backend = ""  # who was asked first
        self.lines: list[bytes] = []
        self.times: list[float] = []  # when each line came
        self.error: Exception | None = None
        self.start()

    @property
    def body(self) -> bytes:
        """What has come so far."""
        return b"".join(self.lines)

    @property
    def has_text(self) -> bool:
        """Whether the answer has begun."""
        return any(b'"content":"' in line and b'"content":""' not in line for line in self.lines)

    @property
    def resumed(self) -> int:
        """How often it was taken up by another backend."""
        return self.lines.count(RESUMED)

    def run(self) -> None:
        """Read; what goes wrong is kept."""
        connection = http.client.HTTPConnection(self._url, timeout=PATIENCE)
        try:
            connection.request("POST", CHAT, self._ask, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            self.backend = answer.headers.get("x-router-backend", "")
            while line := answer.readline():
                self.times.append(time.monotonic())
                self.lines.append(line)
        except (OSError, http.client.HTTPException) as error:
            self.error = error
        finally:
            connection.close()

    def resumed_after(self, moment: float) -> float:
        """Return how long after `moment` another backend took it up."""
        return self.times[self.lines.index(RESUMED)] - moment

    def silence_after(self, moment: float) -> float:
        """Return the longest time between two lines of which the second came after `moment`."""
        pairs = zip(self.times, self.times[1:], strict=False)
        return max((after - before for before, after in pairs if after > moment), default=0.0)


class Asking(threading.Thread):
    """Asks one short question after the other, streams and whole answers in turn, until it is to stop."""

    def __init__(self, url: str) -> None:
        """Begin at once."""
        super().__init__(daemon=True)
        self._url = url
        self._stopping = threading.Event()
        self.answers: list[Answer] = []
        self.faults: list[str] = []  # of answers that were none, or not whole
        self.longest = 0.0  # seconds that an answer took
        self.start()

    def __enter__(self) -> "Asking":
        """Go on asking."""
        return self

    def __exit__(self, *_: object) -> None:
        """Ask no more; wait for the last answer."""
        self._stopping.set()
        self.join(PATIENCE)

    def run(self) -> None:
        """Ask."""
        number = 0
        while not self._stopping.is_set():
            number += 1
            began = time.monotonic()
            try:
                answer = fetch(self._url + CHAT, chat(number, tokens=5, stream=number % 2 == 0), timeout=PATIENCE)
            except (OSError, http.client.HTTPException) as error:
                self.faults.append(repr(error))
            else:
                self.answers.append(answer)
                if answer.status != 200 or not (b'"usage":{' in answer.body and b'"length"' in answer.body):
                    self.faults.append(f"{answer.status} {answer.body!r}")
            self.longest = max(self.longest, time.monotonic() - began)
            self._stopping.wait(0.05)
