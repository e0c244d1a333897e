"""Rules of router/reload.py: one reload at a time, one a second, and a bad configuration changes nothing."""

import asyncio
import os
import threading
import time
from pathlib import Path

import pytest

from router import reload
from router.config import Config, Loaded, load
from router.errors import ConfigError, ConfigFault
from router.orders import Order, OrderKind, Problem, Report
from router.reload import LocalControl, Reloader, Source, acceptance, refusal, reloader_of, stamps
from tests.authority import Authority
from tests.front import front, run, until
from tests.operating import operator

VALID = "backends:\n  - url: http://127.0.0.1:8000\n"


class Taken:
    """Who takes up what was read, and is told how it went."""

    def __init__(self) -> None:
        self.configs: list[Config] = []
        self.results: list[bool] = []

    async def apply(self, loaded: Loaded) -> Report:
        self.configs.append(loaded.config)
        return acceptance(["something"])

    def reloader(self, source: Source) -> Reloader:
        return Reloader(source, apply=self.apply, reloaded=self.results.append)


def of_file(path: Path) -> Source:
    return Source(lambda: load(path), (str(path),))


def test_what_is_asked_for_many_times_is_read_once_and_once_more_within_a_second(tmp_path: Path) -> None:
    """The second reading is for those who asked while the first one ran: they may mean a later state of the file."""
    path = tmp_path / "router.yaml"
    path.write_text(VALID)
    taken = Taken()

    async def test() -> None:
        reloader = taken.reloader(of_file(path))
        assert (await reloader.reload()).ok
        began = time.monotonic()
        for _ in range(1000):
            reloader.ask()
        reports = await asyncio.gather(*(reloader.reload() for _ in range(100)))
        assert all(report.ok for report in reports)
        assert len(taken.configs) == 2
        assert time.monotonic() - began > 0.5
        await reloader.stop()

    run(test)


@pytest.mark.row(83)
@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("backends: 5\n", "backends"),
        ("server:\n  prot: 1\n  port: x\n" + VALID, "server.prot (line 2): unknown key"),
        ("{", "config"),
        (None, "cannot be read: No such file or directory"),
    ],
)
def test_a_file_that_is_bad_or_gone_is_not_taken_up_and_every_fault_is_told(
    text: str | None, told: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "router.yaml"
    if text is not None:
        path.write_text(text)
    taken = Taken()

    async def test() -> None:
        reloader = taken.reloader(of_file(path))
        report = await reloader.reload()
        assert (report.ok, report.problem) == (False, Problem.INVALID)
        assert any(told in fault for fault in report.faults)
        assert "nothing was changed" in report.message
        said = [record.getMessage() for record in caplog.records if record.levelname == "ERROR"]
        assert [f"configuration: {fault}" for fault in report.faults] == said[1:]
        assert (taken.configs, taken.results) == ([], [False])
        path.write_text(VALID)
        assert (await reloader.reload()).ok
        assert taken.results == [False, True]

    run(test)


@pytest.mark.row(83)
def test_files_that_change_are_read_once_they_stand_still(tmp_path: Path) -> None:
    path, dotenv = tmp_path / "router.yaml", tmp_path / ".env"
    path.write_text(VALID)
    taken = Taken()

    async def test() -> None:
        reloader = taken.reloader(Source(lambda: load(path), (str(path), str(dotenv))))
        reloader.watch(True)
        path.write_text(VALID + "retry:\n  max_attempts: 7\n")
        await until(lambda: len(taken.configs) == 1)
        assert taken.configs[0].retry.max_attempts == 7
        dotenv.write_text("A=b\n")
        await until(lambda: len(taken.configs) == 2)
        path.unlink()
        await until(lambda: taken.results == [True, True, False])
        path.write_text(VALID)
        await until(lambda: len(taken.configs) == 3)
        await asyncio.sleep(2.5)
        assert len(taken.results) == 4, "what has not changed is not read again"
        await reloader.stop()

    run(test)


def test_files_that_the_configuration_names_are_looked_at_too_also_where_they_are_what_is_wrong(
    authority: Authority, stranger: Authority, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A renewed certificate changes no line of the configuration."""
    monkeypatch.setattr(reload, "INTERVAL", 0.1)
    path, cert, key = tmp_path / "router.yaml", tmp_path / "cert.pem", tmp_path / "key.pem"
    first = authority.issue()
    first.put(cert, key)
    path.write_text(VALID)
    taken = Taken()

    async def test() -> None:
        reloader = taken.reloader(of_file(path))
        reloader.watch(True)
        path.write_text(VALID + f"server: {{tls: {{cert_file: {cert}, key_file: {key}}}}}\n")
        await until(lambda: taken.results == [True])
        first.put(cert, key)
        await until(lambda: taken.results == [True] * 2)
        stranger.issue().put(cert, tmp_path / "other.pem")
        await until(lambda: taken.results == [True, True, False])
        first.put(cert, key)
        await until(lambda: taken.results[3:] == [True])
        path.write_text(VALID + f"server: {{tls: {{cert_file: {cert}, key_file: {tmp_path}/new.pem}}}}\n")
        await until(lambda: taken.results[4:] == [False])
        (tmp_path / "new.pem").write_bytes(first.key.read_bytes())
        await until(lambda: taken.results[5:] == [True])
        await reloader.stop()

    run(test)


def test_a_link_that_is_put_elsewhere_is_a_change(tmp_path: Path) -> None:
    """Kubernetes swaps a link to a folder; the file's own path stays a link for ever."""
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "router.yaml").write_text(VALID)
    (tmp_path / "data").symlink_to("one")
    (tmp_path / "router.yaml").symlink_to("data/router.yaml")
    files = (str(tmp_path / "router.yaml"),)
    before = stamps(files)

    (tmp_path / "next").symlink_to("two")
    os.replace(tmp_path / "next", tmp_path / "data")

    assert stamps(files) != before
    assert stamps((str(tmp_path / "gone"),)) == (None,)


def test_a_pipe_is_not_opened_again(tmp_path: Path) -> None:
    """`--config <(command)` can be read but once: opening it again would wait for a writer that never comes."""
    path = tmp_path / "pipe"
    os.mkfifo(path)

    async def test() -> None:
        report = await Taken().reloader(of_file(path)).reload()
        assert report.faults == (f"config: {path} is not a regular file: it cannot be read again",)

    run(test, timeout=10)


def test_a_file_that_does_not_answer_holds_up_one_thread_and_nothing_else(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reload, "LOAD_TIMEOUT", 0.2)
    waiting = threading.Event()

    def hang() -> Loaded:
        waiting.wait(20)
        return Loaded(Config())

    async def test() -> None:
        threads = threading.active_count()
        reloader = Taken().reloader(Source(hang))
        assert "could not be read within" in (await reloader.reload()).faults[0]
        assert "still being read" in (await reloader.reload()).faults[0]
        assert threading.active_count() == threads + 1
        waiting.set()
        await until(lambda: threading.active_count() == threads)
        assert (await reloader.reload()).ok

    run(test)


def test_a_fault_of_ours_is_a_report_too() -> None:
    def fail() -> Loaded:
        raise ZeroDivisionError

    async def test() -> None:
        taken = Taken()
        report = await taken.reloader(Source(fail)).reload()
        assert (report.ok, report.problem, taken.results) == (False, Problem.FAILED, [False])

    run(test)


def test_stopping_ends_what_is_under_way() -> None:
    async def test() -> None:
        reloader = Taken().reloader(Source(lambda: Loaded(Config()), ("/no/such/file",)))
        reloader.watch(True)
        await reloader.reload()
        reloader.ask()
        before = len(asyncio.all_tasks())
        await reloader.stop()
        assert len(asyncio.all_tasks()) < before
        assert len(asyncio.all_tasks()) == 1

    run(test)


def test_reports_say_how_much_is_wrong_or_different() -> None:
    assert "a fault" in refusal(ConfigError([ConfigFault("a", "b")])).message
    assert "2 faults" in refusal(ConfigError([ConfigFault("a", "b"), ConfigFault("c", "d")])).message
    assert acceptance([]).message.endswith("nothing is different.")
    assert acceptance(["x"]).changes == ("x",)


@pytest.mark.row(83)
def test_a_router_reloads_by_order_and_a_bad_file_leaves_it_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "router.yaml"

    async def test() -> None:
        async with front() as cluster:
            app = cluster.app
            text = f"backends:\n  - url: {cluster.backends[0].url}\n    dialect: openai\n"
            path.write_text(text)
            reloader = reloader_of(app, of_file(path))
            app.control = LocalControl(app, reloader)
            cluster.app.apply(Loaded(app.config))  # the admin listener is told who is in control now
            async with operator(cluster) as one:
                fields = await one.fields("POST", "/admin/reload")
                assert "logging.file: /dev/null -> off" in fields["changes"]
                before = app.config
                path.write_text(text + "retry: {budget: much}\nhealth: {fall: 0}\n")
                answer = await one.ask("POST", "/admin/reload")
                assert answer.code == 422
                assert b"retry.budget (line 4): must be a share" in answer.body
                assert b"health.fall (line 5)" in answer.body
                assert app.config is before
                assert (await cluster.chat()).code == 200
                ok = await cluster.metric("router_config_reloads_total", result="ok")
                assert (ok, await cluster.metric("router_config_last_reload_successful")) == (1, 0)
            report = await app.control.carry_out(Order(OrderKind.DRAIN, "nobody"))
            assert report.problem is Problem.UNKNOWN
            assert b"router_build_info" in (await app.control.metrics(""))[1]
            await reloader.stop()

    run(test)
