"""A person's mistake gives one sentence on stderr and exit code 1 or 2: no trace, no crash report."""

from __future__ import annotations

import ast
import contextlib
import os
import resource
import shutil
from pathlib import Path

import numpy as np
import pytest

import screen_cli.store
from screen_cli.cli import boundary, main
from screen_cli.config import settings_from_dict
from screen_cli.store.record import Record
from screen_cli.store.run_directory import RunDirectory

IDENTITY = "ab12cd34ef56"
SCREEN = """
[source]
name = "prototypes"
options = { entries = [{ prototype = "cu3au", elements = ["Al", "Al"], a = 4.05 }] }
[calculator]
name = "emt"
[relax]
enabled = false
[displace]
dim = [1, 1, 1]
min_pairs = 1
[force_constants]
third_order = false
[harmonic]
mesh = [2, 2, 2]
phase_space = false
band_points = 2
[engine]
name = "serial"
"""


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """A run with one crystal."""
    root = tmp_path_factory.mktemp("runs") / "run"
    settings = settings_from_dict({"calculator": {"name": "emt"}, "conductivity": {"solver": "standard"}})
    run = RunDirectory.create(root, settings)
    run.store.write_structure(
        IDENTITY,
        {
            "id": IDENTITY, "formula": "Al", "space_group": 225, "provider": "files", "provider_id": "Al.cif",
            "numbers": [13], "cell": np.eye(3).tolist(), "positions": [[0, 0, 0]], "metadata": {},
        },
    )  # fmt: skip
    stored = run.store.write(IDENTITY, "relax", "k1", Record({"a": 1.0}), seconds=1.0)
    with contextlib.closing(run.index()) as index:
        index.add_structures([{"id": IDENTITY, "formula": "Al", "n_atoms": 1}])
        scalars = {"kappa_total_w_mk": 1.5, "stable": True}
        index.update(
            IDENTITY, "done", scalars=scalars, keys={"relax": "k1"}, stage_times={"relax": (1.0, stored.n_bytes)}
        )
    return root


@pytest.fixture
def place(tmp_path, finished, monkeypatch):
    """A working directory with the run, a good configuration and odd files."""
    shutil.copytree(finished, tmp_path / "run")
    (tmp_path / "screen.toml").write_text(SCREEN)
    (tmp_path / "latin.toml").write_bytes('title = "Å"'.encode("latin-1"))
    (tmp_path / "utf16.toml").write_bytes('title = "Å"'.encode("utf-16"))
    (tmp_path / "empty.toml").write_text("")
    (tmp_path / "binary.toml").write_bytes(os.urandom(500))
    (tmp_path / "deep.toml").write_text("a = " + "[" * 5000 + "]" * 5000)
    (tmp_path / "folder.toml").mkdir()
    (tmp_path / "plain").write_text("")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def setting(text):
    return ["run", "screen.toml", "--quiet", "--set", text]


def show(expression):
    return ["show", "run", "--filter", expression]


CONFIGURATIONS = [
    (["run", "nowhere.toml"], 2, "nowhere.toml"),
    (["run", "latin.toml"], 2, "UTF-8"),
    (["run", "utf16.toml"], 2, "UTF-8"),
    (["run", "binary.toml"], 2, "binary.toml"),
    (["run", "deep.toml"], 2, "deep.toml"),
    (["run", "folder.toml"], 2, "folder.toml"),
    (["run", "screen.toml", "--shard", "5/3"], 2, "K/N"),
    (["run", "screen.toml", "--shard", "²/3"], 2, "K/N"),
    (["run", "screen.toml", "--run-dir", "plain/run"], 1, "plain/run"),
    (["run", "screen.toml", "--run-dir", ""], 2, "path is empty"),
    (["run", "/dev/zero"], 2, "pipe or device"),
    (["status", ""], 2, "path is empty"),
    (["run", "screen.toml", "--run-dir", "n" * 300], 1, "cannot make the run directory"),
    (["run", "screen.toml", "--run-dir", "run"], 2, "other settings"),
    (["run", "screen.toml", "--workers", "many"], 2, "many"),
    (["run", "screen.toml", "--workers", "-3"], 2, "workers"),
    (["run", "screen.toml", "--walltime", "nan"], 2, "walltime"),
    (["run", "screen.toml", "--walltime", "-5"], 2, "walltime"),
    (["run"], 2, "CONFIG"),
    (["run", "screen.toml", "--nonsense"], 2, "--nonsense"),
    (["ruin", "screen.toml"], 2, "ruin"),
]
SETTINGS = [
    (setting("relax.fmax=nan"), 2, "fmax"),
    (setting("relax.fmax=inf"), 2, "fmax"),
    (setting("relax.fmax=-1"), 2, "fmax"),
    (setting("relax.fmax='small'"), 2, "fmax"),
    (setting("relax.fmx=1"), 2, "Did you mean 'fmax'"),
    (setting("relax.max_steps=1e99"), 2, "max_steps"),
    (setting("relax=3"), 2, "relax"),
    (setting("relax.fmax"), 2, "relax.fmax"),
    (setting("=3"), 2, "unknown key"),
    (setting("displace.dim=[2,2]"), 2, "dim"),
    (setting("displace.dim=[2,2,-2]"), 2, "dim"),
    (setting("displace.distance=0"), 2, "distance"),
    (setting("harmonic.temperatures=[]"), 2, "temperatures"),
    (setting("harmonic.temperatures=[-300.0]"), 2, "temperatures"),
    (setting("conductivity.mesh=['a']"), 2, "mesh"),
    (setting("engine.workers=-1"), 2, "workers"),
    (setting("engine.task_time_limit=-1"), 2, "task_time_limit"),
    (setting("engine.name=locale"), 2, "Did you mean 'local'"),
    ([*setting("engine.options={memory_gib=-1}"), "--set", "engine.name=local"], 2, "memory_gib"),
    (setting("calculator.name="), 2, "calculator"),
    (setting("calculator.name=ase:no.such.Module"), 2, "no"),
    (setting("calculator.name=ase:os"), 2, "ase:"),
    (setting("source.name=filez"), 2, "Did you mean 'files'"),
    (setting("source.options={}"), 2, "prototypes"),
    (setting("source.options={no_such=1}"), 2, "no_such"),
    (setting("gate.expression=stable and"), 2, "stable and"),
    (setting("filter.expression=n_atoms in 5"), 2, "in"),
    (setting("properties.names=['msd']"), 2, "msd"),
    (setting("properties.options={soft_mode={fmax=1.0}}"), 2, "properties.names does not ask for"),
    (setting("source.options={entries=[{prototype='cu3au',elements=['Al','Al'],a=nan}]}"), 2, "entries.0.a is nan"),
    (setting("source.options={entries=[{prototype='cu3au',elements=['Al','Al'],a=1e300}]}"), 2, "a = 1e+300"),
    (setting("source.options={entries=[{prototype='cu3au',elements=['Al','Al'],a='big'}]}"), 2, "a = 'big'"),
    (setting('nac.born="a\\u0000b"'), 2, "null character"),
    (setting("nac.born='screen.toml'"), 2, "no folder"),
    (setting("nac.born='nowhere'"), 2, "no folder"),
    (setting("harmonic.mesh=[100000,100000,100000]"), 2, "more than 8,000,000 points"),
    (setting("harmonic.band_points=1000000000"), 2, "band_points"),
    (setting("harmonic.temperatures=[1e300]"), 2, "temperatures"),
    ([*setting("renormalise.enabled=true"), "--set", "renormalise.temperatures=[300,300]"], 2, "each temperature once"),
    ([*setting("renormalise.enabled=true"), "--set", "renormalise.select='n_atoms in 5'"], 2, "needs a list"),
]
FILTERS = [
    (show("n_atoms in 5"), 2, "needs a list"),
    (show("n_atoms in n_atoms"), 2, "needs a list"),
    (show("kapa < 1"), 2, "kapa"),
    (show("n_atoms <"), 2, "cannot parse"),
    (show("n_atoms = 1"), 2, "cannot parse"),
    (show("("), 2, "cannot parse"),
    (show("(" * 3000), 2, "filter"),
    (show(" or ".join(["n_atoms < 1"] * 500)), 2, "too long"),
    (show("n_atoms < " + "9" * 400), 2, "too large"),
    (show("n_atoms < 1e999"), 2, "too large"),
    (show("n_atoms ** 2"), 2, "not allowed"),
    (show("n_atoms is 1"), 2, "=="),
    (show("__import__('os').system('ls')"), 2, "not allowed"),
    (show("(n_atoms, 1)"), 2, "not allowed"),
    (show("(stable and n_atoms) + 1"), 2, "not allowed"),
    (show("formula == '\0'"), 2, "formula"),
    (show("'\ud800' == formula"), 2, "formula"),
    (["show", "run", "--sort", "kapa"], 2, "kapa"),
    (["show", "run", "--columns", "kapa"], 2, "kapa"),
    (["show", "run", "--limit", "x"], 2, "x"),
    (["show", "run", "--format", "xml"], 2, "xml"),
]
FOLDERS = [
    *([name, "nowhere"] for name in ("status", "show", "rebuild", "verify", "report", "gate")),
    ["status", "plain"],
    ["status", "screen.toml/x"],
    ["export", "nowhere", "out.csv"],
    ["compare", "run", "nowhere"],
    ["plot", "nowhere", IDENTITY],
    ["merge", "nowhere", "--into", "target"],
    ["bench", "kappa", "--run-dir", "nowhere", "--score-only", "-c", "emt"],
]
OTHERS = [
    (["export", "run", "out.xyzzy"], 2, "xyzzy"),
    (["export", "run", "out"], 2, "out"),
    (["export", "run", "nowhere/out.csv"], (1, 2), "nowhere"),
    (["export", "run", "out.csv", "--format", "cvs"], 2, "cvs"),
    (["export", "run", "out.csv", "--filter", "n_atoms in 5"], 2, "needs a list"),
    (["plot", "run", "no-such-crystal"], 2, "no-such-crystal"),
    (["merge", "run", "--into", "run"], 2, "source and the target"),
    (["merge", "--into", "target"], 2, "RUN_DIRS"),
    (["structures", "nowhere.toml"], 2, "nowhere"),
    (["report", "run", "--reference", "/dev/zero"], 2, "pipe or device"),
]


def said(capsys):
    """What a command wrote to stderr."""
    return capsys.readouterr().err


@pytest.mark.parametrize(("argv", "code", "fragment"), CONFIGURATIONS + SETTINGS + FILTERS + OTHERS)
def test_one_sentence_and_the_right_exit_code(place, capsys, argv, code, fragment):
    got = main(argv)
    text = said(capsys)
    assert got in (code if isinstance(code, tuple) else (code,)), text
    assert "Traceback" not in text
    assert fragment.lower() in text.lower()
    assert len([line for line in text.splitlines() if line.lower().startswith("error")]) == 1, text
    assert list(place.glob("*crash*")) == []


@pytest.mark.parametrize("argv", FOLDERS)
def test_a_folder_that_is_no_run_is_bad_input(place, capsys, argv):
    code = main(argv)
    text = said(capsys)
    assert code == 2, text
    assert "Traceback" not in text
    assert list(place.glob("*crash*")) == []


def damage_manifest(run, text):
    (run / "manifest.json").write_bytes(text)


@pytest.mark.parametrize(
    "manifest",
    [b"", b"{", b"[]", b"null", b'{"format": 2}', b'{"format": 1, "settings": {}}', b"\xff\xfe", b"[" * 5000],
)
@pytest.mark.parametrize("command", ["status", "verify"])
def test_a_damaged_manifest(place, capsys, manifest, command):
    damage_manifest(place / "run", manifest)
    assert main([command, "run"]) in (1, 2)
    text = said(capsys)
    assert text.startswith("error: ")
    assert "manifest.json" in text


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/dev/zero")], ids=["pipe", "endless"])
@pytest.mark.parametrize("name", ["manifest.json", "index.sqlite", "record", "structure.json"])
@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_what_is_no_file_of_a_run_is_not_waited_for(place, capsys, make, name, command):
    """A stranger's run directory with a pipe, or a link to what never ends."""
    pattern = "relax-*.json" if name == "record" else name
    path = (
        place / "run" / name
        if name in ("manifest.json", "index.sqlite")
        else next((place / "run" / "records").rglob(pattern))
    )
    path.unlink()
    make(path)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    assert main([command, "run"]) in (0, 1, 2)
    assert "Traceback" not in said(capsys)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 200_000


def test_files_of_a_run_are_read_by_one_function():
    """``read_text`` and ``read_bytes`` follow links and wait for pipes."""
    for path in Path(screen_cli.store.__file__).parent.glob("*.py"):
        names = {node.attr for node in ast.walk(ast.parse(path.read_text())) if isinstance(node, ast.Attribute)}
        assert not names & {"read_text", "read_bytes"}, path


@pytest.mark.parametrize("index", [b"", b"no database", b"SQLite format 3\0" + b"x" * 5000])
@pytest.mark.parametrize("command", ["status", "show", "report"])
def test_a_damaged_index(place, capsys, index, command):
    for path in (place / "run").glob("index.sqlite*"):
        path.unlink()
    (place / "run" / "index.sqlite").write_bytes(index)
    assert main([command, "run"]) == 1
    assert "screen-cli rebuild" in said(capsys)
    assert main(["rebuild", "run"]) == 0


def test_the_unexpected_writes_a_report(place, capsys, monkeypatch):
    def crash(*_):
        raise ZeroDivisionError("a fault of ours")

    monkeypatch.setattr(RunDirectory, "open", crash)
    assert main(["status", "run"]) == boundary.CRASHED
    text = said(capsys)
    (report,) = place.glob("screen-cli-crash-*.txt")
    assert str(report) in text
    assert "please send it" in text
    content = report.read_text()
    assert "a fault of ours" in content
    assert "phono3py" in content
    assert "'status' 'run'" in content


def test_debug_shows_the_trace(place, capsys):
    assert main(["--debug", "status", "nowhere"]) == 2
    assert "Traceback" in said(capsys)


def test_names_cannot_steer_the_terminal(place, capsys):
    assert main(["status", "no\x1b[2Jwhere\nerror: fine"]) == 2
    text = said(capsys)
    assert "\x1b" not in text
    assert len(text.splitlines()) == 1
