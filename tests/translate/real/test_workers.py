"""The processes that run mistral-common: they answer, or say why not, and they end."""

import os
import time

import pytest

from tests.translate.real.tekken import TOKENIZERS
from tests.translate.real.workers import NEWEST, Fleet, Job, Worker, WorkerError, pinned_versions

HELLO = {"messages": [{"role": "user", "content": "hi"}]}


def is_alive(worker: Worker) -> bool:
    try:
        os.kill(worker.pid, 0)
    except ProcessLookupError:
        return False
    return True


def test_the_newest_version_is_pinned_last() -> None:
    pins = pinned_versions()

    assert pins == sorted(pins, key=lambda pin: [int(number) for number in pin.split(".")])
    assert len(pins) == len(set(pins)) >= 3


def test_each_worker_runs_the_version_that_it_is_named_for(fleet: Fleet) -> None:
    for version in pinned_versions():
        assert fleet.worker(version).ask({"version": True})["version"] == version


@pytest.mark.parametrize("tokenizer", TOKENIZERS)
def test_every_tokenizer_encodes_text_exactly(fleet: Fleet, tokenizer: str) -> None:
    ((result,),) = fleet.encode([Job(NEWEST, tokenizer, "openai", "test", [HELLO])])

    settings = '[MODEL_SETTINGS]{"reasoning_effort": "none"}[/MODEL_SETTINGS]' if tokenizer == "v15" else ""
    assert result["text"] == f"<s>{settings}[INST]hi[/INST]"


def test_a_refusal_is_an_answer(fleet: Fleet) -> None:
    bad = {"messages": [{"role": "wizard", "content": "hi"}]}
    ((first, second, third),) = fleet.encode([Job(NEWEST, "v13", "openai", "test", [HELLO, bad, HELLO])])

    assert "wizard" in second["error"]
    assert first == third


def test_only_refusals_are_told_where_only_they_are_asked_for(fleet: Fleet) -> None:
    (results,) = fleet.encode([Job(NEWEST, "v13", "direct", "serving", [HELLO, {"messages": []}], errors_only=True)])

    assert results[0] is None
    assert "error" in results[1]


def test_a_worker_that_dies_is_told_of(fleet: Fleet) -> None:
    with Fleet(fleet.folder, {"v13": fleet.folder / "nothing-tekken.json"}) as broken:
        worker = broken.worker(NEWEST)
        with pytest.raises(WorkerError, match="died"):
            worker.ask({"nonsense": 1})
    assert not is_alive(worker)


def test_a_worker_that_takes_too_long_is_ended(fleet: Fleet) -> None:
    worker = Worker(fleet.folder, NEWEST)
    began = time.monotonic()
    with pytest.raises(WorkerError, match="took too long"):
        worker.ask({"version": True}, patience=0.0)

    assert not is_alive(worker)
    assert time.monotonic() - began < 10


def test_a_folder_with_another_version_is_not_taken_for_it(fleet: Fleet) -> None:
    with Fleet(fleet.folder, fleet.tokenizers) as other, pytest.raises(WorkerError, match="holds"):
        other.knows("1.8.0", "v13")  # nothing is there, so the newest on the path answers


def test_all_workers_end_with_the_fleet(fleet: Fleet) -> None:
    with Fleet(fleet.folder, fleet.tokenizers) as short:
        workers = [short.worker(version) for version in pinned_versions()]
        assert all(is_alive(worker) for worker in workers)

    assert not any(is_alive(worker) for worker in workers)
