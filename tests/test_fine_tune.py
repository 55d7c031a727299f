"""The fine-tuning recipe from crystals to the table of errors: EMT labels, a small model trained on the spot."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import yaml
from ase.build import bulk
from ase.io import read, write

from screen_cli.calculators.environments.virtual import environment_of, environments_folder
from sdnnff_calc import SDNNFF, load_model
from sdnnff_calc.config import DataConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.testing import SMALL_CONFIGS, label_with_emt
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import train_committee

RECIPES = Path(__file__).parents[1] / "recipes"
ENVIRONMENTS = environments_folder()
"""The user's, before the tests get a folder of their own."""
METALS = {"Al": 3.99, "Ag": 4.06, "Au": 4.06}


@pytest.fixture(scope="module")
def recipe():
    sys.path.insert(0, str(RECIPES))
    try:
        import fine_tune

        yield fine_tune
    finally:
        sys.path.remove(str(RECIPES))
        for name in ("fine_tune", "fine_tune_trainers", "fine_tune_nequix"):
            sys.modules.pop(name, None)


@pytest.fixture
def place(monkeypatch):
    """Give the interpreter of an environment that the user made by ``screen-cli env create``, or skip."""
    monkeypatch.setenv("SCREEN_ENVIRONMENTS", str(ENVIRONMENTS))

    def of(name: str) -> Path:
        found = environment_of(name)
        if found is None:
            pytest.skip(f"{name} has no environment of its own here: screen-cli env create {name}")
        return found.python

    return of


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


TINY_NEQUIX = """
import json, sys
import jax
from nequix.model import Nequix, save_model
config = dict(cutoff=4.0, hidden_irreps="8x0e + 4x1o", lmax=1, n_layers=2, radial_basis_size=4, radial_mlp_size=8,
    radial_mlp_layers=1, radial_polynomial_p=6.0, mlp_init_scale=4.0, index_weights=False, layer_norm=True, shift=0.0,
    scale=1.0, avg_n_neighbors=12.0)
numbers = json.loads(sys.argv[2])
model = Nequix(jax.random.key(1), n_species=len(numbers), atom_energies=[0.0] * len(numbers), kernel=False, **config)
about = dict(atomic_numbers=numbers, atom_energies={str(z): 0.0 for z in numbers}, energy_weight=1.0, force_weight=1.0,
    stress_weight=1.0, **config)
save_model(sys.argv[1], model, about)
"""
TINY_MACE = """
import json, sys
import mace  # first: e3nn 0.4 needs it with a present torch
import numpy as np, torch
from e3nn import o3
from mace import modules
torch.set_default_dtype(torch.float64)
torch.manual_seed(1)
numbers = json.loads(sys.argv[2])
block = modules.interaction_classes
torch.save(modules.ScaleShiftMACE(
    r_max=4.0, num_bessel=4, num_polynomial_cutoff=5, max_ell=2, num_interactions=2, num_elements=len(numbers),
    interaction_cls=block["RealAgnosticResidualInteractionBlock"], correlation=2, gate=torch.nn.functional.silu,
    interaction_cls_first=block["RealAgnosticInteractionBlock"], hidden_irreps=o3.Irreps("8x0e + 8x1o"),
    MLP_irreps=o3.Irreps("8x0e"), atomic_energies=np.zeros(len(numbers)), avg_num_neighbors=12.0,
    atomic_numbers=numbers, atomic_inter_scale=1.0, atomic_inter_shift=0.0), sys.argv[1])
"""
KNOWN = "[13, 29]"


@pytest.mark.slow
def test_nequix_is_trained_by_its_own_trainer(recipe, labelled, place, tmp_path, monkeypatch, capsys) -> None:
    """A model with random weights. Given again it does nothing; with more epochs it goes on where it ended."""
    start = tmp_path / "tiny.nqx"
    subprocess.run([place("nequix"), "-c", TINY_NEQUIX, start, KNOWN], check=True)
    out = other_folder(labelled, tmp_path / "alone")  # without the models of other tests
    common = ["--out", str(out), "--leave-out", "Ag", "Au"]
    copper = ["--replay", str(labelled / "copper.extxyz")]
    settings = ["--start", str(start), "--rate", "1e-2"]
    recipe.main(["nequix", *common, *settings, *copper, "--steps", "30"])
    folder = out / "nequix"
    tuned = folder / "model.pt"
    stamp = tuned.stat().st_mtime_ns
    recipe.main(["nequix", *common, *settings, *copper, "--steps", "30"])
    assert tuned.stat().st_mtime_ns == stamp
    steps = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert max(steps) == 30
    tuned.unlink()
    config = yaml.safe_load((folder / "config.yaml").read_text())
    (folder / "config.yaml").write_text(yaml.safe_dump(config | {"n_epochs": config["n_epochs"] + 1}))
    recipe.main(["nequix", *common, *settings, *copper])
    more = [json.loads(line)["step"] for line in (folder / "log.jsonl").read_text().splitlines()]
    assert max(more) == 33
    assert min(more[len(steps) :]) == 31
    recipe.main(["nequix", *common, *settings, *copper, "--steps", "20", "--force-constants"])
    unlabelled = read(labelled / "copper.extxyz", ":4")
    for atoms in unlabelled:
        atoms.calc = None
    write(tmp_path / "unlabelled.extxyz", unlabelled)
    recipe.main(["errors", *common, "--elsewhere", str(tmp_path / "unlabelled.extxyz")])
    found = json.loads((out / "errors.json").read_text())
    before, after, constants = (
        found[name]["new crystals"]["force_rmse_ev_per_angstrom"] for name in ("nequix before", "nequix", "nequix-fc2")
    )
    assert after < 0.9 * before
    assert constants < 0.9 * before
    assert found["nequix before"]["elsewhere"]["force_rmse_ev_per_angstrom"] < 1e-6
    assert found["nequix"]["elsewhere"]["force_rmse_ev_per_angstrom"] > 1e-6
    assert found["nequix"]["left out"] is None  # silver and gold are unknown to it
    with pytest.raises(SystemExit, match="exit code 1"):
        recipe.main(["nequix", "--out", str(other_folder(labelled, tmp_path)), *settings])


@pytest.mark.slow
def test_mace_is_trained_by_its_own_trainer(recipe, labelled, place, tmp_path, capsys) -> None:
    start = tmp_path / "tiny.model"
    subprocess.run([place("mace"), "-c", TINY_MACE, start, KNOWN], check=True, stderr=subprocess.DEVNULL)
    common = ["--out", str(labelled / "out"), "--leave-out", "Ag", "Au"]
    settings = ["--start", str(start), "--trust", "--rate", "1e-2", "--steps", "30"]
    recipe.main(["mace", *common, *settings, "--replay", str(labelled / "copper.extxyz")])
    tuned = labelled / "out" / "mace" / "model.model"
    stamp = tuned.stat().st_mtime_ns
    recipe.main(["mace", *common, *settings])
    assert tuned.stat().st_mtime_ns == stamp
    recipe.main(["errors", *common])
    found = json.loads((labelled / "out" / "errors.json").read_text())
    before, after = (found[name]["new crystals"]["force_rmse_ev_per_angstrom"] for name in ("mace before", "mace"))
    assert after < 0.9 * before
    with pytest.raises(SystemExit, match="does not know Ag, Au"):
        recipe.main(["mace", "--out", str(other_folder(labelled, tmp_path)), *settings])


def other_folder(labelled: Path, tmp_path: Path) -> Path:
    """Copy the labelled crystals into a folder where nothing was trained."""
    folder = tmp_path / "other" / "labelled"
    folder.mkdir(parents=True)
    for file in (labelled / "out" / "labelled").glob("*.yaml"):
        (folder / file.name).write_text(file.read_text())
    return folder.parent


def test_trainers_of_others_refuse_in_a_sentence(recipe, labelled, tmp_path, monkeypatch) -> None:
    monkeypatch.setenv("SCREEN_ENVIRONMENTS", str(tmp_path / "environments"))
    start, model = tmp_path / "start.nqx", tmp_path / "start.model"
    for file in (start, model):
        file.write_bytes(b"")
    out = ["--out", str(labelled / "out")]
    refused = {
        ("nequix", "--start", str(model)): "expected a file that ends in .nqx",
        ("nequix", "--start", "nequix-mp-1"): "--start nequix-mp-1: expected a file",
        ("nequix", "--start", str(start), "--environment", "./none"): "there is no such folder",
        ("nequix", "--start", str(start), "--environment", sys.executable): "lacks .*nequix.*, which the trainer needs",
        ("mace", "--start", str(model)): "add --trust",
        ("mace", "--start", str(model), "--trust", "--environment", sys.executable): "lacks mace-torch",
    }
    for (step, *options), sentence in refused.items():
        with pytest.raises(SystemExit, match=sentence):
            recipe.main([step, *out, *options])
    monkeypatch.setattr(recipe.fine_tune_trainers, "find_spec", lambda _: None)
    with pytest.raises(SystemExit, match="screen-cli env create nequix"):
        recipe.main(["nequix", *out, "--start", str(start)])
    assert not (labelled / "out" / "nequix" / "train.extxyz").exists()


def test_a_trainer_that_reports_to_the_network_writes_lines_instead(recipe, tmp_path, monkeypatch) -> None:
    import fine_tune_nequix

    for name in ("wandb", "wandb_osh", "wandb_osh.hooks"):
        monkeypatch.setitem(sys.modules, name, None)
    fine_tune_nequix.stand_in(tmp_path)
    import wandb
    from wandb_osh.hooks import TriggerWandbSyncHook

    assert wandb.init(project="nequix").id == wandb.run.id
    wandb.log({"loss": np.float32(0.5)}, step=np.array(3))
    TriggerWandbSyncHook()()
    assert json.loads((tmp_path / "log.jsonl").read_text()) == {"step": 3, "loss": 0.5}
    assert Path(wandb.run.dir) == tmp_path


def test_what_was_forgotten_needs_no_labels(recipe) -> None:
    structures = label_with_emt(2)
    bare = [atoms.copy() for atoms in structures]
    for given in recipe.labelled_by(recipe.OneByOne(recipe.make_calculator("emt")), [*structures, *bare]):
        twin = structures[0] if np.allclose(given.positions, structures[0].positions) else structures[1]
        assert np.allclose(given.get_forces(), twin.get_forces(), atol=1e-8)
    with pytest.raises(SystemExit, match="give --model"):
        recipe.labelled_by(None, bare)
