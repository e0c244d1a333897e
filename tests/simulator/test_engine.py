import asyncio
from collections.abc import Awaitable

import pytest

from router.simulator.answers import Answer
from router.simulator.engine import Engine, Run
from router.simulator.faults import Break, Faults
from router.simulator.metrics import no_figures
from router.simulator.settings import Settings
from router.simulator.wheel import TimerWheel
from tests.simulator.asking import run, until

STREAM = Answer(3, 2, "stop", opening=(b"role",), steps=((b"a",), (b"b",)), closing=(b"end",), aborted=(b"abort",))
PLAIN = Answer(3, 2, "stop", body=b"whole body", moments=2)


class Written:
    """An outlet that remembers; `slow` is what the next chunk must wait for."""

    def __init__(self) -> None:
        self.said: list[str] = []
        self.slow: Awaitable[None] | None = None

    def head(self, length: int | None, data: bytes) -> None:
        self.said += [f"head {length}", data.decode()]

    def send(self, data: bytes) -> Awaitable[None] | None:
        self.said.append(data.decode())
        waits, self.slow = self.slow, None
        return waits

    def finish(self) -> None:
        self.said.append("finished")

    def refuse(self, status: int, body: bytes) -> None:
        self.said.append(f"refused {status}")

    def end_badly(self, how: Break) -> None:
        self.said.append(f"ended by {how.value}")


def engine_for(settings: Settings) -> Engine:
    wheel = TimerWheel(asyncio.get_running_loop())
    return Engine(settings, no_figures(settings), wheel=wheel, dead=lambda outlet: outlet.refuse(500, b""))


def submit(engine: Engine, answer: Answer, faults: Faults | None = None) -> tuple[Run, Written, bool]:
    outlet = Written()
    made = Run(engine, answer, outlet=outlet, ident=b"1", created=b"2", faults=faults)
    return made, outlet, engine.submit(made)


WHOLE = ["head None", "role", "a", "b", "end", "finished"]


@pytest.mark.parametrize(("ttft", "itl"), [(0.0, 0.0), (0.01, 0.0), (0.0, 0.005), (0.01, 0.005)])
def test_a_stream_is_its_events_in_order_at_any_pace(ttft: float, itl: float) -> None:
    async def test() -> None:
        engine = engine_for(Settings(ttft=ttft, itl=itl))
        made, outlet, _ = submit(engine, STREAM)
        assert outlet.said[:2] == ["head None", "role"]  # at once, whatever the pace
        await until(lambda: made.state == "over")
        assert outlet.said == WHOLE
        assert (engine.figures.running, engine.figures.served) == (0, 1)

    run(test)


def test_a_plain_answer_takes_the_time_of_its_tokens() -> None:
    async def test() -> None:
        engine = engine_for(Settings(itl=0.02))
        made, outlet, _ = submit(engine, PLAIN)
        assert outlet.said == []
        await until(lambda: made.state == "over")
        assert outlet.said == ["head 10", "whole body", "finished"]

    run(test)


def test_what_is_too_much_waits_in_order_with_its_role_event_out() -> None:
    async def test() -> None:
        engine = engine_for(Settings(max_num_seqs=1, ttft=0.01))
        runs = [submit(engine, STREAM) for _ in range(3)]
        assert (engine.figures.running, engine.figures.waiting) == (1, 2)
        assert all(outlet.said == ["head None", "role"] for _, outlet, _ in runs)
        await until(lambda: runs[0][0].state == "over")
        assert [made.state for made, _, _ in runs] == ["over", "running", "waiting"]
        await until(lambda: runs[2][0].state == "over")
        assert all(outlet.said == WHOLE for _, outlet, _ in runs)

    run(test)


def test_a_full_queue_takes_no_more() -> None:
    async def test() -> None:
        engine = engine_for(Settings(max_num_seqs=1, max_num_queued_reqs=1, ttft=9.0))
        taken = [submit(engine, STREAM)[2] for _ in range(3)]
        assert taken == [True, True, False]
        assert engine.figures.rejected == 1

    run(test)


def test_a_client_that_leaves_frees_its_place_running_or_waiting() -> None:
    async def test() -> None:
        engine = engine_for(Settings(max_num_seqs=1, ttft=9.0))
        runs = [submit(engine, STREAM)[0] for _ in range(3)]
        engine.leave(runs[1], "abort")
        assert engine.figures.waiting == 1
        engine.leave(runs[0], "abort")
        assert (engine.figures.running, engine.figures.waiting) == (1, 0)
        engine.leave(runs[2], "abort")
        engine.leave(runs[2], "abort")
        assert (engine.figures.running, engine.figures.waiting, engine.figures.served) == (0, 0, 0)

    run(test)


def test_a_slow_client_is_waited_for() -> None:
    async def test() -> None:
        engine = engine_for(Settings(itl=0.001))
        outlet = Written()
        taken = asyncio.get_running_loop().create_future()
        made = Run(engine, STREAM, outlet=outlet, ident=b"", created=b"", faults=None)
        outlet.slow = taken
        engine.submit(made)
        await asyncio.sleep(0.02)
        assert outlet.said == WHOLE[:3]
        taken.set_result(None)
        await until(lambda: made.state == "over")
        assert outlet.said == WHOLE

    run(test)


@pytest.mark.parametrize("how", [Break.CUT, Break.RESET, Break.ERROR, Break.GARBAGE])
@pytest.mark.parametrize("after", range(4))
def test_a_stream_is_broken_after_so_many_events(how: Break, after: int) -> None:
    async def test() -> None:
        engine = engine_for(Settings())
        _, outlet, _ = submit(engine, STREAM, Faults(break_as=how, break_after=after))
        assert [text for text in outlet.said if text] == ["head None", *WHOLE[1 : after + 1], f"ended by {how.value}"]
        assert engine.figures.running == 0

    run(test)


def test_a_stalled_stream_keeps_its_place_until_the_client_leaves() -> None:
    async def test() -> None:
        engine = engine_for(Settings())
        made, outlet, _ = submit(engine, STREAM, Faults(break_as=Break.STALL, break_after=2))
        assert outlet.said == WHOLE[:3]
        assert engine.figures.running == 1
        engine.leave(made, "abort")
        assert engine.figures.running == 0

    run(test)


@pytest.mark.parametrize(
    ("how", "said"),
    [
        (Break.CUT, ["head 10", "whole", "ended by cut"]),
        (Break.RESET, ["head 10", "whole", "ended by reset"]),
        (Break.STALL, ["head 10", "whole"]),
        (Break.ERROR, ["refused 500"]),
        (Break.GARBAGE, ["head 10", "whole body", "ended by garbage"]),
    ],
)
def test_a_plain_answer_breaks_in_the_middle(how: Break, said: list[str]) -> None:
    async def test() -> None:
        assert submit(engine_for(Settings()), PLAIN, Faults(break_as=how))[1].said == said

    run(test)


def test_shutting_down_ends_what_runs_and_waits_as_vllm_does() -> None:
    async def test() -> None:
        engine = engine_for(Settings(max_num_seqs=2, ttft=9.0))
        runs = [submit(engine, answer) for answer in (STREAM, PLAIN, STREAM)]
        await engine.drain(0)
        endings = [outlet.said[-2:] for _, outlet, _ in runs]
        assert endings == [["abort", "finished"], ["refused 500"], ["abort", "finished"]]
        assert (engine.figures.running, engine.figures.waiting) == (0, 0)

    run(test)


def test_shutting_down_lets_answers_go_on_for_their_time() -> None:
    async def test() -> None:
        engine = engine_for(Settings(itl=0.005))
        _, outlet, _ = submit(engine, STREAM)
        await engine.drain(5)
        assert outlet.said == WHOLE

    run(test)


def test_a_frozen_engine_generates_nothing_and_goes_on_where_it_stood() -> None:
    async def test() -> None:
        engine = engine_for(Settings(itl=0.01))
        _, outlet, _ = submit(engine, STREAM)
        engine.freeze(True)
        _, late, _ = submit(engine, STREAM)
        await asyncio.sleep(0.1)

        assert outlet.said == ["head None", "role", "a"], "its first token came before"
        assert late.said == ["head None", "role"], "what vLLM sends before any token comes from a hung engine too"
        assert engine.figures.running == 2
        engine.freeze(False)
        await until(lambda: engine.figures.running == 0)
        assert outlet.said == late.said == WHOLE

    run(test)


@pytest.mark.parametrize("answer", [STREAM, PLAIN], ids=["stream", "plain"])
def test_the_count_of_steps_grows_while_an_answer_is_made_and_stands_while_the_engine_is_frozen(answer: Answer) -> None:
    """It is what tells a hung engine from a busy one."""

    async def test() -> None:
        engine = engine_for(Settings(ttft=0.02, itl=0.05))
        submit(engine, answer)

        def steps() -> int:
            engine.count_steps()
            return engine.figures.iterations.count

        assert steps() == 0
        await until(lambda: steps() == 1)
        engine.freeze(True)
        await asyncio.sleep(0.1)
        assert steps() == 1
        engine.freeze(False)
        await until(lambda: engine.figures.running == 0)
        assert steps() == 2

    run(test)
