"""Engines, for real: killed workers, time limits, a killed driver."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from concurrent.futures.process import BrokenProcessPool

import psutil

from screen_cli.config import EngineSettings
from screen_cli.engines.local import LocalEngine
from screen_cli.testing import EngineContract, echo_task


class TestSerial(EngineContract):
    name = "serial"


class TestLocal(EngineContract):
    name = "local"


def kill_self_once(task):
    """Die by SIGKILL the first time a task is seen."""
    folder, name = os.path.split(task)
    mark = os.path.join(folder, f"mark-{name}")
    if name.startswith("kill") and not os.path.exists(mark):
        open(mark, "w").close()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"task": task}


def kill_self(task):
    """Die by SIGKILL every time."""
    if task == "kill":
        os.kill(os.getpid(), signal.SIGKILL)
    return {"task": task}


def sleep_long(task):
    """Hang."""
    if task == "hang":
        time.sleep(600)
    return {"task": task}


def test_a_killed_worker_costs_nothing_but_a_retry(tmp_path):
    tasks = [str(tmp_path / f"{'kill' if n % 3 == 0 else 'fine'}-{n}") for n in range(9)]
    results = list(LocalEngine(EngineSettings(workers=2)).run(kill_self_once, tasks))
    assert sorted(result.task for result in results) == sorted(tasks)
    assert {result.kind for result in results} == {"ok"}


def test_a_task_that_always_kills_is_reported_and_the_rest_goes_on():
    tasks = ["a", "kill", "b", "c"]
    results = {result.task: result for result in LocalEngine(EngineSettings(workers=2)).run(kill_self, tasks)}
    assert results["kill"].kind == "crash"
    assert "died" in results["kill"].error
    assert all(results[name].kind == "ok" for name in "abc")


def test_a_broken_pool_is_replaced_and_its_tasks_tried_again(monkeypatch):
    from pebble.pool.process import PoolManager

    find = PoolManager.find_expired_task
    broken = []

    def find_nothing_once(manager, worker_id):
        if not broken:
            broken.append(worker_id)
            raise BrokenProcessPool("All workers expired")  # what pebble says when a worker dies too early
        return find(manager, worker_id)

    monkeypatch.setattr(PoolManager, "find_expired_task", find_nothing_once)
    tasks = ["a", "kill", "b", "c"]
    results = {result.task: result for result in LocalEngine(EngineSettings(workers=2)).run(kill_self, tasks)}
    assert broken
    assert results["kill"].kind == "crash"
    assert all(results[name].kind == "ok" for name in "abc")


def test_the_time_limit_stops_one_task_only():
    engine = LocalEngine(EngineSettings(workers=2, task_time_limit=2.0))
    results = {result.task: result for result in engine.run(sleep_long, ["hang", "a", "b"])}
    assert results["hang"].kind == "timeout"
    assert "task_time_limit = 2 s" in results["hang"].error
    assert results["a"].kind == results["b"].kind == "ok"


def test_workers_do_not_outlive_a_killed_driver():
    code = (
        "from screen_cli.engines.local import LocalEngine\n"
        "from screen_cli.config import EngineSettings\n"
        "import time\n"
        "if __name__ == '__main__':\n"
        "    print('start', flush=True)\n"
        "    list(LocalEngine(EngineSettings(workers=2)).run(time.sleep, [300, 300]))\n"
    )
    driver = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True)
    assert driver.stdout.readline() == "start\n"
    parent = psutil.Process(driver.pid)
    deadline = time.monotonic() + 30
    while len(parent.children(recursive=True)) < 3 and time.monotonic() < deadline:
        time.sleep(0.1)
    time.sleep(1.0)
    children = parent.children(recursive=True)
    assert len(children) >= 2
    driver.kill()
    driver.wait()
    driver.stdout.close()
    _, alive = psutil.wait_procs(children, timeout=15)
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
