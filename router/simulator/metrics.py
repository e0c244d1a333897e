"""vLLM's /metrics: its names, labels and buckets, with this server's own figures.

Counted by hand, because a client library's counters would cost more than an answer does. What a simulator has
no notion of (images, key-value transfer ...) is there too, and stays 0.
"""

import bisect
import dataclasses
from collections import Counter
from collections.abc import Mapping

from router.simulator.settings import Settings

CONTENT_TYPE = "text/plain; version=1.0.0; charset=utf-8"

ITERATION_BUCKETS = (1, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 16384)
FIRST_TOKEN_BUCKETS = (
    *(0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
    *(160.0, 640.0, 2560.0),
)
BETWEEN_BUCKETS = (
    *(0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0),
)
REQUEST_BUCKETS = (
    *(0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0),
    *(1920.0, 7680.0),
)

_COUNTERS = {
    "prompt_tokens": "Number of prefill tokens processed.",
    "generation_tokens": "Number of generation tokens processed.",
    "prompt_tokens_cached": "Number of cached prompt tokens (local + external).",
    "prefix_cache_queries": "Prefix cache queries, in terms of number of queried tokens.",
    "prefix_cache_hits": "Prefix cache hits, in terms of number of cached tokens.",
    "external_prefix_cache_queries": "External prefix cache queries, in terms of number of queried tokens.",
    "external_prefix_cache_hits": "External prefix cache hits, in terms of number of cached tokens.",
    "mm_cache_queries": "Multi-modal cache queries, in terms of number of queried items.",
    "mm_cache_hits": "Multi-modal cache hits, in terms of number of cached items.",
    "num_preemptions": "Cumulative number of preemption from the engine.",
}
_FINISHED = ("stop", "length", "abort", "error", "repetition")
_SLEEP_STATES = ("awake", "weights_offloaded", "discard_all")
_CACHE_CONFIG = 'block_size="16",cache_dtype="auto",enable_prefix_caching="True",engine="0",num_gpu_blocks="2048"'
_REJECTED = ("max_num_queued_reqs", "max_num_queued_tokens")


class Histogram:
    """Counts by bucket, and their sum."""

    __slots__ = ("_bounds", "_counts", "total")

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self._bounds = bounds
        self._counts = [0] * (len(bounds) + 1)
        self.total = 0.0

    def observe(self, value: float, times: int = 1) -> None:
        """Count a value, `times` times."""
        self._counts[bisect.bisect_left(self._bounds, value)] += times
        self.total += value * times

    @property
    def count(self) -> int:
        """How many values were counted."""
        return sum(self._counts)

    def lines(self, name: str, labels: str) -> list[str]:
        """Return its lines of the text format; `labels` without braces."""
        lines = []
        running = 0
        for bound, count in zip((*map(float, self._bounds), "+Inf"), self._counts, strict=True):
            running += count
            lines.append(f'{name}_bucket{{{labels},le="{bound}"}} {float(running)}')
        return [*lines, f"{name}_count{{{labels}}} {float(running)}", f"{name}_sum{{{labels}}} {self.total}"]


@dataclasses.dataclass(slots=True)
class Figures:
    """Everything that is counted. Times are seconds."""

    prompts: Histogram
    generations: Histogram
    served: int = 0  # answers that were sent whole
    aborted: int = 0  # clients that left before
    refused: int = 0  # errors that were answered (4xx of the server's own checks)
    struck: int = 0  # requests that a fault struck
    rejected: int = 0  # 503, because too many wait
    running: int = 0
    waiting: int = 0
    counters: Counter[str] = dataclasses.field(default_factory=Counter)
    finished: Counter[str] = dataclasses.field(default_factory=Counter)
    iterations: Histogram = dataclasses.field(default_factory=lambda: Histogram(ITERATION_BUCKETS))
    first_token: Histogram = dataclasses.field(default_factory=lambda: Histogram(FIRST_TOKEN_BUCKETS))
    between: Histogram = dataclasses.field(default_factory=lambda: Histogram(BETWEEN_BUCKETS))
    whole: Histogram = dataclasses.field(default_factory=lambda: Histogram(REQUEST_BUCKETS))
    queued: Histogram = dataclasses.field(default_factory=lambda: Histogram(REQUEST_BUCKETS))


def token_buckets(longest: int) -> tuple[int, ...]:
    """Return 1, 2, 5, 10, 20 ... up to the longest possible prompt."""
    return tuple(size for power in range(8) for digit in (1, 2, 5) if (size := digit * 10**power) <= longest)


def no_figures(settings: Settings) -> Figures:
    """Return figures of a server that has just started."""
    buckets = token_buckets(settings.max_model_len)
    return Figures(prompts=Histogram(buckets), generations=Histogram(buckets))


def render(figures: Figures, settings: Settings, *, started: float) -> bytes:
    """Return the text format; `started` is when the server did (Unix seconds)."""
    text = _Text(settings.model, started)
    labels = text.labels
    text.gauge("num_requests_running", "Number of requests in model execution batches.", {labels: figures.running})
    text.gauge("num_requests_waiting", "Number of requests waiting to be processed.", {labels: figures.waiting})
    by_reason = {f'{labels},reason="capacity"': figures.waiting, f'{labels},reason="deferred"': 0}
    text.gauge("num_requests_waiting_by_reason", "Number of waiting requests by reason.", by_reason)
    states = {f'{labels},sleep_state="{state}"': int(state == "awake") for state in _SLEEP_STATES}
    text.gauge("engine_sleep_state", "Engine sleep state.", states)
    usage = min(1.0, figures.running / max(1, settings.max_num_seqs))
    text.gauge("kv_cache_usage_perc", "KV-cache usage. 1 means 100 percent usage.", {labels: usage})
    for name, help_text in _COUNTERS.items():
        text.counter(name, help_text, {labels: figures.counters[name]})
    finished = {f'engine="0",finished_reason="{why}",{text.model}': figures.finished[why] for why in _FINISHED}
    text.counter("request_success", "Count of successfully processed requests.", finished)
    rejected = {f'{text.model},reason="{why}"': figures.rejected if why == _REJECTED[0] else 0 for why in _REJECTED}
    text.counter("admission_rejections", "Number of admission attempts rejected by a queue limit.", rejected)
    for name, help_text, histogram in _histograms(figures):
        text.histogram(name, help_text, histogram)
    text.gauge("cache_config_info", "Information of the LLMEngine CacheConfig", {_CACHE_CONFIG: 1})
    return text.encode()


class _Text:
    """The text format, family by family."""

    def __init__(self, model: str, started: float) -> None:
        escaped = model.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
        self.model = f'model_name="{escaped}"'
        self.labels = f'engine="0",{self.model}'
        self._started = started
        self._lines: list[str] = []

    def gauge(self, name: str, text: str, rows: Mapping[str, float]) -> None:
        """Add a gauge; `rows` maps labels to values."""
        self._family(name, "gauge", text, rows)

    def counter(self, name: str, text: str, rows: Mapping[str, float]) -> None:
        """Add a counter, and when it began."""
        self._family(f"{name}_total", "counter", text, rows)
        self._family(f"{name}_created", "gauge", text, dict.fromkeys(rows, self._started))

    def histogram(self, name: str, text: str, histogram: Histogram) -> None:
        """Add a histogram, and when it began."""
        self._family(name, "histogram", text, {})
        self._lines.extend(histogram.lines(f"vllm:{name}", self.labels))
        self._family(f"{name}_created", "gauge", text, {self.labels: self._started})

    def encode(self) -> bytes:
        """Return all of it."""
        return ("\n".join(self._lines) + "\n").encode()

    def _family(self, name: str, kind: str, text: str, rows: Mapping[str, float]) -> None:
        self._lines.append(f"# HELP vllm:{name} {text}")
        self._lines.append(f"# TYPE vllm:{name} {kind}")
        self._lines.extend(f"vllm:{name}{{{labels}}} {float(value)}" for labels, value in rows.items())


def _histograms(figures: Figures) -> list[tuple[str, str, Histogram]]:
    return [
        ("request_prompt_tokens", "Number of prefill tokens processed.", figures.prompts),
        ("request_generation_tokens", "Number of generation tokens processed.", figures.generations),
        ("iteration_tokens_total", "Histogram of number of tokens per engine_step.", figures.iterations),
        ("time_to_first_token_seconds", "Histogram of time to first token in seconds.", figures.first_token),
        ("inter_token_latency_seconds", "Histogram of inter-token latency in seconds.", figures.between),
        ("e2e_request_latency_seconds", "Histogram of e2e request latency in seconds.", figures.whole),
        ("request_queue_time_seconds", "Histogram of time spent in WAITING phase for request.", figures.queued),
    ]
