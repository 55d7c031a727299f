"""Forces on displaced supercells: the same by batch and one by one, residual removed, errors located."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from screen_cli.config import DisplaceSettings, ForcesSettings
from screen_cli.errors import CalculatorError, UnsupportedElementError
from screen_cli.stages.displace import displace
from screen_cli.stages.forces import compute_forces

SETTINGS = ForcesSettings()


@pytest.fixture(scope="module")
def displaced():
    return displace(bulk("Cu", a=3.6), DisplaceSettings(dim=[2, 2, 2], n_supercells=20))


class Batched:
    """``predict`` as sdnnff-calc offers it, from EMT, with a constant error to remove and a defect on demand."""

    def __init__(self, defect=None, offset=0.0):
        self.defect, self.offset, self.count, self.sizes = defect, offset, 0, []

    def predict(self, structures):
        self.sizes.append(len(structures))
        results = []
        for atoms in structures:
            atoms.calc = EMT()
            forces = atoms.get_forces() + self.offset
            if self.defect and self.count == 6:  # the undisplaced cell comes first: displacement 5
                forces = self.defect(forces)
            self.count += 1
            results.append({"forces": forces})
        return results


def test_one_by_one_equals_batches_and_direct_evaluation(displaced):
    single = compute_forces(displaced, EMT(), SETTINGS)
    batched = Batched()
    np.testing.assert_allclose(compute_forces(displaced, batched, SETTINGS).fc3_forces, single.fc3_forces, atol=1e-12)
    assert max(batched.sizes) == SETTINGS.batch_size
    atoms = bulk("Cu", a=3.6, cubic=True).repeat(2)
    atoms.set_cell(displaced.supercells.cell)
    atoms.positions = displaced.supercells.positions + displaced.supercells.displacements[3]
    atoms.calc = EMT()
    np.testing.assert_allclose(single.fc3_forces[3], atoms.get_forces(), atol=1e-10)
    assert single.supercells.force_rms == pytest.approx(np.sqrt((single.fc3_forces**2).mean()))


def test_residual_and_net_force_are_removed(displaced):
    clean = compute_forces(displaced, EMT(), SETTINGS)
    shifted = compute_forces(displaced, Batched(offset=0.5), SETTINGS)
    np.testing.assert_allclose(shifted.fc3_forces, clean.fc3_forces, atol=1e-12)
    kept = compute_forces(displaced, Batched(offset=0.5), ForcesSettings(subtract_residual=False))
    np.testing.assert_allclose(kept.fc3_forces.mean(axis=1), 0.5, atol=1e-10)
    assert shifted.supercells.residual_force_max == pytest.approx(0.5, rel=1e-6)


@pytest.mark.parametrize(
    ("defect", "words"),
    [(lambda f: f * np.nan, "NaN"), (lambda f: f + 1e4, "exploded"), (lambda f: f[:-1], "shape")],
    ids=["nan", "exploding", "shape"],
)
def test_bad_forces_name_the_displacement(displaced, defect, words):
    with pytest.raises(CalculatorError, match=rf"(?s)displacement 5\b.*{words}|{words}.*displacement 5\b"):
        compute_forces(displaced, Batched(defect), SETTINGS)


def test_unknown_element():
    record = displace(bulk("NaCl", "rocksalt", a=5.64), DisplaceSettings())
    with pytest.raises(UnsupportedElementError, match="Na"):
        compute_forces(record, EMT(), SETTINGS)


def test_fc2_supercell_gets_its_own_forces():
    record = displace(bulk("Cu", a=3.6), DisplaceSettings(dim=[2, 2, 2], dim_fc2=[3, 3, 3]))
    forces = compute_forces(record, EMT(), SETTINGS)
    assert forces.fc2_forces.shape == record.supercells_fc2.displacements.shape
