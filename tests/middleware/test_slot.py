"""Rules of router/middleware/slot.py: nothing that a hook does gets past its slot."""

import logging

import pytest

from router.errors import StatusError
from router.middleware.interface import HOOKS, Call, Middleware, Refusal, Request
from router.middleware.slot import QUIET, SLOW, Counts, Slot, has_hook
from tests.middleware.samples import RAISED, Changing, Garbage, Raising, Recorder

CALL = Call("a", "/v1/chat/completions", "127.0.0.1", "http", 0.0)
REQUEST = Request("POST", "/v1/chat/completions", "", (), b"{}")


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_only_hooks_of_its_own_are_called() -> None:
    slot = Slot("a", Changing("x"), counts := Counts())

    assert slot.wants("on_event")
    assert slot.call("on_end", CALL, None) is None
    assert not counts.calls
    assert not Slot("a", type("Quiet", (Middleware,), {"on_end": lambda *_: None})(), Counts()).wants("on_event")
    assert has_hook(Changing, "on_event")
    assert not has_hook(Changing, "on_error")


def test_a_class_that_is_no_middleware_by_name_may_be_one_by_its_hooks() -> None:
    slot = Slot("a", type("Own", (), {"on_request": lambda self, call, request: request})(), Counts())

    assert slot.call("on_request", CALL, REQUEST) is REQUEST
    slot.close()  # without a close() of its own


@pytest.mark.parametrize("what", RAISED)
@pytest.mark.parametrize("hook", HOOKS)
def test_whatever_a_hook_raises_ends_here_and_is_counted(
    hook: str, what: str, caplog: pytest.LogCaptureFixture
) -> None:
    slot = Slot("bad", Raising(what), counts := Counts(), clock=Clock())

    with caplog.at_level(logging.WARNING, "router.middleware"):
        assert slot.call(hook, CALL, REQUEST) is None

    assert counts.errors == {hook: 1}
    (record,) = caplog.records
    assert f"middleware bad: {hook} raised {what} at samples.py:" in record.getMessage()
    assert "canary" not in caplog.text


def test_the_log_tells_of_a_burst_once_and_later_of_how_many_it_was(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()
    slot = Slot("bad", Raising(), counts := Counts(), clock=clock)

    for _ in range(50):
        slot.call("on_event", CALL, b"")
    slot.call("on_end", CALL, b"")  # another hook has a line of its own
    clock.now += QUIET
    slot.call("on_event", CALL, b"")

    lines = [record.getMessage() for record in caplog.records]
    assert len(lines) == 3
    assert "(and 49 times more" in lines[2]
    assert counts.errors == {"on_event": 51, "on_end": 1}


def test_a_hook_that_takes_long_is_told_and_counted(caplog: pytest.LogCaptureFixture) -> None:
    clock = Clock()

    class Sleepy(Middleware):
        def on_end(self, call: Call, ending: object) -> None:
            clock.now += SLOW * 2

    slot = Slot("slow", Sleepy(), counts := Counts(), clock=clock)
    slot.call("on_end", CALL, None)
    slot.call("on_end", CALL, None)

    assert counts.slow == {"on_end": 2}
    assert len(caplog.records) == 1
    assert "took 100 ms" in caplog.text


def test_a_refusal_becomes_an_error_for_the_client_and_counts_as_none() -> None:
    slot = Slot("a", Changing("x"), counts := Counts())

    with pytest.raises(StatusError) as caught:
        slot.call("on_request", CALL, Request("POST", "/", "", (), b"refuse me"))

    error = caught.value
    assert (error.status, error.kind, error.code, error.param) == (422, "invalid_request_error", "no", "messages")
    assert not counts.errors


def test_a_refusal_may_quote_any_word_of_a_client() -> None:
    class Quoting(Middleware):
        def on_request(self, call: Call, request: Request) -> None:
            raise Refusal("Not this: \ud800\r\n", code="\udfff", param="\ud800")

    with pytest.raises(StatusError) as caught:
        Slot("a", Quoting(), Counts()).call("on_request", CALL, REQUEST)

    error = caught.value
    assert (error.message, error.code, error.param) == ("Not this: \\ud800\r\n", "\\udfff", "\\ud800")


@pytest.mark.parametrize("wrong", [{"status": 200}, {"status": None}, {"message": 3}, {"code": b"c"}])
def test_a_refusal_that_was_spoilt_after_it_was_made_is_a_failure(wrong: dict[str, object]) -> None:
    class Spoiling(Middleware):
        def on_request(self, call: Call, request: Request) -> None:
            refusal = Refusal("No.")
            for name, value in wrong.items():
                setattr(refusal, name, value)
            raise refusal

    assert Slot("a", Spoiling(), counts := Counts()).call("on_request", CALL, REQUEST) is None
    assert counts.errors["on_request"] == 1


def test_a_refusal_that_was_not_made_whole_or_comes_too_late_is_a_failure() -> None:
    class Half(Refusal):
        def __init__(self) -> None:
            """Without what a refusal has."""

    class Late(Middleware):
        def on_request(self, call: Call, request: Request) -> Request | None:
            raise Half

        def on_event(self, call: Call, data: bytes) -> bytes | None:
            raise Refusal("No.")

    slot = Slot("a", Late(), counts := Counts())

    assert slot.call("on_request", CALL, REQUEST) is None
    assert slot.call("on_event", CALL, b"") is None
    assert counts.errors == {"on_request": 1, "on_event": 1}


def test_what_a_hook_returns_is_handed_on_for_its_caller_to_judge() -> None:
    assert Slot("a", Garbage(), Counts()).call("on_error", CALL, None) == 7


def test_one_that_is_retired_is_closed_with_the_last_exchange_that_has_it() -> None:
    slot = Slot("a", it := Recorder(), Counts())
    slot.enter()
    slot.enter()

    slot.retire()
    slot.leave()
    assert it.closed == 0
    slot.leave()
    slot.close()

    assert it.closed == 1
    assert "retired" in repr(slot)


def test_one_that_nobody_has_is_closed_at_once_and_may_raise() -> None:
    slot = Slot("a", Raising(), counts := Counts())

    slot.retire()

    assert counts.errors == {"close": 1}
