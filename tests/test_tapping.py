"""Rules of router/tapping.py: which middlewares are used, and what is kept of them over reloads."""

from pathlib import Path

import pytest

from router.config.middlewares import MiddlewareConfig
from router.errors import ConfigError
from router.middleware.interface import Call, Ending, Request
from router.middleware.slot import Slot
from router.tapping import MAX_NAMES, Tapping

SAMPLES = "tests.middleware.samples"
CALL = Call("a", "/v1", "c", "http", 0.0)


def entry(kind: str, *, enabled: bool = True, **options: object) -> MiddlewareConfig:
    return MiddlewareConfig.model_validate({"type": kind, "enabled": enabled, "config": options})


def names(tapping: Tapping) -> list[str]:
    return [slot.name for slot in tapping.slots]


def reload(tapping: Tapping, *entries: MiddlewareConfig) -> None:
    tapping.take(tapping.prepare(entries), entries)


def it_of(slot: Slot) -> object:
    return slot._middleware


def test_those_that_are_on_are_used_in_their_order_and_have_names_of_their_own(tmp_path: Path) -> None:
    tapping = Tapping(
        [
            entry("trace", directory=str(tmp_path / "t")),
            entry("printer", enabled=False),
            entry("printer"),
            entry("printer", log_body=True),
            entry(f"{SAMPLES}:Recorder"),
        ]
    )

    assert names(tapping) == ["trace", "printer", "printer#2", f"{SAMPLES}:Recorder"]
    assert [row["enabled"] for row in tapping.told()] == [True, False, True, True, True]
    tapping.close()
    tapping.join()


def test_a_reload_keeps_what_is_the_same_and_closes_what_is_not() -> None:
    tapping = Tapping([entry(f"{SAMPLES}:Strict", word="a"), entry(f"{SAMPLES}:Recorder")])
    strict, recorder = map(it_of, tapping.slots)

    reload(tapping, entry(f"{SAMPLES}:Recorder"), entry(f"{SAMPLES}:Strict", word="b"))

    assert it_of(tapping.slots[0]) is recorder
    assert it_of(tapping.slots[1]) is not strict
    reload(tapping)
    assert tapping.slots == ()
    assert recorder.closed == 1  # type: ignore[attr-defined]


def test_one_that_goes_is_closed_with_the_last_exchange_that_began_with_it() -> None:
    tapping = Tapping([entry(f"{SAMPLES}:Recorder")])
    (slot,) = tapping.slots
    slot.enter()

    reload(tapping, entry(f"{SAMPLES}:Recorder", enabled=False))

    assert it_of(slot).closed == 0  # type: ignore[attr-defined]
    slot.leave()
    assert it_of(slot).closed == 1  # type: ignore[attr-defined]


def test_one_that_cannot_be_built_changes_nothing_and_its_secrets_are_not_told() -> None:
    tapping = Tapping([entry(f"{SAMPLES}:Recorder")])
    before = tapping.slots

    with pytest.raises(ConfigError) as caught:
        tapping.prepare([entry("printer"), entry(f"{SAMPLES}:Strict", word="bad", api_key="canary")])

    (fault,) = caught.value.faults
    assert fault.path == "middlewares.1"
    assert "ValueError: no such word; the key is ********" in fault.message
    assert tapping.slots is before


def test_a_folder_that_cannot_be_used_is_told_by_its_name(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")

    with pytest.raises(ConfigError) as caught:
        Tapping([entry("trace", directory=str(tmp_path / "file" / "t"))])

    assert str(caught.value.faults[0]).startswith(f"middlewares.0: cannot be used: {tmp_path}")


def test_what_was_prepared_and_is_not_taken_is_closed_and_what_is_in_use_is_not() -> None:
    tapping = Tapping([entry(f"{SAMPLES}:Recorder")])
    prepared = tapping.prepare([entry(f"{SAMPLES}:Recorder"), entry(f"{SAMPLES}:Recorder")])

    tapping.drop(prepared)

    assert [it_of(each.slot).closed for each in prepared] == [0, 1]  # type: ignore[attr-defined]


def test_counts_go_on_over_reloads() -> None:
    tapping = Tapping([entry(f"{SAMPLES}:Raising")])
    for _ in range(3):
        tapping.slots[0].call("on_end", CALL, None)
    reload(tapping)
    reload(tapping, entry(f"{SAMPLES}:Raising", what="MemoryError"))
    tapping.slots[0].call("on_end", CALL, None)

    (hooked,) = [each for each in tapping.counted() if each.name == f"{SAMPLES}:Raising"]
    assert (hooked.calls, hooked.errors["on_end"]) == ({"on_end": 4}, 4)
    assert tapping.told()[0]["errors"] == 5  # close() of the first one, too


def test_records_that_were_dropped_count_over_reloads_too(tmp_path: Path) -> None:
    path = tmp_path / "t"
    ending = Ending("ok", 200, None, 0.0, None, None, ())
    tapping = Tapping([entry("trace", directory=str(path))])
    for number in range(2):
        call = Call("a", "/v1", "c", "http", 0.0)
        tapping.slots[0].call("on_request", call, Request("POST", "/", "", (), b""))
        path.rmdir()
        tapping.slots[0].call("on_end", call, ending)
        reload(tapping)
        tapping.join()
        reload(tapping, entry("trace", directory=str(path)))
        assert tapping.told()[0]["dropped"] == number + 1
    assert not tapping._ending


def test_names_in_the_metrics_are_bounded(tmp_path: Path) -> None:
    tapping = Tapping()
    for number in range(0, MAX_NAMES + 40, 20):
        reload(tapping, *(entry("printer", max_body_size=number + 1) for _ in range(number)))
    reload(tapping, entry(f"{SAMPLES}:Recorder"))

    hooked = list(tapping.counted())
    assert len(hooked) <= MAX_NAMES + 1
    assert "other" in {each.name for each in hooked}
