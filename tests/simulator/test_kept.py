from router.simulator.answers import Answer
from router.simulator.kept import KeptAnswers

ANSWER = Answer(1, 1, "stop", body=b"{}")


def test_an_answer_is_found_by_path_type_and_body() -> None:
    kept = KeptAnswers()
    kept.put(("/a", "application/json", b"x"), ANSWER)

    assert kept.get(("/a", "application/json", b"x")) is ANSWER
    assert kept.get(("/b", "application/json", b"x")) is None


def test_the_one_that_was_not_asked_for_longest_goes_first() -> None:
    kept = KeptAnswers()
    kept.put(("/", "", b"first"), ANSWER)
    for number in range(126):
        kept.put(("/", "", b"%d" % number), ANSWER)
    kept.get(("/", "", b"first"))
    for number in range(126, 300):
        kept.put(("/", "", b"%d" % number), ANSWER)
        kept.get(("/", "", b"first"))

    assert len(kept) == 128
    assert kept.get(("/", "", b"first")) is ANSWER
    assert kept.get(("/", "", b"5")) is None


def test_long_requests_and_long_answers_are_not_kept() -> None:
    kept = KeptAnswers()
    kept.put(("/", "", b"x" * 300_000), ANSWER)
    kept.put(("/", "", b"x"), Answer(1, 5000, "stop", moments=5000))

    assert len(kept) == 0
