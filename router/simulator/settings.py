"""What a simulated server is: names, pace and limits. Immutable; what goes wrong is said in `faults`.

The defaults answer at once (no time to first token, none between tokens), so that a test never waits and a
benchmark measures what stands in front. Names of options are vLLM's own where vLLM has them.
"""

from dataclasses import dataclass, field

from router.simulator.faults import Faults

DEFAULT_MODEL = "simulated-model"


@dataclass(frozen=True, slots=True)
class Settings:
    """One simulated server. Durations are seconds."""

    models: tuple[str, ...] = (DEFAULT_MODEL,)  # the first is the real one, the others are its aliases
    host: str = "127.0.0.1"
    port: int = 0  # 0: any free one
    ttft: float = 0.0  # until the first token, once the request runs
    itl: float = 0.0  # between two tokens
    prefill: float = 0.0  # for each token of the prompt that is not in the prefix cache, before the first token
    prefix_cache: int = 0  # tokens of prompts that are kept; 0: none
    tokens: int = 32  # of an answer that nothing cuts; its end-of-sequence token is one of them
    max_model_len: int = 32768  # prompt and answer together
    max_num_seqs: int = 256  # requests that run at a time; the others wait in order
    max_num_queued_reqs: int | None = None  # requests that may wait; more are refused with 503; None: any number
    api_key: str | None = field(default=None, repr=False)  # asked for under /v1, as vLLM does
    tool_parser: str = "mistral"  # or "hermes": both stream tool calls differently
    held_back: str = ""  # characters that may begin a mark: a parser keeps them until the next token of a chat
    vision: bool = True  # takes image parts
    version: str = "0.33.0"  # of the vLLM that is simulated
    shutdown_timeout: float = 0.0  # how long running answers may go on after SIGTERM; 0: they end at once as "abort"
    keepalive: float = 5.0  # idle connections are closed after this, as uvicorn does; 0: never
    request_id_headers: bool = False  # X-Request-Id on answers
    faults: Faults = field(default_factory=Faults)  # to start with

    @property
    def model(self) -> str:
        """The name that answers carry when a request names none."""
        return self.models[0]

    @property
    def fingerprint(self) -> str:
        """The `system_fingerprint` of answers."""
        return f"vllm-{self.version}-simulated"

    @property
    def instant(self) -> bool:
        """Whether answers take no time."""
        return self.ttft <= 0 and self.itl <= 0 and self.prefill <= 0
