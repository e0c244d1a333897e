"""Rules of warming up."""

import json

from router.backends.warmup import LONGEST_PAUSE, Pauses, questions


def test_every_question_is_for_the_model_and_costs_one_token_at_most() -> None:
    asked = {path: json.loads(body) for path, body in questions('a "model"')}

    assert list(asked) == ["/completions", "/chat/completions", "/embeddings"]
    assert {each["model"] for each in asked.values()} == {'a "model"'}
    assert asked["/completions"]["prompt"] == "Hi"
    assert [each.get("max_tokens") for each in asked.values()] == [1, 1, None]


def test_a_backend_is_asked_at_once_and_then_after_growing_pauses() -> None:
    pauses, now, waits = Pauses(), 100.0, []
    assert pauses.is_due(now)
    for _ in range(9):
        pauses.failed(now)
        wait = next(second for second in range(200) if pauses.is_due(now + second))
        waits.append(wait)
        now += wait

    assert waits == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    assert waits[-1] == LONGEST_PAUSE


def test_an_answer_ends_the_pauses() -> None:
    pauses = Pauses()
    for _ in range(5):
        pauses.failed(0)
    pauses.passed()

    assert pauses.is_due(0)
