"""The Parsl engine on this machine: contract, lost blocks, the end of a block, bad configurations."""

from __future__ import annotations

import dataclasses
import functools
import gc
import signal
import subprocess
import sys
import time

import psutil
import pytest

from screen_cli.config import EngineSettings
from screen_cli.engines.parsl.block import BLOCK_END, BatchPlan, run_batch
from screen_cli.errors import ConfigError, PluginError
from screen_cli.testing import EngineContract, echo_task

pytest.importorskip("parsl", reason="the engine needs screen-cli[parsl]")
parsl_engine = pytest.importorskip("screen_cli.engines.parsl.engine")
parsl_config = pytest.importorskip("screen_cli.engines.parsl.configuration")

LOCAL = EngineSettings(name="local", workers=1, options={"threads": 1})
# Parsl's threads and sockets are closed by its own clean-up, some of them after the test that made them
pytestmark = [pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")]


@pytest.fixture(autouse=True, scope="module")
def _what_is_left_goes_here():
    """Let what parsl forgot be collected before the next file's tests."""
    yield
    gc.collect()


def make_engine(folder, workers=2, **options):
    quick = {"lost_after": 8, "batch_size": 4}
    return parsl_engine.ParslEngine(EngineSettings(name="parsl", workers=workers, options=quick | options), folder)


class TestParsl(EngineContract):
    name = "parsl"

    @pytest.fixture(autouse=True)
    def folder(self, tmp_path):
        self.path = tmp_path

    def engine(self):
        return make_engine(self.path / "engine")

    # each of these starts Parsl, which takes seconds
    test_store_errors_reach_the_driver = pytest.mark.slow(EngineContract.test_store_errors_reach_the_driver)
    test_stop_ends_early = pytest.mark.slow(EngineContract.test_stop_ends_early)


# -- on a node -------------------------------------------------------------------------------------


def slow_task(seconds, task):
    time.sleep(seconds)
    return {"task": task}


def plan(**options):
    return BatchPlan(LOCAL, **options)


def test_a_batch_runs():
    report = run_batch(echo_task, ["a", "b"], plan())
    assert [result.value for result in report.results] == [{"task": "a"}, {"task": "b"}]
    assert report.cut == []


def test_nothing_begins_that_would_not_finish(monkeypatch):
    monkeypatch.setattr("screen_cli.engines.parsl.block._PAUSE", 0.0)
    monkeypatch.setenv(BLOCK_END, str(time.time() + 100))
    report = run_batch(echo_task, ["a"], plan(expected_seconds=80.0, walltime=3600.0))  # 70 s are left
    assert report.results == report.cut == []
    report = run_batch(echo_task, ["a"], plan(expected_seconds=50.0, walltime=3600.0))
    assert len(report.results) == 1


def test_a_drained_batch_begins_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("screen_cli.engines.parsl.block._PAUSE", 0.0)
    (tmp_path / "drain").touch()
    report = run_batch(echo_task, ["a"], plan(drain_file=str(tmp_path / "drain")))
    assert report.results == report.cut == []


@pytest.mark.slow
def test_the_end_of_the_block_cuts(monkeypatch):
    monkeypatch.setenv(BLOCK_END, str(time.time() + 20.0))  # enough for a worker to start
    report = run_batch(functools.partial(slow_task, 600.0), ["a", "b"], plan(walltime=10.0))
    assert report.results == []
    assert report.cut == ["a"]  # b was never begun
    assert signal.getsignal(signal.SIGALRM) is signal.SIG_DFL


def terminate_parent(task):
    import os

    os.kill(os.getppid(), signal.SIGTERM)
    time.sleep(60)


def test_sigterm_hands_back():
    report = run_batch(terminate_parent, ["a", "b"], plan())
    assert report.results == []
    assert report.cut == ["a"]


# -- configuration ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"provider": "slurm"}, "needs a walltime"),
        ({"provider": "slurm", "walltime": "4h", "address": "127.0.0.1"}, "expected HH:MM:SS"),
        ({"provider": "slurm", "walltime": "04:00:00"}, "needs address"),
        ({"blokcs": 2}, "Did you mean 'blocks'"),
        ({"blocks": 0}, "expected at least 1"),
        ({"provider_options": {"partiton": "x"}}, "takes no \\['partiton'\\]"),
        ({"config": "nowhere.py:config"}, "existing file"),
    ],
)
def test_bad_options(options, message, tmp_path):
    with pytest.raises(ConfigError, match=message):
        next(make_engine(tmp_path, **options).run(echo_task, ["a"]))


def test_pbs_and_slurm_scripts(tmp_path):
    options = parsl_config.ParslOptions(
        provider="pbs", nodes=2, blocks=3, walltime="02:00:00", worker_init="module load x",
        provider_options={"queue": "normal", "account": "abc"},
    )  # fmt: skip
    (executor,) = parsl_config.make_config(EngineSettings(workers=8), options, tmp_path).executors
    provider = executor.provider
    assert (provider.max_blocks, provider.nodes_per_block, provider.queue) == (3, 2, "normal")
    assert "module load x" in provider.worker_init
    assert f"export {BLOCK_END}=$(( $(date +%s) + 7200 ))" in provider.worker_init
    assert "trap '' TERM" in provider.worker_init
    assert executor.drain_period == 7200 - 60


@pytest.mark.slow
def test_the_users_own_configuration(tmp_path):
    path = tmp_path / "site.py"
    path.write_text(
        "from parsl.config import Config\n"
        "from parsl.executors import HighThroughputExecutor\n"
        "from parsl.providers import LocalProvider\n"
        "def make():\n"
        "    return Config(executors=[HighThroughputExecutor(label='mine', address='127.0.0.1',\n"
        "        max_workers_per_node=1, provider=LocalProvider())], run_dir=" + repr(str(tmp_path / "runinfo")) + ")\n"
    )
    engine = make_engine(tmp_path / "engine", config=f"{path}:make")
    assert [result.value for result in engine.run(echo_task, ["a"])] == [{"task": "a"}]
    assert list((tmp_path / "runinfo").rglob("mine"))


# -- blocks that are lost --------------------------------------------------------------------------


@pytest.mark.slow
def test_a_block_that_cannot_start_is_told(tmp_path):
    engine = make_engine(tmp_path, worker_init="echo no such module >&2; exit 7")
    with pytest.raises(PluginError, match="before a worker came up") as caught:
        list(engine.run(echo_task, ["a"]))
    assert "no such module" in str(caught.value)


NODE_FUNCTIONS = """
import os, time
from pathlib import Path
import psutil


def kill_block():
    manager = psutil.Process().parents()[1]  # this process <- HTEX worker <- manager
    for process in (manager, *manager.children(recursive=True)):
        if process.pid != os.getpid():
            process.kill()
    time.sleep(60)


def kill_once(folder, task):
    mark = Path(folder) / f"killed-{task}"
    if task.startswith("kill") and not mark.exists():
        mark.touch()
        kill_block()
    time.sleep(0.1)
    return {"task": task}


def kill_always(task):
    if task == "guilty":
        kill_block()
    return {"task": task}
"""


@pytest.fixture
def on_nodes(tmp_path, monkeypatch):
    """Functions that the nodes can import too, and the shell line that lets them."""
    folder = tmp_path / "node-functions"
    folder.mkdir()
    (folder / "screen_cli_node_functions.py").write_text(NODE_FUNCTIONS)
    monkeypatch.syspath_prepend(str(folder))
    import screen_cli_node_functions

    return screen_cli_node_functions, f'export PYTHONPATH="{folder}:$PYTHONPATH"'


@pytest.mark.slow
def test_a_killed_block_costs_nothing(tmp_path, on_nodes):
    functions, worker_init = on_nodes
    tasks = ["kill-0", *(f"task-{number:02d}" for number in range(39))]
    engine = make_engine(tmp_path / "engine", workers=1, blocks=2, worker_init=worker_init)
    results = list(engine.run(functools.partial(functions.kill_once, str(tmp_path)), tasks))
    assert sorted(result.task for result in results) == tasks
    assert {result.kind for result in results} == {"ok"}
    assert (tmp_path / "killed-kill-0").exists()


@pytest.mark.slow
def test_a_task_that_always_kills_its_block_is_given_up(tmp_path, on_nodes):
    functions, worker_init = on_nodes
    engine = make_engine(tmp_path / "engine", workers=1, retries=1, worker_init=worker_init)
    results = {result.task: result for result in engine.run(functions.kill_always, ["a", "guilty", "b"])}
    assert results["guilty"].kind == "crash"
    assert "lost" in results["guilty"].error
    assert results["a"].kind == results["b"].kind == "ok"


def kill_interchange(task):
    """Kill the process that hands out batches, of this driver."""
    for process in psutil.Process().children(recursive=True):
        if "screen_cli.engines.parsl.interchange" in process.cmdline():
            process.kill()
    return {"task": task}


@pytest.mark.slow
def test_a_killed_interchange_stops_the_run_with_a_sentence(tmp_path, monkeypatch):
    engine = make_engine(tmp_path / "engine", workers=1)
    killed = []

    def tasks():
        yield "first"
        killed.append(kill_interchange("now"))
        yield from (f"task-{number}" for number in range(200))

    start = time.monotonic()
    with pytest.raises(PluginError, match="interchange, the process between this one and the nodes, ended"):
        list(engine.run(functools.partial(slow_task, 0.2), tasks()))
    assert killed
    assert time.monotonic() - start < 120


def test_an_interchange_that_does_not_start_is_a_sentence_and_leaves_nothing(tmp_path, monkeypatch):
    """Killed while Parsl waits for it, or too slow on a busy machine: Parsl gives up after two minutes."""
    from parsl.executors.high_throughput.errors import CommandClientTimeoutError
    from parsl.executors.high_throughput.zmq_pipes import CommandClient

    def silent(self, *_, **__):
        raise CommandClientTimeoutError("no answer")

    monkeypatch.setattr(CommandClient, "run", silent)
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    with pytest.raises(PluginError, match="did not start"):
        list(make_engine(tmp_path / "engine", workers=1).run(slow_task, ["first"]))
    left = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    assert not [child for child in left if "interchange" in " ".join(child.cmdline())]


POOL = """
import subprocess, sys, time
child = [sys.executable, "-c", "import time; time.sleep(600)"]
print(subprocess.Popen(child, start_new_session=True).pid, flush=True)
time.sleep(600)
"""


def test_nothing_outlives_the_manager_of_a_block():
    words = [sys.executable, "-m", "screen_cli.engines.parsl.guarded_pool", sys.executable, "-c", POOL]
    manager = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
    child = psutil.Process(int(manager.stdout.readline()))
    manager.kill()
    manager.wait()
    manager.stdout.close()
    _, alive = psutil.wait_procs([child], timeout=60)
    assert alive == []


def test_the_network_is_loopback_and_encrypted(tmp_path):
    options = parsl_config.ParslOptions()
    (executor,) = parsl_config.make_config(EngineSettings(workers=1), options, tmp_path).executors
    assert "screen_cli.engines.parsl.guarded_pool process_worker_pool.py" in executor.launch_cmd
    assert executor.address == executor.loopback_address == "127.0.0.1"
    assert executor.encrypted


def test_settings_stay_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        parsl_config.ParslOptions().blocks = 2
