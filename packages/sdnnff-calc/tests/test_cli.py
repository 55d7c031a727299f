"""The command line, through subprocesses as a user calls it, and the settings it reads."""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import ase.io
import numpy as np
import pytest
import torch
from ase import Atoms

from sdnnff_calc import __version__
from sdnnff_calc.cli import jobs, main
from sdnnff_calc.cli.card import card_lines
from sdnnff_calc.config import read_config
from sdnnff_calc.errors import ConfigError
from sdnnff_calc.models.checkpoint import load_model
from sdnnff_calc.training.evaluation import ForceReport, plot_parity
from sdnnff_calc.training.finetuning.finetune import starting_model

MODEL = """
[model]
cutoff = 4.5
n_radial = 4
n_channels = 8
n_hidden = 16
"""
RUN = """
[data]
train = ["data.extxyz"]
split_by = "supercell"
[training]
workdir = "run"
epochs = {epochs}
batch_atoms = 32
warmup_steps = 2
"""
CONFIG = MODEL + RUN


def sdnnff(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sdnnff_calc.cli", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)


@pytest.fixture
def project(emt_copper: list[Atoms], tmp_path: Path) -> Path:
    ase.io.write(tmp_path / "data.extxyz", emt_copper)
    (tmp_path / "config.toml").write_text(CONFIG.format(epochs=3))
    return tmp_path


def test_train_evaluate_info_embed(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    done = sdnnff("train", project / "config.toml", "--members", "2")
    assert done.returncode == 0, done.stderr
    paths = [Path(line) for line in done.stdout.split()]
    assert paths == [project / "run" / f"member-{k}" / "model.pt" for k in (0, 1)]
    assert "atoms by element: Cu 192" in done.stderr
    assert re.search(r"epoch 3/3: force RMSE .* meV/Å, [1-9]\d* atoms/s, 0:00:00 left", done.stderr)

    assert (
        main(
            [
                "evaluate",
                str(paths[0]),
                str(project / "data.extxyz"),
                "--json",
                "--parity",
                str(project / "p.png"),
            ]
        )
        == 0
    )
    numbers = json.loads(capsys.readouterr().out)
    assert numbers["n_structures"] == 24
    assert numbers["force_rmse_by_element"]["Cu"] == pytest.approx(numbers["force_rmse_ev_per_angstrom"])
    assert len(numbers["force_rmse_by_structure"]) == 24
    assert (project / "p.png").stat().st_size > 1000
    table = (project / "p.csv").read_text().splitlines()
    assert table[0].startswith("label_x_ev_angstrom,")
    pairs = np.loadtxt(table[1:], delimiter=",")
    rmse = np.sqrt(np.mean((pairs[:, 3:] - pairs[:, :3]) ** 2))
    assert rmse == pytest.approx(numbers["force_rmse_ev_per_angstrom"], rel=1e-5)
    assert main(["evaluate", str(paths[0]), str(project / "data.extxyz")]) == 0
    printed = capsys.readouterr().out
    assert f"{1000 * numbers['force_rmse_ev_per_angstrom']:.3f} meV/Å" in printed
    worst = numbers["structures"][int(np.argmax(numbers["force_rmse_by_structure"]))]
    assert f"worst structure: {worst}, " in printed
    assert "data.extxyz" in worst

    assert main(["info", str(paths[0]), "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["elements"] == ["Cu"]
    assert facts["checksum"] == load_model(paths[0]).checksum

    assert main(["embed", str(paths[0]), str(project / "data.extxyz"), "-o", str(project / "e.npy")]) == 0
    vectors = np.load(project / "e.npy")
    assert vectors.shape[0] == 24
    assert vectors.std(axis=0).max() > 0


def test_info_prints_the_card_as_rows(capsys: pytest.CaptureFixture[str]) -> None:
    card = load_model().card
    assert main(["info"]) == 0
    printed = capsys.readouterr().out
    lines = [line.strip() for line in printed.splitlines()]
    assert f"licence: {card['licence']}" in lines
    start = lines.index("unseen_force_errors, meV/Å:")
    table = card["unseen_force_errors_ev_per_angstrom"]
    for line, (kind, numbers) in zip(lines[start + 1 :], table.items(), strict=False):
        assert line.startswith(f"{kind} ")
        assert [float(x) for x in re.findall(r"[a-z] (\d+\.\d)\b", line)] == [
            pytest.approx(1000 * x, abs=0.06) for x in numbers.values()
        ]
    assert "{" not in printed
    assert main(["info", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["card"] == card


def test_a_card_of_any_shape_is_printed() -> None:
    card = {"note": "x", "empty": {}, "counts": {"Na": 3, "all": {"Cl": 1}}, "e_ev_per_angstrom": {"a": 0.01}}
    assert card_lines(card) == [
        "note: x", "empty:", "counts:", "  Na   3", "  all  Cl 1", "e, meV/Å:", "  a  10.0",
    ]  # fmt: skip
    assert card_lines({"energies": {str(k): k / 8 for k in range(21)}})[0].startswith("energies: 0 0, 1 0.125, 2 0.25,")


@pytest.mark.slow
def test_a_killed_training_goes_on_and_ends_like_an_unbroken_one(project: Path) -> None:
    """SIGKILL in the middle of a run; then the same command again."""
    text = CONFIG.format(epochs=14) + "checkpoint_minutes = 0.0005\n"
    (project / "config.toml").write_text(text)
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "sdnnff_calc.cli", "train", str(project / "config.toml")]
    process = subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert process.stderr is not None
    seen = 0
    for line in process.stderr:
        seen += "epoch" in line
        if seen == 5:
            break
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert process.returncode == -signal.SIGKILL
    for folder in ("run", "other"):
        assert main(["train", str(project / "config.toml"), "--workdir", str(project / folder)]) == 0
    a, b = (load_model(project / name / "model.pt") for name in ("run", "other"))
    for name, tensor in a.network.state_dict().items():
        assert torch.equal(tensor, b.network.state_dict()[name]), name


def test_finetune_from_the_command_line(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", str(project / "config.toml")]) == 0
    text = RUN.format(epochs=2).replace('"run"', '"tuned"')
    text += '[finetune]\nmodel = "run/model.pt"\nmethod = "adapters"\nreplay = ["data.extxyz"]\n'
    (project / "tune.toml").write_text(text)
    capsys.readouterr()
    assert main(["finetune", str(project / "tune.toml")]) == 0
    printed = capsys.readouterr()
    assert load_model(printed.out.strip()).config == load_model(project / "run" / "model.pt").config
    assert "24 structures, 192 atomic environments\natoms by element: Cu 192" in printed.err


def test_fine_tuning_finds_the_weights_in_the_wheel_by_name(tmp_path: Path) -> None:
    (tmp_path / "tune.toml").write_text('[finetune]\nmodel = "default"\n')
    assert starting_model(read_config(tmp_path / "tune.toml", "finetune")).checksum == load_model().checksum
    (tmp_path / "tune.toml").write_text('[finetune]\nmodel = "default.pt"\n')
    assert read_config(tmp_path / "tune.toml", "finetune").finetune.model == str(tmp_path / "default.pt")


@pytest.mark.parametrize(
    ("command", "tables", "message"),
    [
        ("train", MODEL, "there is a table [finetune], but train starts from fresh weights"),
        ("finetune", MODEL, "there is a table [model], but fine-tuning takes the architecture"),
        ("finetune", "[training]\ndirect_epochs = 5\n", "direct_epochs is 5: fine-tuning has no direct stage"),
        ("finetune", '[training]\ndtype = "float64"\n', "the model to fine-tune is 'float32'"),
    ],
)
def test_what_a_command_would_not_look_at_is_refused(
    command: str, tables: str, message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "c.toml").write_text(tables + '[finetune]\nmodel = "default"\n')
    assert main([command, str(tmp_path / "c.toml")]) == 2
    assert message in capsys.readouterr().err


@pytest.mark.parametrize("writer", ["matplotlib.figure.Figure.savefig", "numpy.savetxt"])
def test_a_parity_plot_and_its_table_are_whole_or_as_they_were(
    writer: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = np.linspace(-1.0, 1.0, 12).reshape(4, 3)
    report = cast("ForceReport", SimpleNamespace(labels=numbers, predictions=1.1 * numbers, rmse=0.1))
    plot_parity(report, tmp_path / "p.png")
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    assert set(before) == {"p.png", "p.csv"}

    def full_disk(*given: object, **options: object) -> None:
        target = next(item for item in given if isinstance(item, Path) or hasattr(item, "write"))
        if isinstance(target, Path):
            target.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(writer, full_disk)
    with pytest.raises(OSError, match="No space left"):
        plot_parity(report, tmp_path / "p.png")
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_a_parity_plot_that_cannot_be_drawn_is_refused_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Before the model is looked for: there is none."""

    def said(name: str) -> str:
        assert main(["evaluate", "nothing.pt", "nothing.extxyz", "--parity", str(tmp_path / name)]) == 2
        return capsys.readouterr().err

    assert "no model file" in said("p.PNG")
    assert "p.foo ends in no known format of pictures. Choices:" in said("p.foo")
    assert "there is no folder" in said("none/p.png")
    monkeypatch.setitem(sys.modules, "matplotlib.backends.backend_agg", None)
    assert "pip install 'sdnnff-calc[plot]'" in said("p.png")


def test_options_for_everybody_go_before_or_after_the_command(capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = root.level
    for line, level in (
        ("info", before),
        ("-v info", logging.INFO),
        ("info -v", logging.INFO),
        ("info -vv", logging.DEBUG),
    ):
        root.setLevel(before)
        assert main(line.split()) == 0
        assert root.level == level, line
    root.setLevel(before)
    capsys.readouterr()
    for line in ("--debug info nothing.pt", "info nothing.pt --debug"):
        assert main(line.split()) == 2
        assert "Traceback" in capsys.readouterr().err
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"sdnnff-calc {__version__}\n"


def test_what_is_misspelt_is_asked_back(capsys: pytest.CaptureFixture[str]) -> None:
    for line, nearest in (("infoo", "info"), ("train c.toml --wrkdir x", "--workdir"), ("info --jsn", "--json")):
        assert main(line.split()) == 2
        assert nearest in capsys.readouterr().err
    for line in ("-h", "train -h", "finetune --help"):
        assert main(line.split()) == 0
        assert "Usage: sdnnff" in capsys.readouterr().out


def test_mistakes_end_with_a_sentence_and_code_2(project: Path) -> None:
    done = sdnnff("info", project / "nothing.pt")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "no model file" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[model]\ncutof = 5.0\n", "line 2: unknown key 'model.cutof'. Did you mean 'cutoff'?"),
        ("[modell]\n", "line 1: unknown key 'modell'. Did you mean 'model'?"),
        ('[model]\nkind = "sdnf"\n', "line 2: unknown model kind 'sdnf'. Did you mean 'sdnnff'?"),
        ('[model]\ncutoff = "6"\n', "line 2: model.cutoff is '6', expected a valid number."),
        ("[training]\nepochs = 0\n", "line 2: training.epochs is 0, expected at least 1."),
        ('[model]\nkind = "sdnnff"\nsigma = 0.5\n', "above half the spacing, 0.600 Å"),
        ("[training]\ndevice = 3\n", "training.device is 3, expected a valid string."),
        ("[model\n", "not valid TOML"),
        ("training = 3\n", "line 1: 'training' must be a table, got 3."),
    ],
)
def test_wrong_settings_are_explained(text: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "c.toml").write_text(text)
    with pytest.raises(ConfigError, match=re.escape(message)):
        read_config(tmp_path / "c.toml")


def test_help_and_version_do_not_need_torch() -> None:
    start = time.monotonic()
    code = "import sys, sdnnff_calc._screen; print(any(m == 'torch' for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60)
    if "screen_cli" in done.stderr:
        pytest.skip("screen-cli is not installed beside this package")
    assert done.stdout.strip() == "False", done.stderr
    assert time.monotonic() - start < 30


def test_the_time_left_begins_anew_with_the_next_stage(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    now = iter([0.0, 600.0, 1200.0, 1210.0, 1220.0])
    monkeypatch.setattr(jobs, "time", SimpleNamespace(monotonic=lambda: next(now)))
    with jobs._progress() as progress:
        for share in (0.5, 1.0, 0.25, 0.5):
            progress(share, "epoch")  # type: ignore[operator]
    left = [line.rsplit(", ", 1)[1] for line in capsys.readouterr().err.splitlines()]
    assert left == ["0:10:00 left", "0:00:00 left", "? left", "0:00:20 left"]


@pytest.mark.parametrize("name", ["vectors", "missing/vectors.npy"])
def test_vectors_that_cannot_be_written_are_refused_first(
    name: str, project: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(project)
    assert main(["embed", "default", "data.extxyz", "-o", name]) == 2
    assert f"{name} cannot be written: expected a name that ends in .npy" in capsys.readouterr().err


def test_a_folder_that_cannot_be_made_ends_with_a_sentence(project: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (project / "file").write_text("in the way")
    assert main(["train", str(project / "config.toml"), "--workdir", str(project / "file" / "run")]) == 2
    assert "sdnnff: " in capsys.readouterr().err
