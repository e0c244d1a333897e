from typing import Any

import pytest

from router.simulator.faults import Break, FaultError, Faults, describe_faults, read_faults


def test_by_default_nothing_goes_wrong() -> None:
    assert read_faults({}) == Faults()
    assert not Faults().strikes_answers


@pytest.mark.parametrize(
    "faults",
    [
        Faults(),
        Faults(status=503, retry_after="2.5", count=3),
        Faults(break_as=Break.CUT, break_after=4),
        Faults(refuse=True, refuse_for=1.5),
        Faults(health_status=503, health_delay=2.0, rate=0.5),
    ],
)
def test_what_is_described_is_read_back(faults: Faults) -> None:
    assert read_faults(describe_faults(faults)) == faults


@pytest.mark.parametrize(
    "described",
    [
        {"statsu": 503},
        {"status": "503"},
        {"status": True},
        {"status": 200},
        {"break_as": "nicely"},
        {"hang": 1},
        {"ttft": -1},
        {"retry_after": "1\r\nx: y"},
    ],
)
def test_what_cannot_be_is_refused(described: dict[str, Any]) -> None:
    with pytest.raises(FaultError, match=next(iter(described))):
        read_faults(described)


def test_a_number_of_seconds_is_a_header_as_well() -> None:
    assert read_faults({"retry_after": 5}).retry_after == "5"


@pytest.mark.parametrize("name", ["hang", "garbage", "reset", "close"])
def test_each_fault_of_answers_strikes_them(name: str) -> None:
    assert read_faults({name: True}).strikes_answers


def test_faults_of_probes_do_not_strike_answers() -> None:
    assert not Faults(refuse=True, health_status=503, health_delay=1, health_hang=True).strikes_answers
