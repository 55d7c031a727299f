"""What real life does to a run: kill -9, cut files, full disks, two drivers. Nothing finished is lost or repeated."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from screen_cli.cli import main
from screen_cli.store.run_directory import RunDirectory

METALS = ("Al", "Cu", "Ni", "Pt")
PATIENCE = 1200.0
"""Seconds after which something counts as hung, on however busy a machine."""


def command(*arguments):
    return [sys.executable, "-m", "screen_cli", *map(str, arguments)]


def finish(config, run_dir):
    """Take a run to its end in this process, which has imported everything: another engine, the same results."""
    words = ["run", config, "--run-dir", run_dir, "--no-report", "--set", "engine.name=serial"]
    assert main([*map(str, words)]) == 0


def physics(run_dir):
    """Everything a run found: data and arrays of each record, without times and hosts."""
    found = {}
    for path in sorted(Path(run_dir).rglob("*-*.json")):
        if path.parent.name == "failed" or "records" not in path.parts:
            continue
        header = json.loads(path.read_text())
        found[f"{path.parent.name}/{path.name}"] = [header["data"], header["parts"]]
    return found


def digest(run_dir):
    """Time of last change of every record file."""
    return {
        path: path.stat().st_mtime_ns for path in Path(run_dir).rglob("*") if "records" in path.parts and path.is_file()
    }


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, fast_text):
    """Configuration and result of a run that nobody disturbs."""
    folder = tmp_path_factory.mktemp("undisturbed")
    config = folder / "screen.toml"
    config.write_text(fast_text(*METALS, engine="local"))
    finish(config, folder / "run")
    return config, physics(folder / "run")


def copy_finished(config, run_dir):
    """A copy of the run that nobody disturbed, with the times of its files."""
    shutil.copytree(config.parent / "run", run_dir)


def start(config, run_dir):
    """Start a driver and wait until it has finished at least one crystal's relaxation."""
    driver = subprocess.Popen(
        command("run", config, "--run-dir", run_dir, "--no-report"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    deadline = time.monotonic() + PATIENCE
    while not list(Path(run_dir).rglob("relax-*.json")):
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.05)
    return driver


def test_kill_the_driver(undisturbed, tmp_path):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    for pause in (0.0, 1.5):
        driver = start(config, run_dir)
        time.sleep(pause)
        workers = psutil.Process(driver.pid).children(recursive=True) if driver.poll() is None else []
        driver.kill()
        driver.wait()
        psutil.wait_procs(workers, timeout=PATIENCE)
        assert not [worker for worker in workers if worker.is_running()]
    finished = {path: time_ for path, time_ in digest(run_dir).items() if path.suffix == ".json"}
    finish(config, run_dir)
    assert physics(run_dir) == expected
    after = digest(run_dir)
    assert all(after[path] == time_ for path, time_ in finished.items()), "finished work was repeated"


def test_kill_a_worker(undisturbed, tmp_path):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    driver = start(config, run_dir)
    notes = list((run_dir / "running").glob("*.json"))
    pid = int(notes[0].stem.rsplit("-", 1)[1])
    os.kill(pid, signal.SIGKILL)
    assert driver.wait(timeout=PATIENCE) == 0
    assert physics(run_dir) == expected
    assert list((run_dir / "failed").glob("*")) == []


def test_cut_records(undisturbed, tmp_path):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    copy_finished(config, run_dir)
    victims = [
        sorted(run_dir.rglob(pattern))[0] for pattern in ("conductivity-*.json", "harmonic-*.hdf5", "displace-*.yaml")
    ]
    for victim in victims:
        victim.write_bytes(victim.read_bytes()[:100])
    before = digest(run_dir)
    finish(config, run_dir)
    assert physics(run_dir) == expected
    after = digest(run_dir)
    touched = {path.name.split("-")[0] for path in before if after[path] != before[path]}
    assert touched == {"conductivity", "harmonic", "displace"}


def test_lost_or_broken_index(undisturbed, tmp_path, capsys):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    copy_finished(config, run_dir)
    before = digest(run_dir)
    for path in run_dir.glob("index.sqlite*"):
        path.unlink()
    assert main(["rebuild", str(run_dir)]) == 0
    assert capsys.readouterr().out.strip() == f"{len(METALS)} done"
    (run_dir / "index.sqlite").write_bytes(b"no database" * 200)
    finish(config, run_dir)
    assert digest(run_dir) == before
    assert physics(run_dir) == expected


def test_full_disk(undisturbed, tmp_path):
    """A file-size limit stands for a full disk: the run stops with a sentence, and goes on when there is room."""
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    limited = (
        "import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (150_000, 150_000)); "
        "from screen_cli.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            limited,
            "run",
            str(config),
            "--run-dir",
            str(run_dir),
            "--no-report",
            "--set",
            "engine.name=serial",
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "cannot write" in done.stderr
    assert "nothing finished is lost" in done.stderr
    kept = {path: time_ for path, time_ in digest(run_dir).items() if path.suffix == ".json"}
    assert any("relax" in path.name for path in kept)
    finish(config, run_dir)
    assert physics(run_dir) == expected
    after = digest(run_dir)
    assert all(after[path] == time_ for path, time_ in kept.items())


def test_a_run_goes_on_when_nobody_reads_what_it_says(undisturbed, fast_text, tmp_path):
    _, expected = undisturbed
    config, run_dir = tmp_path / "screen.toml", tmp_path / "run"
    config.write_text(fast_text(*METALS[:2], engine="local"))
    words = command("run", config, "--run-dir", run_dir, "--no-report")
    driver = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    driver.stderr.readline()
    driver.stdout.close()
    driver.stderr.close()
    driver.wait(timeout=PATIENCE)
    found = physics(run_dir)
    assert found.items() <= expected.items()
    assert len(found) == len(expected) * 2 // len(METALS)


def test_a_run_directory_that_goes_away_stops_the_run_and_blames_nobody(undisturbed, tmp_path):
    config, _ = undisturbed
    run_dir = tmp_path / "run"
    words = command("run", config, "--run-dir", run_dir, "--no-report", "--quiet")
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(run_dir.rglob("relax-*.json")):
        assert driver.poll() is None
        time.sleep(0.05)
    os.rename(run_dir, tmp_path / "elsewhere")
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 1, said
    assert "Traceback" not in said
    assert not list(run_dir.rglob("failed/*.json"))
    finish(config, tmp_path / "elsewhere")


def test_two_drivers(undisturbed, tmp_path):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    first = start(config, run_dir)
    first.send_signal(signal.SIGSTOP)  # it would be done before the second one looks
    second = subprocess.run(command("run", config, "--run-dir", run_dir), capture_output=True, text=True, check=False)
    first.send_signal(signal.SIGCONT)
    assert second.returncode == 1
    assert f"process {first.pid}" in second.stderr
    assert os.uname().nodename in second.stderr
    assert first.wait(timeout=PATIENCE) == 0
    assert physics(run_dir) == expected


def test_interrupt_drains(undisturbed, tmp_path):
    config, expected = undisturbed
    run_dir = tmp_path / "run"
    driver = start(config, run_dir)
    driver.send_signal(signal.SIGINT)
    assert driver.wait(timeout=PATIENCE) in (0, 3)
    index = RunDirectory.open(run_dir).index(read_only=True)
    assert set(index.counts()) <= {"done", "pending"}
    index.close()
    finish(config, run_dir)
    assert physics(run_dir) == expected


@pytest.mark.parametrize("engine", ["serial", "local"])
def test_a_second_sigterm_stops_at_once_and_blames_nobody(fast_text, tmp_path, engine):
    config, run_dir = tmp_path / "screen.toml", tmp_path / "run"
    config.write_text(fast_text("Al", "Cu", engine=engine))
    long = ["--set", "displace.dim=[4, 4, 4]", "--set", "displace.max_atoms=1000"]  # a fit of a minute
    words = command("run", config, "--run-dir", run_dir, "--no-report", *long)
    driver = subprocess.Popen(words, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    while not list(run_dir.rglob("displace-*.json")):
        assert driver.poll() is None
        time.sleep(0.05)
    driver.send_signal(signal.SIGTERM)
    for line in driver.stderr:
        if "once more to stop at once" in line:
            break
    assert driver.poll() is None  # it drains
    driver.send_signal(signal.SIGTERM)
    _, said = driver.communicate(timeout=PATIENCE)
    assert driver.returncode == 130, said
    assert "Traceback" not in said
    index = RunDirectory.open(run_dir).index(read_only=True)
    assert set(index.counts()) <= {"done", "pending"}
    index.close()
    assert not list(run_dir.rglob("failed/*.json"))


# -- past one machine ------------------------------------------------------------------------------

BLOCKS = """
[engine.options]
address = "127.0.0.1"
lost_after = 10
batch_size = 2
"""


def write_config(path, fast_text, *metals, options):
    """Write a configuration that runs on blocks of one worker each."""
    text = fast_text(*metals, engine="parsl").replace("workers = 2", "workers = 1")
    path.write_text(text + BLOCKS + options)
    return path


def blocks_of(run_dir):
    """The managers of the blocks that work for a run directory."""
    found = []
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if any("process_worker_pool" in word for word in line) and any(str(run_dir) in word for word in line):
            found.append(process)
    return found


@pytest.mark.slow
def test_two_blocks_one_killed(undisturbed, fast_text, tmp_path):
    pytest.importorskip("parsl", reason="needs screen-cli[parsl]")
    _, expected = undisturbed
    run_dir = tmp_path / "run"
    config = write_config(tmp_path / "screen.toml", fast_text, *METALS, options="blocks = 2\n")
    driver = start(config, run_dir)
    deadline = time.monotonic() + PATIENCE
    while len(list((run_dir / "running").glob("*.json"))) < 2:  # both blocks are at work
        assert time.monotonic() < deadline
        assert driver.poll() is None
        time.sleep(0.05)
    victim, *others = blocks_of(run_dir)
    assert others
    finished = {path: time_ for path, time_ in digest(run_dir).items() if path.suffix == ".json"}
    for process in (victim, *victim.children(recursive=True)):
        process.kill()
    assert driver.wait(timeout=PATIENCE) == 0
    assert physics(run_dir) == expected
    after = digest(run_dir)
    assert all(after[path] == time_ for path, time_ in finished.items()), "finished work was repeated"
    assert list((run_dir / "failed").glob("*")) == []


@pytest.mark.slow
def test_full_disk_on_a_node(undisturbed, fast_text, tmp_path):
    """A node without room stops the run with a sentence; with room it goes on."""
    pytest.importorskip("parsl", reason="needs screen-cli[parsl]")
    local, expected = undisturbed
    run_dir = tmp_path / "run"
    config = write_config(
        tmp_path / "screen.toml", fast_text, *METALS, options='worker_init = "ulimit -f 150"\n'
    )  # in units of 1024 bytes
    done = subprocess.run(
        command("run", config, "--run-dir", run_dir, "--no-report"), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1, done.stderr
    assert "cannot write" in done.stderr
    finish(local, run_dir)  # another engine is no other configuration
    assert physics(run_dir) == expected


@pytest.mark.slow
def test_a_killed_driver_leaves_no_block(fast_text, tmp_path):
    pytest.importorskip("parsl", reason="needs screen-cli[parsl]")
    run_dir = tmp_path / "run"
    driver = start(write_config(tmp_path / "screen.toml", fast_text, *METALS, options=""), run_dir)
    assert blocks_of(run_dir)
    driver.kill()
    driver.wait()
    deadline = time.monotonic() + PATIENCE
    while blocks_of(run_dir) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert blocks_of(run_dir) == []


@pytest.mark.slurm
@pytest.mark.slow
def test_slurm(undisturbed, fast_text, tmp_path):
    """The same configuration through a real Slurm: a job is cancelled in mid-run, nothing is lost."""
    pytest.importorskip("parsl", reason="needs screen-cli[parsl]")
    if shutil.which("sbatch") is None or subprocess.run(["sinfo"], capture_output=True, check=False).returncode:
        pytest.skip("no Slurm answers here (tests/slurm_on_one_machine.sh starts one)")
    _, expected = undisturbed
    run_dir = tmp_path / "run"
    slurm = 'provider = "slurm"\nwalltime = "00:10:00"\nprovider_options = { exclusive = false, cores_per_node = 1 }\n'
    driver = start(write_config(tmp_path / "screen.toml", fast_text, *METALS, options=slurm + "blocks = 2\n"), run_dir)
    jobs = subprocess.run(["squeue", "-h", "-o", "%i", "-t", "R"], capture_output=True, text=True, check=True)
    first = jobs.stdout.split()[0]
    subprocess.run(["scancel", first], check=True)
    assert driver.wait(timeout=PATIENCE) == 0
    assert physics(run_dir) == expected
    assert list((run_dir / "failed").glob("*")) == []


def test_digest_sees_a_change(tmp_path):
    """The comparison used above can fail."""
    path = tmp_path / "records" / "x-1.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"data": 1, "parts": {}}))
    first = hashlib.sha256(json.dumps(physics(tmp_path)).encode()).hexdigest()
    path.write_text(json.dumps({"data": 2, "parts": {}}))
    assert hashlib.sha256(json.dumps(physics(tmp_path)).encode()).hexdigest() != first
