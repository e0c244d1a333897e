import re

from router.simulator.metrics import Histogram, no_figures, render, token_buckets
from router.simulator.settings import Settings

_TEXT = """
num_requests_running num_requests_waiting num_requests_waiting_by_reason kv_cache_usage_perc
prefix_cache_queries_total prefix_cache_hits_total external_prefix_cache_queries_total external_prefix_cache_hits_total
num_preemptions_total admission_rejections_total iteration_tokens_total_count generation_tokens_total
prompt_tokens_total prompt_tokens_cached_total time_to_first_token_seconds_bucket inter_token_latency_seconds_sum
request_queue_time_seconds_count e2e_request_latency_seconds_bucket request_success_total engine_sleep_state
cache_config_info
"""
NAMES = _TEXT.split()


def text(model: str = "m") -> str:
    return render(no_figures(Settings()), Settings(models=(model,)), started=5.0).decode()


def test_every_metric_that_a_router_can_use_is_there() -> None:
    assert all(re.search(rf"^vllm:{name}{{", text(), re.MULTILINE) for name in NAMES)


def test_a_models_name_cannot_break_a_line() -> None:
    assert 'model_name="a\\"b\\nc\\\\"' in text('a"b\nc\\')


def test_a_histogram_counts_up() -> None:
    histogram = Histogram((1, 10))
    histogram.observe(1)
    histogram.observe(5, times=3)
    histogram.observe(99)

    assert histogram.lines("h", 'a="b"') == [
        'h_bucket{a="b",le="1.0"} 1.0',
        'h_bucket{a="b",le="10.0"} 4.0',
        'h_bucket{a="b",le="+Inf"} 5.0',
        'h_count{a="b"} 5.0',
        'h_sum{a="b"} 115.0',
    ]


def test_buckets_of_tokens_end_at_the_longest_prompt() -> None:
    assert token_buckets(1024)[-3:] == (200, 500, 1000)
