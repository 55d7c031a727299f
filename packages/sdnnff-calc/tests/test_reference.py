"""Against DFT reference data, when SDNNFF_REFERENCE_DATA names their folder."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sdnnff_calc import SDNNFF
from sdnnff_calc.config import DataConfig, EquivariantConfig, RunConfig, TrainingConfig
from sdnnff_calc.data.stores import Stores, store_of
from sdnnff_calc.data.structures import DataReport, iterate_structures
from sdnnff_calc.training.evaluation import evaluate_forces
from sdnnff_calc.training.runs import train_committee

pytestmark = pytest.mark.reference


def salt_supercells(folder: Path) -> list:  # type: ignore[type-arg]
    return list(iterate_structures([folder / "nacl-dft" / "phono3py_params_NaCl.yaml.xz"]))


def test_compressed_phono3py_file_holds_both_sets(reference_data: Path) -> None:
    structures = salt_supercells(reference_data)
    assert [len(a) for a in structures] == [64] * 100 + [512] * 2
    scaled = structures[0].get_scaled_positions(wrap=False)
    displacement = (scaled - np.round(4 * scaled) / 4) @ structures[0].cell.array
    assert np.allclose(np.linalg.norm(displacement, axis=1), 0.03, atol=1e-6)


@pytest.mark.slow
def test_twenty_supercells_of_salt_reach_three_mev(reference_data: Path, tmp_path: Path) -> None:
    """Trained on 20 of the 100 DFT supercells: force RMSE on the other 80 below 3 meV/Å."""
    small = [a for a in salt_supercells(reference_data) if len(a) == 64]
    config = EquivariantConfig(cutoff=6.0)
    training = TrainingConfig(workdir=str(tmp_path), epochs=40, batch_atoms=128, learning_rate=5e-3)
    stores = Stores(store_of(small[:18], 6.0), store_of(small[18:20], 6.0), DataReport())
    (path,) = train_committee(RunConfig(model=config, data=DataConfig(), training=training), stores)
    report = evaluate_forces(SDNNFF(path), small[20:])
    assert report.n_structures == 80
    assert report.rmse < 3e-3
