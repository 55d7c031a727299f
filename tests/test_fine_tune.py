"""The fine-tuning recipe from crystals to the table of errors: EMT labels, a small model trained on the spot."""

from __future__ import annotations

import importlib.util
import json
import tomllib
from pathlib import Path

import numpy as np
import pytest
from ase.build import bulk
from ase.io import read, write

from sdnnff_calc import SDNNFF, load_model
from sdnnff_calc.config import DataConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.testing import SMALL_CONFIGS, label_with_emt
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import train_committee

RECIPE = Path(__file__).parents[1] / "recipes" / "fine_tune.py"
METALS = {"Al": 3.99, "Ag": 4.06, "Au": 4.06}


@pytest.fixture(scope="module")
def recipe():
    spec = importlib.util.spec_from_file_location("fine_tune", RECIPE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def labelled(recipe, tmp_path_factory):
    """Three metals, four supercells each; Cu is the data of a general model that knows nothing of them."""
    folder = tmp_path_factory.mktemp("recipe")
    write(folder / "metals.extxyz", [bulk(symbol, a=a) for symbol, a in METALS.items()])
    copper = label_with_emt(16)
    write(folder / "copper.extxyz", copper)
    cutoff = SMALL_CONFIGS["conservative-1-scaled"].cutoff
    training = TrainingConfig(workdir=str(folder / "general"), epochs=15, batch_atoms=32, learning_rate=1e-2)
    config = RunConfig(model=SMALL_CONFIGS["conservative-1-scaled"], data=DataConfig(), training=training)
    stores = Stores(store_of(copper[4:], cutoff), store_of(copper[:4], cutoff), DataReport())
    train_committee(config, stores)
    out = ["--out", str(folder / "out")]
    structures = ["--structures", str(folder / "metals.extxyz"), "--number", "4", "--max-atoms", "8"]
    recipe.main(["supercells", *out, *structures])
    recipe.main(["label", *out, "-c", "emt"])
    return folder


def test_supercells_and_labels_are_phonopy_files_and_are_made_once(recipe, labelled, capsys) -> None:
    out = labelled / "out"
    files = sorted((out / "labelled").glob("*.yaml"))
    assert [file.stem.split("-")[0] for file in files] == sorted(METALS)
    structures = list(iterate_structures(files))
    assert len(structures) == 12
    ideal = [atoms for _, cells in map(recipe.displaced, files) for atoms in cells]
    assert np.allclose(structures[0].positions, ideal[0].positions)
    calculator = recipe.make_calculator("emt")
    for atoms in structures[::5]:
        assert np.allclose(atoms.get_forces(), calculator.get_forces(atoms.copy()), atol=1e-8)
    before = {file: file.stat().st_mtime_ns for file in files}
    recipe.main(["label", "--out", str(out), "-c", "emt"])
    assert {file: file.stat().st_mtime_ns for file in files} == before


def test_a_lost_labelled_file_costs_no_new_label(recipe, labelled, tmp_path, monkeypatch) -> None:
    """Labels are kept one by one: after a kill only the missing ones are computed."""
    lost = next((labelled / "out" / "labelled").glob("Al-*.yaml"))
    text = lost.read_text()
    lost.unlink()

    def refuse(*_: object) -> None:
        raise AssertionError("a label was computed again")

    monkeypatch.setattr("ase.calculators.emt.EMT.calculate", refuse)
    recipe.main(["label", "--out", str(labelled / "out"), "-c", "emt"])
    assert lost.read_text() == text


def test_labels_by_dft_files_are_asked_for_and_waited_for(recipe, labelled, tmp_path, capsys) -> None:
    folder = tmp_path / "out"
    (folder / "supercells").mkdir(parents=True)
    for file in (labelled / "out" / "supercells").glob("Al-*.yaml"):
        (folder / "supercells" / file.name).write_text(file.read_text())
    recipe.main(["label", "--out", str(folder), "-c", "vasp", "-o", "xc=pbe", "-o", "encut=300"])
    assert len(list(folder.glob("dft/*/POSCAR"))) == 4
    assert "0 of 4 labels" in capsys.readouterr().out
    with pytest.raises(SystemExit, match="run the step before"):
        recipe.main(["tune", "--out", str(folder), "--model", "none.pt"])


@pytest.mark.slow
def test_tuning_learns_the_new_crystals_and_replay_keeps_the_old(recipe, labelled, capsys) -> None:
    out, general = labelled / "out", labelled / "general" / "model.pt"
    common = ["--out", str(out), "--leave-out", "Au"]
    model = ["--model", str(general)]
    replay = ["--replay", str(labelled / "copper.extxyz")]
    methods = ["--methods", "full", "full-replay", "adapters-replay-fc2", "--steps", "400"]
    recipe.main(["tune", *common, *model, *replay, *methods])
    config = tomllib.loads((out / "full" / "tune.toml").read_text())
    assert not any("Au-" in name for name in config["data"]["train"])
    recipe.main(["errors", *common, *model, "--elsewhere", str(labelled / "copper.extxyz")])
    printed = capsys.readouterr().out
    found = json.loads((out / "errors.json").read_text())
    assert found["before"]["new crystals"] is None  # it knows copper only, and says so
    assert "| before | unknown element | unknown element |" in printed
    rmse = {m: found[m]["elsewhere"]["force_rmse_ev_per_angstrom"] for m in found}
    assert set(rmse) == {"before", "full", "full-replay", "adapters-replay-fc2"}
    assert all(found[m]["new crystals"]["relative_force_rmse"] < 0.3 for m in set(rmse) - {"before"})
    assert rmse["full-replay"] < 0.7 * rmse["full"]
    assert all(f"| {m} |" in printed for m in rmse)
    copper = read(labelled / "copper.extxyz", ":")
    tuned = SDNNFF(out / "full" / "model.pt")
    assert rmse["full"] == pytest.approx(evaluate_forces(tuned, copper).rmse)
    assert load_model(general).config == load_model(out / "full" / "model.pt").config


def test_the_weights_in_the_wheel_go_by_name(recipe, labelled, monkeypatch) -> None:
    monkeypatch.setattr(recipe, "sdnnff", lambda _: 0)
    recipe.main(["tune", "--out", str(labelled / "out"), "--model", "default", "--methods", "head"])
    config = tomllib.loads((labelled / "out" / "head" / "tune.toml").read_text())
    assert config["finetune"]["model"] == "default"


def test_wrong_names_say_what_is_there(recipe, labelled) -> None:
    common = ["--out", str(labelled / "out"), "--model", str(labelled / "general" / "model.pt")]
    with pytest.raises(SystemExit, match="--leave-out Xe is no labelled crystal: Ag-"):
        recipe.main(["tune", *common, "--leave-out", "Xe"])
    with pytest.raises(SystemExit, match="half is no method"):
        recipe.main(["tune", *common, "--methods", "half"])
    with pytest.raises(SystemExit, match="needs --replay"):
        recipe.main(["tune", *common, "--methods", "head-replay"])


@pytest.mark.slow
def test_sevennet_is_trained_by_its_own_trainer(recipe, labelled, capsys) -> None:
    """Twice: the second call finds the checkpoint. Forces of EMT are far from DFT's, so a step must lower the error."""
    pytest.importorskip("sevenn")
    out = labelled / "out"
    common = ["--out", str(out), "--leave-out", "Ag", "Au"]
    recipe.main(["sevennet", *common, "--epochs", "4", "--replay", str(labelled / "copper.extxyz")])
    best = out / "sevennet" / "checkpoint_best.pth"
    stamp = best.stat().st_mtime_ns
    recipe.main(["sevennet", *common, "--epochs", "4"])
    assert best.stat().st_mtime_ns == stamp
    unseen = read(out / "sevennet" / "valid.extxyz", ":")
    assert len(read(out / "sevennet" / "train.extxyz", ":")) == 3
    error = []
    for options in ({"model": "0"}, {"model": str(best), "trust": True}):
        calculator = recipe.make_calculator("sevennet", {**options, "device": "cpu"})
        assert unseen[0].get_potential_energy() == pytest.approx(calculator.get_potential_energy(unseen[0]), abs=0.5)
        error.append(evaluate_forces(recipe.OneByOne(calculator), unseen).rmse)
    assert error[1] < 0.9 * error[0]
