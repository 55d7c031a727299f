"""A person's mistake is answered with one sentence, the fix and the right exit code, never with a stack trace."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import write

from al_committee.cli import main
from al_committee.cli.session import EXIT_CRASH, EXIT_ERROR, EXIT_INPUT, EXIT_OK

GOOD = """
[pool]
source = "crystals.extxyz"
test_structures = 1
start_labels = 1
[supercells]
n_supercells = 1
min_length = 0.0
[labels]
kind = "calculator"
factory = "al_committee.testing:pair_teacher"
cache = "labels"
[training]
trainer = "al_committee.testing:PairPotentialTrainer"
n_members = 2
[stop]
max_rounds = 0
"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    crystals = []
    for name in ("Cu", "Ag", "Au"):
        crystals.append(bulk(name, cubic=True))
        crystals[-1].info["id"] = name
    write("crystals.extxyz", crystals)
    (tmp_path / "odd.py").write_text(
        "def raises():\n    raise ValueError('the server is down')\n"
        "def numbers():\n    return [1, 2]\n"
        "def nothing():\n    return None\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    return tmp_path


def said(capsys, *arguments):
    """Exit code and what was said of it."""
    code = main([str(argument) for argument in arguments])
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("al-committee: ")]
    return code, lines


CHANGES = {
    "unknown section": ("[stop]", "[stop_]", "line 16: unknown key 'stop_'. Did you mean 'stop'?"),
    "unknown key": ("start_labels", "start_lables", "line 5: unknown key 'pool.start_lables'"),
    "text for a number": ("n_members = 2", 'n_members = "two"', "line 15: training.n_members is 'two'"),
    "true for a number": ("max_rounds = 0", "max_rounds = true", "stop.max_rounds is True"),
    "a number for text": ('cache = "labels"', "cache = 3", "labels.cache is 3"),
    "a list for text": ('cache = "labels"', "cache = []", "labels.cache is []"),
    "NaN": ("min_length = 0.0", "min_length = nan", "supercells.min_length is nan"),
    "infinity": ("min_length = 0.0", "min_length = inf", "supercells.min_length is inf"),
    "below its limit": ("n_supercells = 1", "n_supercells = 0", "at least 1"),
    "absurdly many": ("n_supercells = 1", "n_supercells = 99999999999999999999", "at most 10000"),
    "one member": ("n_members = 2", "n_members = 1", "at least 2"),
    "a misspelt choice": ('kind = "calculator"', 'kind = "vaps"', "Did you mean 'vasp'?"),
    "no factory": (
        'factory = "al_committee.testing:pair_teacher"',
        "",
        "labels.factory",
    ),
    "no trainer": ('trainer = "al_committee.testing:PairPotentialTrainer"', "", "training.trainer missing"),
    "options that are no table": ('cache = "labels"', "options = 3", "labels.options"),
    "two kinds of one name": ("min_length = 0.0", "[[supercells.kinds]]\n[[supercells.kinds]]", "one name"),
    "no TOML": ("[stop]", "[stop", "is not valid TOML"),
    "a key twice": ("n_members = 2", "n_members = 2\nn_members = 3", "is not valid TOML"),
    "a trainer that is not there": ("testing:PairPotentialTrainer", "testing:PairPotentialTrainr", "Did you mean"),
    "a module that is not there": ("al_committee.testing:Pair", "al_comittee.testing:Pair", "cannot be imported"),
    "a registered name without a host": ("al_committee.testing:PairPotentialTrainer", "sdnnff", "screen-cli al"),
    "a source that is not there": ("crystals.extxyz", "crystal.extxyz", "does not exist"),
    "a source that raises": ("crystals.extxyz", "odd:raises", "ValueError: the server is down"),
    "a source of numbers": ("crystals.extxyz", "odd:numbers", "yields int, expected (id, Atoms)"),
    "a source of nothing": ("crystals.extxyz", "odd:nothing", "TypeError"),
    "a strategy that is not there": (
        "[stop]",
        '[selection]\nstrategy = "worst"\n[stop]',
        "Did you mean 'worst-first'?",
    ),
    "a cost that is not there": ("[stop]", '[selection]\ncost = "atom"\n[stop]', "Did you mean 'atoms'?"),
    "formulas that are not there": ("test_structures = 1", 'held_out_formulas = "x.txt"', "cannot be read"),
    "formulas that are none": ("test_structures = 1", 'held_out_formulas = "odd.py"', "is no chemical formula"),
}


@pytest.mark.parametrize("name", CHANGES)
def test_a_config_with_a_fault(folder, capsys, name):
    old, new, sentence = CHANGES[name]
    assert old in GOOD
    (folder / "loop.toml").write_text(GOOD.replace(old, new))
    code, lines = said(capsys, "init", "loop.toml", "run")
    assert code == EXIT_INPUT
    assert len(lines) == 1
    assert sentence in lines[0]


def test_every_fault_is_named_at_once(folder, capsys):
    bad = GOOD.replace("n_members = 2", "n_members = 1").replace("n_supercells = 1", "n_supercell = 1")
    (folder / "loop.toml").write_text(bad)
    _, lines = said(capsys, "init", "loop.toml", "run")
    assert "line 7: unknown key 'supercells.n_supercell'. Did you mean 'n_supercells'?" in lines[0]
    assert "line 15: training.n_members is 1" in lines[0]


FILES = {
    "missing": (None, "No such file"),
    "a folder": ("folder", "is no file but a folder"),
    "UTF-16": (GOOD.encode("utf-16"), "UTF-8"),
    "binary": (b"\x00\xff\xfe\x80" * 40, "UTF-8"),
    "nested without end": (b"x = " + b"[" * 5000, "is not valid TOML"),
    "empty": (b"", "pool.source, training.trainer, labels.factory"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_file_that_is_none(folder, capsys, name):
    content, sentence = FILES[name]
    path = folder / "loop.toml"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    code, lines = said(capsys, "init", "loop.toml", "run")
    assert (code, len(lines)) == (EXIT_INPUT, 1)
    assert sentence in lines[0]


def crystals(kind):
    """Files of crystals that are none."""
    atoms = bulk("Cu")
    if kind == "NaN":
        atoms.positions[0, 0] = np.nan
        write("crystals.extxyz", atoms)
    elif kind == "ids twice":
        atoms.info["id"] = "one"
        write("crystals.extxyz", [atoms, atoms])
    elif kind == "no element":
        atoms.numbers[0] = 0
        write("crystals.extxyz", atoms)
    elif kind == "cut":
        write("crystals.extxyz", [atoms * (2, 2, 2)] * 2)
        text = Path("crystals.extxyz").read_text()
        Path("crystals.extxyz").write_text(text[: int(0.7 * len(text))])
    else:
        content = {"empty": b"", "binary": bytes(range(256)) * 9, "counts": b"999999999999\nLattice\n"}[kind]
        Path("crystals.extxyz").write_bytes(content)


@pytest.mark.parametrize("kind", ["NaN", "no element", "ids twice", "cut", "empty", "binary", "counts"])
def test_a_pool_that_is_none(folder, capsys, kind):
    crystals(kind)
    (folder / "loop.toml").write_text(GOOD)
    code, lines = said(capsys, "init", "loop.toml", "run")
    assert (code, len(lines)) == (EXIT_INPUT, 1)
    assert not (folder / "run" / "pool.sqlite").exists()
    assert not list((folder / "run").glob(".*.tmp"))


def test_a_mended_pool_goes_on_in_the_same_run_directory(folder, capsys):
    good = (folder / "crystals.extxyz").read_text()
    crystals("cut")
    (folder / "loop.toml").write_text(GOOD)
    assert main(["init", "loop.toml", "run"]) == EXIT_INPUT
    (folder / "crystals.extxyz").write_text(good)
    assert main(["init", "loop.toml", "run"]) == EXIT_OK
    assert "3 crystals" in capsys.readouterr().out


@pytest.fixture
def run(folder, capsys):
    (folder / "loop.toml").write_text(GOOD)
    assert main(["init", "loop.toml", "run"]) == EXIT_OK
    capsys.readouterr()
    return folder / "run"


def damage(run, what):
    """Damage a run directory."""
    manifest = json.loads((run / "manifest.json").read_text())
    if what == "changed by hand":
        manifest["config"]["seed"] = 77
    else:
        del manifest["checksum"]  # as whoever wrote it so would have written one that fits
    if what == "older format":
        manifest["format"] = 1
    elif what == "newer format":
        manifest["format"] = 99
    elif what == "no config":
        del manifest["config"]
    elif what == "config of another kind":
        manifest["config"]["pool"] = 3
    (run / "manifest.json").write_text(json.dumps(manifest) if what != "no JSON" else "{")
    if what == "pool cut":
        (run / "pool.sqlite").write_bytes((run / "pool.sqlite").read_bytes()[:300])
    if what == "record of another kind":
        (run / "rounds" / "000").mkdir(parents=True)
        (run / "rounds" / "000" / "selection.json").write_text('{"selected": 3}')
    if what == "record that is a list":
        (run / "rounds" / "000").mkdir(parents=True)
        (run / "rounds" / "000" / "selection.json").write_text("[]")


@pytest.mark.parametrize(
    ("what", "code", "sentence"),
    [
        ("older format", EXIT_ERROR, "al-committee adopt"),
        ("newer format", EXIT_ERROR, "Update al-committee"),
        ("changed by hand", EXIT_ERROR, "checksum does not fit"),
        ("no config", EXIT_ERROR, "is damaged"),
        ("config of another kind", EXIT_INPUT, "must be a table"),
        ("no JSON", EXIT_ERROR, "no valid JSON"),
        ("pool cut", EXIT_INPUT, "is damaged"),
        ("record of another kind", EXIT_ERROR, "is no SelectionRecord"),
        ("record that is a list", EXIT_ERROR, "no valid JSON"),
    ],
)
def test_a_damaged_run_directory(run, capsys, what, code, sentence):
    damage(run, what)
    found, lines = said(capsys, "run", "run")
    assert (found, len(lines)) == (code, 1)
    assert sentence in lines[0]


@pytest.mark.parametrize(
    ("arguments", "code", "sentence"),
    [
        (["run", "nowhere"], EXIT_ERROR, "is no run directory"),
        (["run", "loop.toml"], EXIT_ERROR, "is no run directory"),
        (["run", "run", "--walltime", "soon"], EXIT_INPUT, "is not understood"),
        (["redo", "run"], EXIT_INPUT, "nothing to redo"),
        (["redo", "run", "--round", "7"], EXIT_INPUT, "does not exist"),
        (["export", "run", "x.extxyz"], EXIT_ERROR, "no labels yet"),
        (["export", "run", "x.extxyz", "--round", "3"], EXIT_INPUT, "does not exist"),
        (["calibrate", "run"], EXIT_ERROR, "no trained committee"),
        (["adopt", "run"], EXIT_ERROR, "no labels yet"),
        (["init", "loop.toml", "odd.py"], EXIT_ERROR, "Choose a new folder"),
        (["init", "loop.toml", "."], EXIT_ERROR, "Choose a new folder"),
    ],
)
def test_a_command_that_cannot_be_done(run, capsys, arguments, code, sentence):
    found, lines = said(capsys, *arguments)
    assert (found, len(lines)) == (code, 1)
    assert sentence in lines[0]


def test_what_a_trained_run_refuses(run, capsys):
    assert main(["run", "run"]) == EXIT_OK
    for arguments, sentence in (
        (["calibrate", "run", "--data", "nothing.extxyz"], "does not exist"),
        (["calibrate", "run", "--data", "odd.py"], "cannot be read"),
        (["calibrate", "run", "--data", "crystals.extxyz"], "has no forces"),
        (["export", "run", "labels.nonsense"], "ASE writes no such file"),
    ):
        capsys.readouterr()
        code, lines = said(capsys, *arguments)
        assert code in (EXIT_INPUT, EXIT_ERROR)
        assert len(lines) == 1
        assert sentence in lines[0]


@pytest.mark.skipif(os.geteuid() == 0, reason="nothing is read-only for root")
def test_a_read_only_folder(folder, capsys):
    (folder / "loop.toml").write_text(GOOD)
    folder.chmod(0o500)
    code, lines = said(capsys, "init", "loop.toml", "run")
    folder.chmod(0o700)
    assert (code, len(lines)) == (EXIT_ERROR, 1)


def test_a_full_disk_is_a_sentence(run, capsys, monkeypatch):
    def full(*arguments):
        raise OSError(28, "No space left on device", str(run / "live.html"))

    monkeypatch.setattr("al_committee.file_access.atomic_write.os.replace", full)
    code, lines = said(capsys, "run", "run")
    assert (code, len(lines)) == (EXIT_ERROR, 1)
    assert "No space left on device" in lines[0]


def test_what_nobody_expected_is_reported(run, capsys, monkeypatch):
    def broken(*arguments, **options):
        raise RuntimeError("a fault of ours")

    monkeypatch.setattr("al_committee.cli.commands.build_loop", broken)
    code, lines = said(capsys, "run", "run")
    assert (code, len(lines)) == (EXIT_CRASH, 1)
    assert "unexpected RuntimeError: a fault of ours" in lines[0]
    (path,) = run.parent.glob("al-committee-crash-*.txt")
    report = path.read_text()
    assert "Traceback" in report
    assert "numpy" in report
    assert main(["run", "run", "--debug"]) == EXIT_CRASH
    assert "Traceback" in capsys.readouterr().err


def test_debug_shows_the_trace_of_an_expected_error(folder, capsys):
    assert main(["--debug", "run", "nowhere"]) == EXIT_ERROR
    assert "Traceback" in capsys.readouterr().err


def test_help_is_light():
    program = (
        "import sys; from al_committee.cli import main; main(['--help']); "
        "print([name for name in ('ase', 'scipy', 'pydantic') if name in sys.modules])"
    )
    found = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert found.stdout.splitlines()[-1] == "[]"


@pytest.mark.parametrize(
    ("arguments", "nearest"),
    [
        (["statsu", "run"], "status"),
        (["run", "run", "--waltime", "5m"], "--walltime"),
        (["redo", "run", "--rond", "1"], "--round"),
    ],
)
def test_what_is_misspelt_is_asked_back(arguments, nearest, capsys):
    assert main(arguments) == EXIT_INPUT
    assert "Did you mean" in (said := capsys.readouterr().err)
    assert nearest in said


def test_the_options_for_everybody_stand_before_or_after_the_command(run, capsys):
    for arguments in (["--debug", "run", "nowhere"], ["run", "nowhere", "--debug"]):
        assert main(arguments) == EXIT_ERROR
        assert "Traceback" in capsys.readouterr().err
    for command in ((), ("status",), ("calibrate",)):
        assert main([*command, "-h"]) == EXIT_OK
        assert "Usage: al-committee" in capsys.readouterr().out
    assert main(["--version"]) == EXIT_OK
    assert main(["status", "run"]) == EXIT_OK
    assert "no round yet" in capsys.readouterr().out
