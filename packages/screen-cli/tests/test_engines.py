"""Engines, for real: killed workers, time limits, greedy and rude tasks, a killed driver."""

from __future__ import annotations

import contextlib
import functools
import multiprocessing
import os
import signal
import subprocess
import sys
import time

import psutil
import pytest
from engine_tasks import Unloadable, act, die_at_start, grow, interrupt, leak, meddle, slow
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.config import EngineSettings
from screen_cli.engines.crew import Death
from screen_cli.engines.local import LocalEngine, _Desk
from screen_cli.engines.serial import SerialEngine
from screen_cli.errors import ConfigError, PluginError
from screen_cli.testing import EngineContract, echo_task


class TestSerial(EngineContract):
    name = "serial"


def test_the_serial_engine_tells_a_persons_interrupt_from_a_calculators():
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        engine = SerialEngine(EngineSettings(name="serial"))
        results = list(engine.run(interrupt, ["its own", "another"]))
        assert [result.kind for result in results] == ["error", "ok"]
        assert "KeyboardInterrupt" in results[0].error
        with pytest.raises(KeyboardInterrupt):
            list(engine.run(interrupt, ["a person's"]))
        assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    finally:
        signal.signal(signal.SIGINT, before)


class TestLocal(EngineContract):
    name = "local"


def run(function, tasks, workers=2, time_limit=600.0, **options):
    """Results of the local engine by task."""
    engine = LocalEngine(EngineSettings(workers=workers, task_time_limit=time_limit, options=options))
    results = list(engine.run(function, tasks))
    assert len(results) == len({result.task for result in results}), "a task ended twice"
    return {result.task: result for result in results}


def alive_with(word):
    """Processes that carry a word in their command line."""
    return [process for process in psutil.process_iter(["cmdline"]) if word in (process.info["cmdline"] or [])]


def test_a_killed_worker_costs_nothing_but_a_retry(tmp_path):
    tasks = [f"{('killonce', 'segfaultonce', 'fine')[n % 3]}-{n}" for n in range(9)]
    results = run(functools.partial(act, str(tmp_path)), tasks)
    assert sorted(results) == sorted(tasks)
    assert {result.kind for result in results.values()} == {"ok"}


def test_rude_tasks_are_reported_and_the_rest_goes_on(tmp_path):
    tasks = ["fine-1", "kill-1", "leave-1", "exit-1", "interrupt-1", "greedy-1", "fine-2", "fine-3"]
    results = run(functools.partial(act, str(tmp_path)), tasks)
    assert {task: result.kind for task, result in results.items()} == {
        **dict.fromkeys(["fine-1", "fine-2", "fine-3"], "ok"),
        **dict.fromkeys(["kill-1", "leave-1"], "crash"),
        **dict.fromkeys(["exit-1", "interrupt-1", "greedy-1"], "error"),
    }
    assert "SIGKILL" in results["kill-1"].error
    assert "exit code 0" in results["leave-1"].error
    assert "SystemExit(3)" in results["exit-1"].error
    assert "KeyboardInterrupt" in results["interrupt-1"].error


def test_the_time_limit_holds_for_each_stage_and_ends_what_was_started(tmp_path):
    act_here = functools.partial(act, str(tmp_path))
    results = run(act_here, ["hang-1", "stages-1", "daemon-1", "fine-1"], time_limit=2.5)
    assert {task: result.kind for task, result in results.items()} == {
        "hang-1": "timeout",
        "daemon-1": "timeout",
        "stages-1": "ok",  # 4 s in all, no stage longer than 1 s
        "fine-1": "ok",
    }
    assert "task_time_limit = 2.5 s" in results["hang-1"].error
    assert alive_with(str(tmp_path)) == []


def test_what_one_task_does_to_its_process_is_no_matter_to_the_next():
    kinds = ("folder", "alarm", "handlers", "streams", "environment", "umask", "fork")
    tasks = ["look-0", *(name for number, kind in enumerate(kinds, 1) for name in (kind, f"look-{number}"))]
    results = run(meddle, tasks, workers=1, threads=1)
    assert {result.kind for result in results.values()} == {"ok"}
    first, *others = (results[f"look-{number}"].value for number in range(len(kinds) + 1))
    assert first["streams"]
    assert all(other == first for other in others)


@pytest.mark.skipif(not os.path.isdir("/proc"), reason="memory is watched through /proc")
def test_a_worker_that_takes_too_much_memory_is_stopped():
    (result,) = run(grow, ["grow"], memory_gib=0.4).values()
    assert result.kind in ("memory", "error")  # by the engine's watch, or by the system's limit
    assert "memory" in result.error.lower()


def test_a_worker_that_leaks_is_replaced():
    results = run(leak, ["a", "b", "c", "d"], workers=1)
    assert {result.kind for result in results.values()} == {"ok"}
    assert len({result.value["pid"] for result in results.values()}) == 2


@pytest.mark.parametrize(
    ("function", "message"),
    [(die_at_start, "while they made the calculator 'x'.*exit code 7"), (Unloadable(), "no such model")],
)
def test_workers_that_die_at_their_start_stop_the_run(function, message):
    with pytest.raises(PluginError, match=message):
        run(function, ["a", "b", "c", "d"])


def test_a_driver_notices_workers_killed_while_tasks_wait(tmp_path):
    """Every worker of a busy engine is killed again and again; each task comes back, and none is blamed."""
    engine = LocalEngine(EngineSettings(workers=2))
    tasks = [f"task-{number}" for number in range(60)]
    results = []
    for result in engine.run(functools.partial(slow, 0.05), tasks):
        results.append(result)
        if len(results) in (5, 20, 40):
            for child in psutil.Process().children():
                with contextlib.suppress(psutil.NoSuchProcess):  # what another test left is dead already
                    if "spawn_main" in " ".join(child.cmdline()):
                        child.kill()
    assert sorted(result.task for result in results) == sorted(tasks)
    assert {result.kind for result in results} == {"ok"}


@pytest.mark.parametrize("options", [{"retrys": 1}, {"retries": -1}, {"memory_gib": "2"}, {"threads": float("nan")}])
def test_bad_options_are_told(options):
    with pytest.raises(ConfigError, match="engine.options"):
        LocalEngine(EngineSettings(options=options))


DRIVER = """
import functools, sys
sys.path.insert(0, {tests!r})
from engine_tasks import act
from screen_cli.engines.local import LocalEngine
from engine_tasks import Unloadable, act, die_at_start, grow, interrupt, leak, meddle, slow

from screen_cli.config import EngineSettings
if __name__ == "__main__":
    list(LocalEngine(EngineSettings(workers=2)).run(functools.partial(act, {folder!r}), ["daemon-1", "daemon-2"]))
"""


def test_nothing_outlives_a_killed_driver(tmp_path):
    script = tmp_path / "driver.py"
    script.write_text(DRIVER.format(tests=os.path.dirname(__file__), folder=str(tmp_path)))
    driver = subprocess.Popen([sys.executable, str(script)])
    deadline = time.monotonic() + 600
    while len(alive_with(str(tmp_path))) < 2:
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.1)
    children = psutil.Process(driver.pid).children(recursive=True) + alive_with(str(tmp_path))
    driver.kill()
    driver.wait()
    _, alive = psutil.wait_procs(children, timeout=600)
    for process in alive:
        process.kill()
    assert alive == []


def test_generators_are_consumed_lazily():
    taken = []

    def tasks():
        for number in range(1000):
            taken.append(number)
            yield str(number)

    engine = LocalEngine(EngineSettings(workers=1))
    for _ in engine.run(echo_task, tasks()):
        engine.stop()
    assert len(taken) < 50


# -- the account of deaths, without processes ------------------------------------------------------


class FakeWorker:
    ready, starting, stage = True, "", "relax"

    def __init__(self, task, alone):
        self.task, self.alone = task, alone


@settings(max_examples=200, deadline=None)
@given(st.data())
def test_nobody_is_blamed_but_for_two_deaths_of_their_own_doing(data):
    """Whatever dies in whatever order: every task ends once, blamed exactly when the rule says so."""
    n_workers = data.draw(st.integers(1, 4))
    tasks = [f"t{number}" for number in range(data.draw(st.integers(1, 8)))]
    desk = _Desk(iter(tasks), 1, alone_anyway=n_workers == 1)
    busy, ended, counted = {}, {}, dict.fromkeys(tasks, 0)
    for _ in range(400):
        if not any(worker.alone for worker in busy.values()):
            desk.draw(n_workers - len(busy), nothing_runs=not busy)
            while desk.ready and len(busy) < n_workers:
                task = desk.ready.popleft()
                assert task not in busy
                assert not (desk.alone and busy)
                busy[task] = FakeWorker(task, desk.alone)
        if not busy:
            break
        task = data.draw(st.sampled_from(sorted(busy)))
        worker = busy.pop(task)
        fate = data.draw(st.sampled_from(["ok", "own", "killed", "killed"]))
        if fate == "ok":
            desk.forget(task)
            assert task not in ended
            ended[task] = "ok"
            continue
        counted[task] += fate == "own" or worker.alone
        for result in desk.bury(Death(worker, "died", "it died", by_own_hand=fate == "own")):
            assert result.task == task
            assert task not in ended
            ended[task] = result.kind
        assert (ended.get(task) == "crash") == (counted[task] > 1)
    else:
        return  # an endless series of kills is drawn too
    assert sorted(ended) == sorted(tasks)


UNGUARDED = {
    "the command": (
        "import sys, tempfile\nfrom screen_cli.cli import main\n"
        "folder = tempfile.mkdtemp(dir='.')\n"  # new in every process, so that no lock stands in the way
        "sys.exit(main(['run', 'screen.toml', '--run-dir', f'{folder}/run', '--quiet', '--no-report']))\n",
        2,
    ),
    "the engine": (
        "from screen_cli.config import EngineSettings\nfrom screen_cli.engines.local import LocalEngine\n"
        "print(list(LocalEngine(EngineSettings(workers=2)).run(str, ['a', 'b'])))\n",
        1,
    ),
}


@pytest.mark.parametrize("caller", UNGUARDED)
def test_a_script_without_a_guard_is_told_what_to_write(tmp_path, caller):
    script, code = UNGUARDED[caller]
    (tmp_path / "script.py").write_text(script)
    (tmp_path / "screen.toml").write_text(
        '[source]\nname = "prototypes"\n'
        'options = { prototypes = ["rocksalt"], elements = ["Cu", "Ag", "Au", "Al"], limit = 3 }\n'
        '[calculator]\nname = "emt"\n[conductivity]\nenabled = false\n[engine]\nname = "local"\nworkers = 2\n'
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, timeout=300, check=False
    )
    assert (done.returncode, done.stdout) == (code, "")
    assert done.stderr.count("if __name__ == '__main__':") == 1
    assert not list(tmp_path.rglob("*crash*"))
    if caller == "the command":
        assert len(done.stderr.splitlines()) == 1
        assert not list(tmp_path.rglob("manifest.json"))


def test_a_worker_of_somebody_else_that_imports_a_script_gets_the_sentence(monkeypatch):
    monkeypatch.setattr(multiprocessing.current_process(), "_inheriting", True, raising=False)
    with pytest.raises(ConfigError, match="if __name__ == '__main__'"):
        list(LocalEngine(EngineSettings(workers=1)).run(str, ["a"]))
