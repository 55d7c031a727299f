"""The tutorials: notebooks cell by cell, and the commands of the long ones, run on less."""

from __future__ import annotations

import json
import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import ase.io
import pytest

from screen_cli.cli import main
from screen_cli.store.run_directory import RunDirectory

ROOT = Path(__file__).parents[1]
TUTORIALS = ROOT / "docs" / "tutorials"


def commands(page: str, program: str) -> list[list[str]]:
    """Commands of a program on a page, as arguments."""
    blocks = re.findall(r"```\n(.*?)```", (TUTORIALS / page).read_text(encoding="utf-8"), flags=re.DOTALL)
    lines = "\n".join(blocks).replace("\\\n", " ").splitlines()
    return [shlex.split(line) for line in lines if line.startswith(program + " ")]


def on_less(command: list[str], **values: str) -> list[str]:
    """The command with other values of some of its options, which it must have."""
    kept = list(command)
    for name, value in values.items():
        start = kept.index(f"--{name}")
        end = next((k for k in range(start + 1, len(kept)) if kept[k].startswith("--")), len(kept))
        kept[start + 1 : end] = value.split()
    return kept


def run_script(command: list[str], folder: Path) -> str:
    """Output of a Python command of a page; files go to a folder."""
    environment = {name: value for name, value in os.environ.items() if name != "SDNNFF_REFERENCE_DATA"}
    arguments = [sys.executable, *command[1:]]
    done = subprocess.run(arguments, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_every_tutorial_is_run_by_some_test():
    tests = {
        "active-learning": ROOT / "packages" / "al-committee" / "tests" / "test_documentation.py",
    }
    for page in TUTORIALS.glob("*.md"):
        if page.stem != "index":
            assert f'"{page.name}"' in tests.get(page.stem, Path(__file__)).read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "page",
    [
        pytest.param("first-run.md", marks=pytest.mark.slow),
        "wigner-with-phono3py.md",
        pytest.param("force-field-in-ase.md", marks=pytest.mark.slow),
        pytest.param("league.md", marks=pytest.mark.slow),
        pytest.param("screening-with-prototypes.md", marks=pytest.mark.slow),
        pytest.param("train-and-fine-tune.md", marks=pytest.mark.slow),
    ],
)
def test_cells_of_a_notebook_run_in_order(tmp_path, monkeypatch, page):
    """The cells judge themselves by their own assertions."""
    monkeypatch.chdir(tmp_path)
    text = (TUTORIALS / page).read_text(encoding="utf-8")
    cells = re.findall(r"^```\{code-cell\} ipython3\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(cells) >= 3
    names: dict[str, object] = {"__name__": "cells"}
    for number, cell in enumerate(cells):
        exec(compile(cell, f"cell {number}", "exec"), names)


@pytest.mark.slow
def test_waves_in_an_ultralow_kappa_crystal(tmp_path):
    pytest.importorskip("sevenn")
    (command,) = commands("wigner-ultralow-kappa.md", "python")
    less = on_less(command, pairs="12", cutoff="5.2", mesh="3")
    less[1] = str(TUTORIALS / less[1])
    rows = re.findall(r"^ +12 +5\.2 +3 +([\d.]+) +([\d.]+) +(-?[\d.]+) ", run_script(less, tmp_path), flags=re.M)
    ((particles, waves, lowest),) = rows
    assert float(waves) > 2 * float(particles) > 0
    assert abs(float(lowest)) < 1e-3
    assert json.loads((tmp_path / "wigner_CsLiInBr.json").read_text())["kappa_c"] == pytest.approx(
        float(waves), abs=1e-4
    )
    assert (tmp_path / "wigner_CsLiInBr.png").stat().st_size > 10_000


@pytest.mark.slow
def test_direct_forces_need_random_displacements(tmp_path):
    pytest.importorskip("symfc")
    (command,) = commands("direct-forces.md", "python")
    less = on_less(command, train="10", minutes="0.3", supercells="10 20")
    less[1] = str(ROOT / less[1])
    run_script([*less, "--mesh", "3"], tmp_path)
    rows = [line.split("|")[1:-1] for line in (tmp_path / "direct-forces.md").read_text().splitlines()[2:]]
    acoustic = {(row[0].strip(), row[1].strip()): float(row[-1]) for row in rows}
    assert len(acoustic) == 8
    assert acoustic["direct", "finite differences"] > acoustic["conservative", "finite differences"]
    for (_, route), frequency in acoustic.items():
        assert route == "finite differences" or frequency < 0.02, "fits and symmetrised constants obey the sum rule"
    assert (tmp_path / "direct-forces.svg").is_file()


@pytest.mark.slow
def test_the_search_for_ultralow_conductivity(tmp_path, monkeypatch, capsys):
    """Three of its crystals: one that conducts little, one too stiff, one unstable."""
    pytest.importorskip("sevenn")
    monkeypatch.chdir(tmp_path)
    Path("examples").mkdir()
    Path("examples/ultralow.toml").write_bytes((ROOT / "examples" / "ultralow.toml").read_bytes())
    crystals = ase.io.read(ROOT / "examples" / "ultralow.extxyz", index=":")
    chosen = [atoms for atoms in crystals if atoms.get_chemical_formula(empirical=True) in ("CsI", "OZn", "InTe")]
    assert len(chosen) == 3
    ase.io.write("examples/ultralow.extxyz", chosen)
    first, second, compare = commands("ultralow-search.md", "screen-cli")
    if find_spec("chgnet") is None:
        second = [part.replace("=chgnet", "=sevennet").replace("={}", '={ model = "l3i5" }') for part in second]
    for command in (first, second):
        assert main([*command[1:], "--set", "conductivity.q_spacing=0.6"]) == 0
    rows = {row["formula"]: row for row in RunDirectory.open(Path("ultralow-7net0")).rows()}
    assert rows["CsI"]["state"] == "done"
    assert rows["CsI"]["kappa_total_w_mk"] < 1.0
    assert rows["ZnO"]["kappa_total_w_mk"] is rows["InTe"]["kappa_total_w_mk"] is None
    capsys.readouterr()
    assert main(compare[1:]) == 0
    assert "CsI" in capsys.readouterr().out
    assert Path("both.csv").is_file()
    assert Path("parity.png").stat().st_size > 10_000
