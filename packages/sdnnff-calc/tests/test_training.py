"""Training on EMT copper: it learns, is deterministic, resumes exactly, adapts."""

from __future__ import annotations

import csv
import dataclasses
import functools
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT
from ase.calculators.singlepoint import SinglePointCalculator
from ase.io import write
from ase.units import GPa
from torch import nn

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.config import DataConfig, EquivariantConfig, FinetuneConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.energy_zero import follow_zero
from sdnnff_calc.data.loss_labels import say_once
from sdnnff_calc.data.samples import Sample, collate_samples
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.errors import ConfigError, DataError, MissingExtraError, TrainingError
from sdnnff_calc.models.checkpoint import load_model
from sdnnff_calc.models.heads import Prediction, Statistics, evaluate
from sdnnff_calc.testing import SMALL_CONFIGS, label_with_emt, toy_model
from sdnnff_calc.training import fit, readout_refit
from sdnnff_calc.training.epoch import FitData, validation_errors
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.finetuning.adaptation import add_adapters, merge_adapters
from sdnnff_calc.training.finetuning.finetune import finetune
from sdnnff_calc.training.fit import Fit, Stage
from sdnnff_calc.training.losses import (
    force_constant_files,
    force_constant_loss,
    force_constant_target,
    force_loss,
    read_force_constants,
)
from sdnnff_calc.training.optimisation import make_optimiser
from sdnnff_calc.training.readout_refit import refit_readout
from sdnnff_calc.training.runs import new_model, train_committee
from sdnnff_calc.training.trainer import Trainer
from sdnnff_calc.training.workdirs import held


def stores_of(structures: list[Atoms], cutoff: float = 4.5) -> Stores:
    return Stores(store_of(structures[:-4], cutoff), store_of(structures[-4:], cutoff), DataReport())


def run_config(workdir: Path, name: str = "conservative-1", **training: Any) -> RunConfig:
    defaults: dict[str, Any] = {
        "epochs": 4,
        "batch_atoms": 32,
        "warmup_steps": 5,
        "seed": 3,
        "ema_decay": 0.9,
    }
    settings = TrainingConfig(workdir=str(workdir), **{**defaults, **training})
    return RunConfig(model=SMALL_CONFIGS[name], data=DataConfig(), training=settings)


@pytest.fixture(scope="module")
def base_model(emt_copper: list[Atoms], tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Return a function that trains on copper, once for all tests that ask for the same: its models are only read."""

    @functools.cache
    def base(**training: Any) -> Path:
        (path,) = train_committee(run_config(tmp_path_factory.mktemp("base"), **training), stores_of(emt_copper))
        return path

    return base


@pytest.mark.usefixtures("learning_curves")
@pytest.mark.parametrize("name", ["conservative-1", "direct-1", "conservative-2", "grid"])
def test_every_model_learns_the_toy_teacher(name: str, emt_copper: list[Atoms], tmp_path: Path) -> None:
    epochs = 60 if name == "grid" else 40
    config = run_config(tmp_path, name, epochs=epochs, learning_rate=1e-2)
    stores = stores_of(emt_copper)
    (path,) = train_committee(config, stores)
    model = load_model(path)
    scale = model.statistics.force_scale
    assert model.card["validation_force_rmse_ev_per_angstrom"] < (0.6 if name == "grid" else 0.2) * scale
    with open(tmp_path / f"log-{model.config.head}.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    assert len(rows) == epochs
    assert float(rows[0]["validation_force_rmse"]) > float(rows[-1]["validation_force_rmse"])
    for ending in ("png", "svg", "pdf"):
        assert (tmp_path / f"learning-curve.{ending}").stat().st_size > 1000


def test_energies_and_stresses_are_learned(emt_copper: list[Atoms], tmp_path: Path) -> None:
    config = run_config(tmp_path, epochs=60, learning_rate=1e-2, energy_weight=1.0, stress_weight=1.0, ema_decay=0.98)
    (path,) = train_committee(config, stores_of(emt_copper))
    calculator = SDNNFF(path)
    results = calculator.predict(emt_copper)
    energy = np.array([r["energy"] for r in results])
    label = np.array([a.calc.results["energy"] for a in emt_copper])
    assert np.abs(energy - label).mean() < 0.35 * label.std()
    stress = np.array([r["stress"] for r in results])
    stress_label = np.array([a.calc.results["stress"] for a in emt_copper])
    assert np.corrcoef(stress.ravel(), stress_label.ravel())[0, 1] > 0.9
    report = evaluate_forces(calculator, emt_copper)
    assert report.stress_mae == pytest.approx(np.abs(stress - stress_label).mean(), rel=1e-6)
    assert f"stress MAE {report.stress_mae / GPa:9.3f} GPa" in report.lines()
    with open(tmp_path / "log-conservative.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    for column in ("validation_energy_mae", "validation_stress_mae"):
        assert float(rows[-1][column]) < 0.5 * float(rows[0][column])


def test_validation_errors_are_those_of_the_evaluation(emt_copper: list[Atoms], tmp_path: Path) -> None:
    config = run_config(tmp_path, epochs=1, energy_weight=1.0, stress_weight=1.0)
    model = load_model(train_committee(config, stores_of(emt_copper))[0])
    found = validation_errors(model, store_of(emt_copper, 4.5), config.training)
    report = evaluate_forces(SDNNFF(model), emt_copper)
    assert found.force_rmse == pytest.approx(report.rmse, rel=1e-4)
    assert found.energy_mae == pytest.approx(report.energy_mae, rel=1e-4)
    matrix = [np.abs(r["stress"] - a.calc.results["stress"])[[0, 1, 2, 3, 3, 4, 4, 5, 5]].mean()
              for r, a in zip(SDNNFF(model).predict(emt_copper), emt_copper, strict=True)]  # fmt: skip
    assert found.stress_mae == pytest.approx(np.mean(matrix), rel=1e-4)
    bare = [atoms.copy() for atoms in emt_copper[:2]]
    for atoms, labelled in zip(bare, emt_copper, strict=False):
        atoms.calc = SinglePointCalculator(atoms, forces=labelled.get_forces())
    unknown = validation_errors(model, store_of(bare, 4.5), config.training)
    assert unknown.energy_mae is None
    assert unknown.stress_mae is None


@pytest.fixture(scope="session")
def copper_force_constants(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A phonopy file with EMT force constants of the 8-atom cell."""
    phonopy = pytest.importorskip("phonopy")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = bulk("Cu")
    unit = PhonopyAtoms(symbols=["Cu"], cell=cell.cell.array, scaled_positions=[[0, 0, 0]])
    phonon = phonopy.Phonopy(unit, np.diag([2, 2, 2]), primitive_matrix=np.eye(3), log_level=0)
    phonon.generate_displacements(distance=0.01)
    displaced = [
        Atoms(s.symbols, cell=s.cell, positions=s.positions, pbc=True) for s in phonon.supercells_with_displacements
    ]
    phonon.forces = np.array([EMT().get_forces(atoms) for atoms in displaced])
    phonon.produce_force_constants()
    path = tmp_path_factory.mktemp("fc2") / "phonopy_params.yaml"
    phonon.save(path, settings={"force_constants": True})
    return path


@pytest.mark.parametrize("name", ["conservative-1", "direct-1"])
def test_the_force_constant_loss_alone_teaches_fc2(
    name: str, emt_copper: list[Atoms], copper_force_constants: Path, tmp_path: Path
) -> None:
    stores = stores_of(emt_copper[:6])
    settings: dict[str, Any] = {"force_weight": 0.0, "force_constant_weight": 1.0, "refit_atoms": 0}
    settings |= {"force_constants": (str(copper_force_constants),), "epochs": 30, "learning_rate": 1e-2}
    config = run_config(tmp_path, name, **settings)
    model = new_model(config.model, stores.train, "float32", 3, False)
    target = read_force_constants(copper_force_constants, model.config.cutoff, model.dtype, "cpu")

    def error() -> float:
        draw = torch.Generator().manual_seed(0)
        loss = force_constant_loss(model.network, target, model.statistics, model.config.head, draw)
        return float(loss.detach()) ** 0.5

    before = error()
    Fit(model, FitData(stores.train, stores.validation), config.training, Stage("fc2", tmp_path)).run()
    assert error() < 0.5 * before


def test_the_force_constant_loss_needs_a_file(emt_copper: list[Atoms], tmp_path: Path) -> None:
    with pytest.raises(TrainingError, match="force_constants names no file"):
        train_committee(run_config(tmp_path, force_constant_weight=1.0), stores_of(emt_copper))


def test_a_workdir_of_other_force_constants_is_not_continued(
    emt_copper: list[Atoms], copper_force_constants: Path, tmp_path: Path
) -> None:
    file = tmp_path / "phonopy_params.yaml"
    file.write_bytes(copper_force_constants.read_bytes())
    stores = stores_of(emt_copper[:6])
    config = run_config(tmp_path / "run", epochs=1, force_constant_weight=1.0, force_constants=(str(file),))
    train_committee(config, stores)
    train_committee(config, stores)  # goes on
    file.write_text(file.read_text() + "\n# another fit\n")
    with pytest.raises(TrainingError, match="other settings or data"):
        train_committee(config, stores)


def test_a_refit_on_forces_does_not_undo_the_force_constant_loss(
    emt_copper: list[Atoms], copper_force_constants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refits: list[str] = []
    monkeypatch.setattr(readout_refit, "refit_readout", lambda *_, **__: refits.append("forces") or float("nan"))
    stores = stores_of(emt_copper[:6])
    train_committee(run_config(tmp_path / "forces", epochs=1), stores)
    constants = {"force_constant_weight": 1.0, "force_constants": (str(copper_force_constants),)}
    train_committee(run_config(tmp_path / "both", epochs=1, **constants), stores)
    assert refits == ["forces"]


@pytest.mark.parametrize("weight", ["energy_weight", "stress_weight"])
def test_a_weight_that_nothing_comes_of_is_refused(weight: str, emt_copper: list[Atoms], tmp_path: Path) -> None:
    unlabelled = []
    for atoms in emt_copper:
        bare = atoms.copy()
        bare.calc = SinglePointCalculator(bare, forces=atoms.get_forces())
        unlabelled.append(bare)
    with pytest.raises(DataError, match=f"{weight} is 1.0, but no training structure has a label"):
        train_committee(run_config(tmp_path / "bare", **{weight: 1.0}), stores_of(unlabelled))
    with pytest.raises(ConfigError, match=f"{weight} is 1.0, but a direct head gives forces only"):
        train_committee(run_config(tmp_path / "direct", "direct-1", **{weight: 1.0}), stores_of(emt_copper))


def weights_of(path: Path) -> dict[str, torch.Tensor]:
    return load_model(path).network.state_dict()


def same(a: dict[str, torch.Tensor], b: dict[str, torch.Tensor]) -> bool:
    return all(torch.equal(a[name], b[name]) for name in a)


@pytest.mark.parametrize("name", ["conservative-1", "grid"])
def test_one_seed_one_model(name: str, emt_copper: list[Atoms], tmp_path: Path) -> None:
    stores = stores_of(emt_copper)
    (a,) = train_committee(run_config(tmp_path / "a", name), stores)
    (b,) = train_committee(run_config(tmp_path / "b", name), stores)
    (c,) = train_committee(run_config(tmp_path / "c", name, seed=4), stores)
    assert same(weights_of(a), weights_of(b))
    assert not same(weights_of(a), weights_of(c))


@pytest.mark.parametrize("name", sorted(SMALL_CONFIGS))
def test_parameters_do_not_grow_with_the_elements(name: str) -> None:
    """One element or four: the same tensors, of the same sizes."""
    config = SMALL_CONFIGS[name]
    shapes = []
    for metals in (["Cu"], ["Cu", "Al", "Ag", "Pd"]):
        structures = [label_with_emt(1, symbol=symbol)[0] for symbol in metals]
        model = new_model(config, store_of(structures, config.cutoff), "float32", 0, False)
        assert len(model.elements) == len(metals)
        shapes.append({key: tensor.shape for key, tensor in model.network.state_dict().items()})
    assert shapes[0] == shapes[1]


def test_refit_of_the_readout_is_a_least_squares_solution(
    emt_copper: list[Atoms], base_model: Callable[..., Path]
) -> None:
    """It lowers the error on unseen structures, states it rightly, and a second refit finds nothing more."""
    stores = stores_of(emt_copper)
    model = load_model(base_model(epochs=15, learning_rate=1e-2, refit_atoms=0), dtype="float64")
    before = validation_errors(model, stores.validation, TrainingConfig()).force_rmse
    stated = refit_readout(model, stores.train, stores.validation)
    after = validation_errors(model, stores.validation, TrainingConfig()).force_rmse
    assert after < 0.9 * before
    assert stated == pytest.approx(after, rel=1e-6)
    direct = toy_model("direct-1")
    weights = {n: t.clone() for n, t in direct.network.state_dict().items()}
    assert np.isnan(refit_readout(direct, stores.train, stores.validation))
    assert same(weights, direct.network.state_dict())


def test_refit_in_fine_tuning_leaves_earlier_forces_alone(
    emt_copper: list[Atoms], base_model: Callable[..., Path]
) -> None:
    """The new error falls, and forces on earlier data change by less than the bound, far less than without them."""
    stores = stores_of(emt_copper)
    path = base_model(epochs=15, learning_rate=1e-2, refit_atoms=0)
    new = stores_of(label_with_emt(12, seed=1, symbol="Al"))
    old = SDNNFF(path).predict(emt_copper)

    def refit(earlier: Any) -> tuple[float, float, float]:
        model = load_model(path, dtype="float64")
        before = validation_errors(model, new.validation, TrainingConfig()).force_rmse
        after = refit_readout(model, new.train, new.validation, earlier=earlier)
        now = SDNNFF(model).predict(emt_copper)
        moved = [a["forces"] - b["forces"] for a, b in zip(now, old, strict=True)]
        return before, after, float(np.sqrt(np.mean(np.square(moved))))

    before, after, moved = refit(stores.train)
    _, _, moved_freely = refit(None)
    assert after < 0.9 * before
    assert moved < 10.0 * before
    assert moved < 0.5 * moved_freely


class _Killed(BaseException):
    """Stands for a kill in the middle of an epoch."""


@pytest.mark.parametrize(("name", "optimiser"), [("conservative-1", "adamw"), ("grid", "adamw"), ("grid", "muon")])
def test_resume_after_a_kill_is_exact(name: str, optimiser: str, emt_copper: list[Atoms], tmp_path: Path) -> None:
    stores = stores_of(emt_copper)

    def fit(folder: Path) -> Fit:
        config = run_config(folder, name, checkpoint_minutes=0.0, optimiser=optimiser).training
        model = new_model(SMALL_CONFIGS[name], stores.train, "float32", 3, False)
        return Fit(model, FitData(stores.train, stores.validation), config, Stage("test", folder))

    def kill_at(step: int) -> Any:
        def on_step(done: int) -> None:
            if done == step:
                raise _Killed

        return on_step

    whole = fit(tmp_path / "whole").run()
    broken = tmp_path / "broken"
    for step in (3, 8, 12):
        with pytest.raises(_Killed):
            fit(broken).run(on_step=kill_at(step))
    resumed_fit = fit(broken)
    resumed = resumed_fit.run()
    assert same(whole.network.state_dict(), resumed.network.state_dict())
    assert [r.epoch for r in resumed_fit.state.records] == [1, 2, 3, 4]


def test_a_workdir_of_other_settings_is_not_continued(emt_copper: list[Atoms], tmp_path: Path) -> None:
    stores = stores_of(emt_copper)
    train_committee(run_config(tmp_path, epochs=1), stores)
    with pytest.raises(TrainingError, match="other settings"):
        train_committee(run_config(tmp_path, epochs=1, learning_rate=1e-5), stores)


def test_a_workdir_of_other_data_is_not_continued(emt_copper: list[Atoms], tmp_path: Path) -> None:
    train_committee(run_config(tmp_path, epochs=1), stores_of(emt_copper))
    with pytest.raises(TrainingError, match="other settings or data"):
        train_committee(run_config(tmp_path, epochs=1), stores_of(emt_copper[::-1]))


@pytest.fixture(scope="module")
def finished_fine_tuning(base_model: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> RunConfig:
    """A fine-tuning to silver that is finished, and went on where it was when it was called once more."""
    config = run_config(tmp_path_factory.mktemp("silver"), epochs=1)
    config = dataclasses.replace(config, finetune=FinetuneConfig(model=str(base_model(seed=1, epochs=1))))
    silver = stores_of(label_with_emt(8, seed=5, symbol="Ag"))
    assert finetune(config, silver) == finetune(config, silver)
    return config


@pytest.mark.parametrize("change", ["data", "base", "method", "replay"])
def test_a_finished_fine_tuning_is_not_taken_for_another(
    change: str,
    finished_fine_tuning: RunConfig,
    base_model: Callable[..., Path],
    emt_copper: list[Atoms],
    tmp_path: Path,
) -> None:
    write(tmp_path / "old.extxyz", emt_copper[:4])
    changes: dict[str, dict[str, Any]] = {
        "data": {},
        "base": {"model": str(base_model(seed=2, epochs=1))},
        "method": {"method": "head"},
        "replay": {"replay": (str(tmp_path / "old.extxyz"),)},
    }
    other = dataclasses.replace(finished_fine_tuning.finetune, **changes[change])
    data = label_with_emt(8, seed=6 if change == "data" else 5, symbol="Ag")
    with pytest.raises(TrainingError, match="other settings or data"):
        finetune(dataclasses.replace(finished_fine_tuning, finetune=other), stores_of(data))


def test_no_training_overwrites_the_model_of_another(emt_copper: list[Atoms], tmp_path: Path) -> None:
    stores = stores_of(emt_copper)
    (path,) = train_committee(run_config(tmp_path, "direct-1", epochs=1), stores)
    before = path.read_bytes()
    with pytest.raises(TrainingError, match=r"holds resume-direct.pt and model.pt of another training"):
        train_committee(run_config(tmp_path, epochs=1), stores)
    (tmp_path / "resume-direct.pt").unlink()
    with pytest.raises(TrainingError, match=r"holds model.pt of another training"):
        train_committee(run_config(tmp_path, epochs=1), stores)
    config = dataclasses.replace(run_config(tmp_path, epochs=1), finetune=FinetuneConfig(model=str(path)))
    with pytest.raises(TrainingError, match=r"holds model.pt of another training"):
        finetune(config, stores)
    assert path.read_bytes() == before


def test_two_trainings_do_not_share_a_folder(emt_copper: list[Atoms], tmp_path: Path) -> None:
    with held(tmp_path, ["conservative"]), pytest.raises(TrainingError, match="is in use"):
        train_committee(run_config(tmp_path, epochs=1), stores_of(emt_copper))
    train_committee(run_config(tmp_path, epochs=1), stores_of(emt_copper))


def test_a_file_system_without_locks_is_no_reason_to_stop(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_locks(self: object) -> None:
        raise OSError(37, "No locks available")

    monkeypatch.setattr("filelock.FileLock.acquire", no_locks)
    with held(tmp_path, ["conservative"]):
        assert "cannot be locked" in caplog.text


def with_other_energies(structures: list[Atoms], shift: float) -> list[Atoms]:
    """The same forces, energies moved by so many eV per atom."""
    moved = [atoms.copy() for atoms in structures]
    for atoms, old in zip(moved, structures, strict=True):
        energy = old.get_potential_energy() + shift * len(atoms)
        atoms.calc = SinglePointCalculator(atoms, energy=energy, forces=old.get_forces())
    return moved


@pytest.mark.parametrize(("same_zero", "kept"), [(True, 1.0), (False, 0.0)])
def test_replayed_energies_stay_where_both_count_from_one_zero(
    same_zero: bool, kept: float, emt_copper: list[Atoms]
) -> None:
    """Two phases 50 meV per atom apart: what replay should teach, and what looks like a difference of zeros."""
    model = new_model(SMALL_CONFIGS["conservative-1"], store_of(emt_copper, 4.5), "float64", 0, with_energy=True)
    new, old = (store_of(with_other_energies(emt_copper, shift), 4.5) for shift in (-3.05, -3.0))
    replay = follow_zero(model, new, old, same_zero=same_zero)
    assert replay is not None
    apart = [(replay[k].energy - new[k].energy) / new[k].n_atoms for k in range(len(new))]
    assert np.allclose(apart, 0.05 * kept, atol=1e-6)


@pytest.mark.parametrize(("base_weight", "cache"), [(1.0, ""), (1.0, "cache"), (0.0, "")])
def test_fine_tuning_follows_the_zero_of_energy_of_new_data(
    base_weight: float, cache: str, emt_copper: list[Atoms], base_model: Callable[..., Path], tmp_path: Path
) -> None:
    """Replayed labels keep the old zero; a base trained on forces alone has neither."""
    base = base_model(epochs=20, learning_rate=1e-2, energy_weight=base_weight)
    moved = with_other_energies(emt_copper, -300.0)
    write(tmp_path / "old.extxyz", emt_copper)
    config = dataclasses.replace(
        run_config(tmp_path / "fine", epochs=1, learning_rate=1e-5, energy_weight=1.0),
        data=DataConfig(cache=cache and str(tmp_path / cache)),
        finetune=FinetuneConfig(model=str(base), replay=(str(tmp_path / "old.extxyz"),)),
    )
    path = finetune(config, stores_of(moved))

    assert len(list(tmp_path.glob("cache/*/index.json"))) == bool(cache)  # on disk where one is asked for
    predicted = SDNNFF(path).predict(moved)
    errors = [(p["energy"] - a.calc.results["energy"]) / len(a) for p, a in zip(predicted, moved, strict=True)]
    assert abs(np.mean(errors)) < 0.1
    card = load_model(path).card  # its own, not that of the base
    assert set(card) == {"fine_tuned_from", "training", "validation_force_rmse_ev_per_angstrom"}
    assert card["training"] == {
        "structures": len(moved) - 4, "atomic_environments": 8 * (len(moved) - 4), "validation_structures": 4,
        "epochs": 1, "epoch_kept": 1, "seed": 3, "batch_atoms": 32, "learning_rate": 1e-5, "warmup_steps": 5,
        "ema_decay": 0.9, "energy_weight": 1.0,
    }  # fmt: skip
    assert card["fine_tuned_from"] == load_model(base).checksum
    assert np.isfinite(card["validation_force_rmse_ev_per_angstrom"])
    with open(tmp_path / "fine" / "log-finetune.csv", encoding="utf-8") as stream:
        assert float(next(csv.DictReader(stream))["loss"]) < 1.0  # replayed labels moved as well


def test_fine_tuning_says_what_it_leaves_out(
    emt_copper: list[Atoms], base_model: Callable[..., Path], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    base = base_model(seed=1, epochs=1)
    broken = emt_copper[0].copy()
    broken.calc = SinglePointCalculator(broken, forces=np.full((len(broken), 3), np.nan))
    write(tmp_path / "replay.extxyz", [broken])
    config = dataclasses.replace(
        run_config(tmp_path / "fine", epochs=1),
        finetune=FinetuneConfig(model=str(base), replay=(str(tmp_path / "replay.extxyz"),)),
    )
    with pytest.raises(DataError, match="replay: no structure is left"):
        finetune(config, stores_of(emt_copper))
    assert "1 structures left out" in caplog.text
    with pytest.raises(ConfigError, match="adapts one model"):
        finetune(dataclasses.replace(config, training=dataclasses.replace(config.training, n_members=2)))


def test_early_stopping(emt_copper: list[Atoms], tmp_path: Path) -> None:
    config = run_config(tmp_path, epochs=50, patience=2, learning_rate=1e-12)
    train_committee(config, stores_of(emt_copper))
    with open(tmp_path / "log-conservative.csv", encoding="utf-8") as stream:
        assert len(list(csv.DictReader(stream))) < 50


def test_direct_stage_before_the_conservative_one(emt_copper: list[Atoms], tmp_path: Path) -> None:
    train_committee(run_config(tmp_path, direct_epochs=2), stores_of(emt_copper))
    assert (tmp_path / "log-direct.csv").is_file()
    assert load_model(tmp_path / "model.pt").config.head == "conservative"


@pytest.mark.parametrize("name", ["direct-1", "grid"])
def test_a_direct_stage_before_a_direct_head_is_refused(name: str, emt_copper: list[Atoms], tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="direct_epochs needs an e-sdnnff with head = 'conservative'"):
        train_committee(run_config(tmp_path, name, direct_epochs=2), stores_of(emt_copper))


@pytest.mark.usefixtures("learning_curves")
def test_a_missing_learning_curve_is_spoken_of_once(
    emt_copper: list[Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    say_once.cache_clear()
    train_committee(run_config(tmp_path, epochs=1, n_members=2, refit_atoms=0), stores_of(emt_copper[:6]))
    said = [r.message for r in caplog.records if "learning curve" in r.message]
    assert said == ["no learning curve is drawn: plots need matplotlib: pip install 'sdnnff-calc[plot]'."]


def test_committee_members_differ_and_match_their_batched_pass(emt_copper: list[Atoms], tmp_path: Path) -> None:
    table = dataclasses.asdict(SMALL_CONFIGS["conservative-1"])  # as a host reads it from TOML
    trainer = Trainer(table, epochs=2, batch_atoms=32, refit_atoms=0)
    paths = trainer.train(emt_copper[:12], emt_copper[12:16], workdir=tmp_path, seed=1, n_members=3)
    together = trainer.committee(paths).predict_committee(emt_copper[:5])
    assert together["energies"].shape == (3, 5)
    for k, atoms in enumerate(emt_copper[:5]):
        assert together["forces"][k].shape == (3, len(atoms), 3)
    for m, path in enumerate(paths):
        alone = SDNNFF(path).predict(emt_copper[:5])
        for k in range(5):
            assert np.allclose(together["forces"][k][m], alone[k]["forces"], atol=1e-5)
            assert together["energies"][m, k] == pytest.approx(alone[k]["energy"], abs=1e-5)
    assert np.std(together["forces"][0], axis=0).max() > 1e-3
    warm = trainer.train(
        emt_copper[:12], emt_copper[12:16], workdir=tmp_path / "2", seed=1, warm_start=paths, n_members=3
    )
    assert (
        load_model(warm[0]).card["validation_force_rmse_ev_per_angstrom"]
        < load_model(paths[0]).card["validation_force_rmse_ev_per_angstrom"]
    )
    with pytest.raises(ConfigError, match="warm_start"):
        trainer.train(emt_copper[:4], [], workdir=tmp_path / "3", seed=1, warm_start=paths[:1], n_members=3)


@pytest.mark.parametrize("name", list(SMALL_CONFIGS))
def test_mapped_committee_equals_members_in_turn(name: str, salt: Atoms) -> None:
    """The GPU's route (vmap) and the CPU's route give the same numbers."""
    from sdnnff_calc.geometry.environments import build_environments

    models = [toy_model(name, "float64", seed) for seed in range(3)]
    committee = Committee(models, "cpu")
    env = build_environments([salt, salt.repeat((1, 1, 2))], models[0].config.cutoff, torch.float64)
    mapped, in_turn = committee._mapped(env), committee._in_turn(env)
    assert torch.allclose(mapped[0], in_turn[0], atol=1e-10)
    if mapped[1] is not None:
        assert torch.allclose(mapped[1], in_turn[1], atol=1e-9)


def test_a_committee_of_clones_agrees_and_mixed_ones_work(salt: Atoms) -> None:
    clones = Committee([toy_model("conservative-1") for _ in range(3)])
    forces = clones.predict_committee([salt])["forces"][0]
    assert np.array_equal(forces[0], forces[1])
    mixed = Committee([toy_model("conservative-1"), toy_model("grid")])
    result = mixed.predict_committee([salt])
    assert result["energies"] is None
    assert np.allclose(result["forces"][0][1], SDNNFF(toy_model("grid")).predict([salt])[0]["forces"], atol=1e-6)


def test_calculators_fuse_only_with_their_like() -> None:
    a, b = SDNNFF(toy_model("direct-1")), SDNNFF(toy_model("direct-1", seed=1))
    assert a.batched_committee([a, b]).n_models == 2
    assert a.batched_committee([a, SDNNFF(toy_model("grid"))]) is None


@pytest.mark.parametrize("name", ["conservative-1", "conservative-2", "direct-1"])
def test_force_constant_product_is_the_derivative_of_the_forces(name: str, salt: Atoms) -> None:
    """The loss vanishes exactly when fc2 is the model's own finite-difference Hessian."""
    model = toy_model(name, "float64")
    calculator = SDNNFF(model)
    n, step = len(salt), 1e-4
    fc2 = np.zeros((n, n, 3, 3))
    for i in range(n):
        for a in range(3):
            pair = []
            for sign in (1, -1):
                moved = salt.copy()
                moved.positions[i, a] += sign * step
                pair.append(calculator.predict([moved])[0]["forces"])
            fc2[:, i, :, a] = -(pair[0] - pair[1]) / (2 * step)
    target = force_constant_target(salt, fc2, model.config.cutoff, torch.float64, "cpu")
    args = (model.network, target, model.statistics, model.config.head)
    assert float(force_constant_loss(*args, torch.Generator().manual_seed(0)).detach()) < 1e-10
    wrong = dataclasses.replace(target, matrix=1.1 * target.matrix)
    args = (model.network, wrong, model.statistics, model.config.head)
    loss = force_constant_loss(*args, torch.Generator().manual_seed(0))
    assert float(loss.detach()) == pytest.approx((0.1 / 1.1) ** 2, rel=1e-3)


@pytest.mark.parametrize("method", ["full", "head", "adapters"])
def test_finetuning_helps_on_a_new_element(method: str, base_model: Callable[..., Path], tmp_path: Path) -> None:
    base = base_model(epochs=20, learning_rate=1e-2, energy_weight=0.0)
    silver = label_with_emt(16, seed=5, symbol="Ag")
    config = dataclasses.replace(
        run_config(tmp_path / method, epochs=15, learning_rate=3e-3),
        finetune=FinetuneConfig(model=str(base), method=method),  # type: ignore[arg-type]
    )
    path = finetune(config, stores_of(silver))
    adapted = load_model(path)
    assert adapted.elements == (29, 47)
    before = load_model(base)
    before.elements = adapted.elements
    test = silver[-4:]

    def error(model: Any) -> float:
        predicted = SDNNFF(model).predict(test)
        return float(
            np.sqrt(
                np.mean([(p["forces"] - a.calc.results["forces"]) ** 2 for p, a in zip(predicted, test, strict=True)])
            )
        )

    assert error(adapted) < 0.9 * error(before)
    assert set(before.network.state_dict()) == set(adapted.network.state_dict())
    if method == "head":
        assert torch.equal(before.network.state_dict()["mixing.weight"], adapted.network.state_dict()["mixing.weight"])


def test_fresh_adapters_change_nothing_and_merge_exactly(salt: Atoms) -> None:
    model = toy_model("conservative-2", "float64")
    before = SDNNFF(model).predict([salt])[0]["forces"]
    add_adapters(model.network, rank=2)
    assert np.allclose(SDNNFF(model).predict([salt])[0]["forces"], before, atol=1e-12)
    for name, parameter in model.network.named_parameters():
        if "right" in name:
            parameter.data.normal_(0.0, 0.1)
    changed = SDNNFF(model).predict([salt])[0]["forces"]
    assert not np.allclose(changed, before)
    merge_adapters(model.network)
    assert np.allclose(SDNNFF(model).predict([salt])[0]["forces"], changed, atol=1e-12)


@pytest.mark.parametrize("scaling", [0.0, 0.5, 1.0])
@pytest.mark.parametrize(("loss", "power"), [("squared", 2), ("absolute", 1)])
def test_structure_scaling_weighs_structures_by_their_own_force_scale(loss: Any, power: int, scaling: float) -> None:
    soft, stiff = label_with_emt(2)
    stiff.calc.results["forces"] = 10.0 * soft.calc.results["forces"]
    samples = [Sample.from_atoms(atoms, 4.5) for atoms in (soft, stiff)]
    batch = collate_samples(samples, torch.float64, "cpu")
    statistics = Statistics(force_scale=float(batch.forces.square().mean().sqrt()))
    settings = TrainingConfig(structure_scaling=scaling, loss=loss)

    def share(which: int) -> float:
        wrong = torch.where(batch.env.structure[:, None] == which, 1.1 * batch.forces, batch.forces)
        return float(force_loss(Prediction(forces=wrong), batch, statistics, settings))

    # ten per cent wrong: the forces (squared or not) decide at p = 0, nothing at p = 1
    assert share(1) / share(0) == pytest.approx(10.0 ** (power * (1.0 - scaling)), rel=1e-6)


def test_the_absolute_loss_is_the_mean_length_of_the_errors() -> None:
    atoms = label_with_emt(1)[0]
    batch = collate_samples([Sample.from_atoms(atoms, 4.5)], torch.float64, "cpu")
    scale = 0.5
    settings = TrainingConfig(loss="absolute", energy_weight=2.0, stress_weight=3.0)
    push, off, squeeze = torch.tensor([0.3, 0.0, -0.4]), 0.7, 1e-3
    prediction = Prediction(
        forces=batch.forces + push.double(),
        energies=batch.energies + off,
        stresses=batch.stresses - squeeze * torch.eye(3, dtype=torch.float64),
    )
    expected = 0.5 + 2.0 * off / len(atoms) + 3.0 * np.sqrt(3.0) * squeeze * atoms.get_volume() / len(atoms)
    loss = force_loss(prediction, batch, Statistics(force_scale=scale), settings)
    assert float(loss) == pytest.approx(expected / scale, rel=1e-6)


@pytest.mark.parametrize("other", ["molecule", "slab"])
@pytest.mark.parametrize("loss", ["squared", "absolute"])
def test_structures_without_a_volume_leave_the_stress_loss_alone(other: str, loss: Any) -> None:
    """Their own stress label is not looked at, and the bulk crystal's share of the gradients is its own."""
    bulk_copper = label_with_emt(1)[0]
    pair = Atoms("Cu2", [[0, 0, 0], [0.0, 0.3, 2.4]], cell=[4.0, 4.0, 20.0], pbc=[other == "slab"] * 2 + [False])
    pair.calc = SinglePointCalculator(pair, forces=np.zeros((2, 3)))
    if other == "slab":
        pair.calc.results["stress"] = np.full(6, 1.0)
    model = toy_model("conservative-1", "float64")
    settings = TrainingConfig(force_weight=0.0, stress_weight=1.0, loss=loss)

    def loss_and_gradients(structures: list[Atoms]) -> tuple[torch.Tensor, list[torch.Tensor]]:
        samples = [Sample.from_atoms(atoms, model.config.cutoff) for atoms in structures]
        batch = collate_samples(samples, torch.float64, "cpu")
        model.network.zero_grad()
        prediction = evaluate(model.network, batch.env, model.statistics, "conservative", training=True)
        assert prediction.stresses is not None
        assert [bool(s.isfinite().all()) for s in prediction.stresses] == [True, False][: len(structures)]
        value = force_loss(prediction, batch, model.statistics, settings)
        value.backward()
        return value.detach(), [p.grad.clone() for p in model.network.parameters() if p.grad is not None]

    value, gradients = loss_and_gradients([bulk_copper])
    mixed, mixed_gradients = loss_and_gradients([bulk_copper, pair])
    assert float(value) > 0.0
    assert any(g.any() for g in gradients)
    assert float(mixed) == pytest.approx(float(value), rel=1e-9)
    for a, b in zip(mixed_gradients, gradients, strict=True):
        assert torch.allclose(a, b, rtol=1e-8, atol=1e-10 * float(b.abs().max()))


def test_a_perfect_force_has_no_gradient_in_the_absolute_loss() -> None:
    """Atoms alone in a cell feel exactly nothing, and are told so exactly."""
    batch = collate_samples([Sample.from_atoms(label_with_emt(1)[0], 4.5)], torch.float32, "cpu")
    forces = batch.forces.clone().requires_grad_(True)
    force_loss(Prediction(forces=forces), batch, Statistics(), TrainingConfig(loss="absolute")).backward()
    assert forces.grad is not None
    assert torch.equal(forces.grad, torch.zeros_like(forces))


def test_muon_takes_the_steps_of_torchs_muon_and_of_adamw() -> None:
    """Every degree's matrix of a stack moves as it would alone; thin matrices and vectors move as with AdamW."""
    settings = TrainingConfig(optimiser="muon", learning_rate=0.01, weight_decay=0.1)
    generator = torch.Generator().manual_seed(0)
    stack, bias = (nn.Parameter(torch.randn(shape, generator=generator)) for shape in ((2, 8, 12), (5,)))
    alone = [nn.Parameter(matrix.clone()) for matrix in stack.detach()] + [nn.Parameter(bias.detach().clone())]
    optimiser = make_optimiser([stack, bias], settings)
    peers = [
        torch.optim.Muon(alone[:2], lr=0.01, weight_decay=0.1, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(alone[2:], lr=0.01, weight_decay=0.1),
    ]
    for _ in range(3):
        stack.grad, bias.grad = torch.randn(2, 8, 12, generator=generator), torch.randn(5, generator=generator)
        for parameter, gradient in zip(alone, [*stack.grad, bias.grad], strict=True):
            parameter.grad = gradient.clone()
        optimiser.step()
        for peer in peers:
            peer.step()
    assert torch.allclose(stack, torch.stack(list(alone[:2])), atol=1e-7)
    assert torch.allclose(bias, alone[2], atol=1e-7)
    thin = nn.Parameter(torch.zeros(4, 12))
    assert len(make_optimiser([thin], settings).param_groups) == 1


def test_muon_of_an_old_torch_is_a_clear_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.optim, "Muon")
    with pytest.raises(MissingExtraError, match=r"needs torch 2\.9 or newer"):
        make_optimiser([nn.Parameter(torch.zeros(8, 8))], TrainingConfig(optimiser="muon"))


def test_one_bond_scaled_function_is_refused() -> None:
    with pytest.raises(ConfigError, match="n_radial is 1, expected at least 2"):
        EquivariantConfig(radial_basis="bond-scaled", n_radial=1)


def strained_copper(n: int) -> list[Atoms]:
    """Ideal cells under pressure: energies and stresses, and forces of rounding errors only."""
    cells = []
    for strain in np.linspace(-0.03, 0.03, n):
        atoms = bulk("Cu", cubic=True)
        atoms.set_cell(atoms.cell * (1 + strain), scale_atoms=True)
        reference = atoms.copy()
        reference.calc = EMT()
        results = {name: reference.calc.get_property(name, reference) for name in ("energy", "forces", "stress")}
        atoms.calc = SinglePointCalculator(atoms, **results)
        cells.append(atoms)
    return cells


def test_crystals_at_rest_teach_energies(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cells = strained_copper(12)
    assert max(np.abs(atoms.get_forces()).max() for atoms in cells) < 1e-10
    config = run_config(tmp_path, epochs=60, learning_rate=1e-2, energy_weight=1.0, stress_weight=1.0)
    train_committee(config, Stores(store_of(cells[::2], 4.5), store_of(cells[1::2], 4.5), DataReport()))
    assert "nothing but noise" in caplog.text
    with open(tmp_path / "log-conservative.csv", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    kept = load_model(tmp_path).card["training"]["epoch_kept"]
    assert kept > 30  # not the one whose forces are the least noise
    assert float(rows[kept - 1]["validation_energy_mae"]) < 0.2 * float(rows[0]["validation_energy_mae"])
    assert rows[kept - 1] == min(rows, key=lambda row: float(row["validation_loss"]))


def test_a_warm_start_wants_the_same_architecture(emt_copper: list[Atoms], tmp_path: Path) -> None:
    (earlier,) = train_committee(run_config(tmp_path / "a", "conservative-2", epochs=1), stores_of(emt_copper))
    with pytest.raises(ConfigError, match="n_layers = 2 there, 1 here"):
        train_committee(run_config(tmp_path / "b"), stores_of(emt_copper), warm_start=[earlier])
    (direct,) = train_committee(run_config(tmp_path / "c", "direct-1", epochs=1), stores_of(emt_copper))
    train_committee(run_config(tmp_path / "d", epochs=1), stores_of(emt_copper), warm_start=[direct])


def test_a_resume_point_of_an_earlier_version_is_refused(
    emt_copper: list[Atoms], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = run_config(tmp_path, epochs=1)
    with monkeypatch.context() as earlier:
        earlier.setattr(fit, "RESUME_VERSION", 1)
        train_committee(config, stores_of(emt_copper))
    with pytest.raises(TrainingError, match="holds a training with other settings or data"):
        train_committee(config, stores_of(emt_copper))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"loss": "mse"}, "loss is 'mse'"),
        ({"optimiser": "Muon"}, "'muon'"),
        ({"epoch": 5}, "unknown key 'epoch'"),
        ({"epochs": "5"}, "expected a valid integer"),
        ({"model": "sdnnff"}, "expected a table"),
    ],
)
def test_a_trainer_checks_its_settings_at_once(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Trainer(**settings)


def test_a_trainer_takes_what_python_has_for_a_setting() -> None:
    settings = {"epochs": np.int64(3), "learning_rate": np.float32(0.5), "force_constants": [Path("a.yaml")]}
    found = Trainer(device=torch.device("cpu"), max_minutes=1e9, **settings).training  # type: ignore[arg-type]
    assert (found.epochs, found.learning_rate, found.device) == (3, 0.5, "cpu")
    assert found.force_constants == ("a.yaml",)


@pytest.mark.parametrize(
    "setting",
    [
        {"clip_norm": 0.0}, {"energy_weight": -1.0}, {"final_rate": -3.0}, {"patience": -1}, {"max_minutes": -1.0},
        {"learning_rate": float("inf")}, {"weight_decay": -1.0}, {"loss": "mse"}, {"dtype": "float16"},
    ],
)  # fmt: skip
def test_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    (name,) = setting
    with pytest.raises(ConfigError, match=name):
        TrainingConfig(**setting)


@pytest.mark.parametrize("setting", [{"validation_fraction": -1.0}, {"validation_fraction": 1.0}, {"max_force": 0.0}])
def test_data_settings_out_of_range_are_refused(setting: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match=next(iter(setting))):
        DataConfig(**setting)


def test_an_element_only_in_the_validation_set_is_named(
    emt_copper: list[Atoms], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    silver = store_of(label_with_emt(2, symbol="Ag"), 4.5)
    train_committee(run_config(tmp_path, epochs=1), Stores(store_of(emt_copper, 4.5), silver, DataReport()))
    assert "Ag: in the validation set only" in caplog.text


@pytest.mark.usefixtures("learning_curves")
@pytest.mark.parametrize("method", ["head", "adapters"])
def test_every_method_learns_the_channels_of_a_new_element(
    method: Any, base_model: Callable[..., Path], tmp_path: Path
) -> None:
    base = base_model(seed=1, epochs=1)
    settings = run_config(tmp_path / method, epochs=2, weight_decay=0.1)
    tuning = dataclasses.replace(settings, finetune=FinetuneConfig(model=str(base), method=method))
    tuned = load_model(finetune(tuning, stores_of(label_with_emt(8, symbol="Ag"))))
    moved = (tuned.network.elements.correction - load_model(base).network.elements.correction).abs().amax(dim=1)
    moved = moved.detach()
    assert float(moved[47]) > 1e-4
    assert float(moved.sum() - moved[47]) == 0.0  # the known ones stay, weight decay or not
    assert (tmp_path / method / "learning-curve.svg").is_file()


def test_fc2_is_never_that_of_the_folder_one_happens_to_be_in(
    copper_force_constants: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import phonopy

    phonon = phonopy.load(copper_force_constants, log_level=0)
    phonon.save(tmp_path / "bare.yaml", settings={"force_constants": False, "force_sets": False})
    from phonopy.file_IO import write_FORCE_CONSTANTS

    write_FORCE_CONSTANTS(7.0 * np.ones_like(phonon.force_constants), filename=tmp_path / "FORCE_CONSTANTS")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="neither force constants nor forces"):
        read_force_constants("bare.yaml", 4.5, torch.float32, "cpu")


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_force_constants_that_teach_nothing_are_refused(
    value: float, copper_force_constants: Path, tmp_path: Path
) -> None:
    """A crystal that fell apart has none, and every error is infinite relative to that."""
    import phonopy

    phonon = phonopy.load(copper_force_constants, log_level=0)
    phonon.force_constants = np.full_like(phonon.force_constants, value)
    phonon.save(tmp_path / "none.yaml", settings={"force_constants": True, "force_sets": False})
    with pytest.raises(DataError, match=r"none.yaml: the largest force constant is (0\.0e\+00|nan) eV/Å²"):
        read_force_constants(tmp_path / "none.yaml", 4.5, torch.float32, "cpu")


def test_a_folder_of_force_constants_stands_for_its_files(copper_force_constants: Path, tmp_path: Path) -> None:
    for name in ("b.yaml", "a.yaml.xz", "notes.txt"):
        (tmp_path / name).write_bytes(copper_force_constants.read_bytes())
    files = force_constant_files([str(copper_force_constants), str(tmp_path)])
    assert files == [copper_force_constants, tmp_path / "a.yaml.xz", tmp_path / "b.yaml"]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match="holds no phonopy YAML file"):
        force_constant_files([str(tmp_path / "empty")])
