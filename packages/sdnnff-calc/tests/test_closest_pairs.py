"""A model refuses what it cannot know: atoms far closer than any it has learned from."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.io import write
from ase.optimize import BFGS, FIRE

from sdnnff_calc import SDNNFF, load_model, save_model
from sdnnff_calc.config import DataConfig, FinetuneConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport
from sdnnff_calc.errors import OverlappingAtomsError
from sdnnff_calc.geometry.closest_pairs import LEAST_SHARE, ClosestPairs, limits_of, merge_closest
from sdnnff_calc.geometry.environments import EdgeArrays
from sdnnff_calc.testing import toy_model
from sdnnff_calc.training.finetuning.finetune import finetune
from sdnnff_calc.training.runs import train_committee


def test_the_shortest_distance_of_each_pair_is_found() -> None:
    closest = ClosestPairs()
    for a in (5.8, 5.6, 6.0):
        closest.add(EdgeArrays.from_atoms(bulk("NaCl", "rocksalt", a=a), 4.5))
    found = closest.found()
    assert sorted(found) == [(11, 11), (11, 17), (17, 17)]
    assert found[11, 17] == pytest.approx(2.8)
    assert found[11, 11] == found[17, 17] == pytest.approx(5.6 / np.sqrt(2))


def test_limits_are_a_share_of_the_shorter_of_distance_and_bond() -> None:
    limits = limits_of({(11, 17): 2.3, (17, 17): 4.0})
    assert limits[11, 17] == limits[17, 11] == pytest.approx(LEAST_SHARE * 2.3)
    assert limits[17, 17] == pytest.approx(LEAST_SHARE * 2 * 1.02)  # the covalent radius of Cl
    assert limits[11, 11] == 0.0
    assert not limits_of(None).any()


def test_of_an_older_model_nothing_is_known_after_fine_tuning_either() -> None:
    assert merge_closest(None, {(1, 1): 0.7}) is None
    assert merge_closest({(1, 1): 0.7, (1, 8): 0.95}, {(1, 1): 0.8, (8, 8): 2.0}) == {
        (1, 1): 0.7, (1, 8): 0.95, (8, 8): 2.0,
    }  # fmt: skip


def test_the_distances_are_in_the_checkpoint(tmp_path: Path) -> None:
    model = load_model(None)
    pairs = {(11, 17): 2.5, (17, 17): 3.25}
    model.statistics = dataclasses.replace(model.statistics, closest_pairs=pairs)
    assert load_model(save_model(model, tmp_path / "model.pt")).statistics.closest_pairs == pairs


def test_a_relaxation_that_falls_through_the_repulsion_is_stopped() -> None:
    atoms = bulk("MgO", "rocksalt", a=3.1)
    atoms.calc = SDNNFF("default-34", core=False)
    with pytest.raises(OverlappingAtomsError, match=r"\((Mg|O)\) are \d\.\d\d Å apart: this model refuses them below"):
        BFGS(FrechetCellFilter(atoms), logfile=None).run(fmax=0.01, steps=60)


def test_a_wildly_shaken_crystal_is_refused_and_a_shaken_one_is_not() -> None:
    atoms = bulk("NaCl", "rocksalt", a=5.65, cubic=True).repeat(2)
    atoms.calc = SDNNFF(core=False)
    shaken, wild = atoms.copy(), atoms.copy()
    shaken.rattle(0.2, seed=1)
    wild.rattle(0.7, seed=1)
    shaken.calc = wild.calc = atoms.calc
    assert FIRE(shaken, logfile=None).run(fmax=0.05, steps=200)
    assert shaken.get_potential_energy() == pytest.approx(atoms.get_potential_energy(), abs=0.02)
    with pytest.raises(OverlappingAtomsError):
        FIRE(wild, logfile=None).run(fmax=0.05, steps=200)


def test_fine_tuning_lets_a_model_go_closer(tmp_path: Path, emt_copper: list[Atoms]) -> None:
    write(tmp_path / "train.extxyz", emt_copper[:4])
    base = load_model(None)
    base.statistics = dataclasses.replace(base.statistics, closest_pairs={(29, 29): 3.6, (3, 29): 2.4})
    save_model(base, tmp_path / "base.pt")
    config = RunConfig(
        model=base.config,
        data=DataConfig(train=(str(tmp_path / "train.extxyz"),), validation_fraction=0.25, split_by="supercell"),
        training=TrainingConfig(workdir=str(tmp_path / "run"), epochs=1, device="cpu"),
        finetune=FinetuneConfig(model=str(tmp_path / "base.pt")),
    )
    pairs = load_model(finetune(config)).statistics.closest_pairs
    assert pairs is not None
    assert pairs[3, 29] == 2.4
    assert pairs[29, 29] < 3.0


def test_a_warm_start_knows_the_distances_of_both_trainings(tmp_path: Path, emt_copper: list[Atoms]) -> None:
    base = toy_model("conservative-1")
    base.statistics = dataclasses.replace(base.statistics, closest_pairs={(29, 29): 3.6, (11, 29): 2.4})
    save_model(base, tmp_path / "base.pt")
    stores = Stores(store_of(emt_copper[:4], 4.5), store_of(emt_copper[4:6], 4.5), DataReport())
    training = TrainingConfig(workdir=str(tmp_path / "run"), epochs=1, device="cpu")
    config = RunConfig(model=base.config, data=DataConfig(), training=training)
    (path,) = train_committee(config, stores, warm_start=[tmp_path / "base.pt"])
    pairs = load_model(path).statistics.closest_pairs
    assert pairs is not None
    assert pairs[11, 29] == 2.4
    assert pairs[29, 29] < 3.0
