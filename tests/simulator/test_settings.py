from router.simulator.settings import Settings


def test_by_default_answers_take_no_time_and_nothing_goes_wrong() -> None:
    assert not Settings().faults.strikes_answers
    assert (Settings().ttft, Settings().itl) == (0, 0)


def test_the_first_model_is_the_real_one() -> None:
    assert Settings(models=("a", "b")).model == "a"


def test_the_key_is_not_shown() -> None:
    assert "secret" not in repr(Settings(api_key="secret"))
