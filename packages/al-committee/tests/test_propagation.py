"""Uncertainty carried from forces to force constants and frequencies."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes

from al_committee import CommitteeCalculator
from al_committee.committee.propagation import PropagatedValue, member_forces, propagate
from al_committee.errors import CommitteeMemberError
from al_committee.testing import PairPotential


class Springs(Calculator):
    """Atoms tied to their sites, F = −k u: the frequency is √(k/m)."""

    implemented_properties = ("energy", "forces")
    nolabel = True

    def __init__(self, k, sites):
        super().__init__()
        self.k, self.sites = k, sites

    def calculate(self, atoms=None, properties=("forces",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        u = atoms.positions - self.sites
        self.results = {"forces": -self.k * u, "energy": 0.5 * self.k * (u**2).sum()}


SITES = np.arange(12.0).reshape(4, 3)
STIFFNESS = np.array([1.0, 1.2, 0.9, 1.4, 1.1])


def supercells():
    rng = np.random.default_rng(0)
    return [Atoms("Ar4", positions=SITES + 0.03 * rng.normal(size=(4, 3))) for _ in range(6)]


def fit(cells):
    displacements = np.array([atoms.positions - SITES for atoms in cells])

    def evaluate(forces):
        k = -(forces * displacements).sum() / (displacements**2).sum()
        return {"k": k, "frequency": np.sqrt([k, 2 * k])}

    return evaluate


def test_interval_is_that_of_the_members():
    cells = supercells()
    committee = CommitteeCalculator([Springs(k, SITES) for k in STIFFNESS])
    forces = member_forces(committee, cells)
    assert forces.shape == (5, 6, 4, 3)
    values = propagate(forces, fit(cells))
    assert values["k"].members == pytest.approx(STIFFNESS, rel=1e-10)
    assert values["k"].mean == pytest.approx(1.12)
    assert values["k"].std == pytest.approx(STIFFNESS.std(ddof=1), rel=1e-9)
    assert values["k"].nominal == pytest.approx(1.12)  # a linear fit: mean forces give the mean constant
    assert values["frequency"].std == pytest.approx(np.sqrt(np.outer(STIFFNESS, [1, 2])).std(0, ddof=1))
    assert values["frequency"].nominal[0] > values["frequency"].mean[0]  # √ is concave: not the same number


def test_clones_have_no_interval():
    cells = supercells()
    committee = CommitteeCalculator([Springs(1.3, SITES) for _ in range(3)])
    assert propagate(member_forces(committee, cells), fit(cells))["k"].std == 0.0


def test_failing_members_are_left_out_with_their_reason(caplog):
    cells = supercells()
    forces = member_forces(CommitteeCalculator([Springs(k, SITES) for k in STIFFNESS]), cells)
    inner = fit(cells)

    def strict(own):
        result = inner(own)
        if result["k"] > 1.3:
            raise ValueError("imaginary mode")
        return result

    value = propagate(forces, strict)["k"]
    assert len(value.members) == 4
    assert value.failures == {3: "ValueError: imaginary mode"}
    with pytest.raises(CommitteeMemberError, match="imaginary mode"):
        propagate(forces, strict, least_members=5)


def test_logarithmic_interval():
    mean, factor = PropagatedValue(np.array([1.0, 4.0, 16.0])).logarithmic()
    assert mean == pytest.approx(4.0)
    assert factor == pytest.approx(4.0)
    with pytest.raises(ValueError, match="not positive"):
        PropagatedValue(np.array([-1.0, 1.0])).logarithmic()


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match="expected"):
        propagate(np.zeros((5, 4, 3)), lambda f: {})
    with pytest.raises(ValueError, match="one size"):
        member_forces(CommitteeCalculator([Springs(1, SITES)]), [Atoms("Ar"), Atoms("Ar2")])


def test_frequencies_through_phonopy_scale_with_the_root_of_the_stiffness():
    # Members are one potential times c_m. The fit of force constants is linear, so each member's frequencies
    # must be √c_m times the first one's: the interval that comes out is known beforehand.
    phonopy = pytest.importorskip("phonopy", reason="phonopy is not part of al-committee's extras")
    pytest.importorskip("symfc", reason="random displacements need symfc")
    from phonopy.structure.atoms import PhonopyAtoms

    cell = bulk("Cu", cubic=True, a=3.6)
    phonon = phonopy.Phonopy(
        PhonopyAtoms(symbols=cell.get_chemical_symbols(), cell=cell.cell.array, positions=cell.positions),
        supercell_matrix=np.diag([2, 2, 2]),
        primitive_matrix="F",
        log_level=0,
    )
    phonon.generate_displacements(number_of_snapshots=4, distance=0.03, random_seed=1)
    supercells = [
        Atoms(c.symbols, cell=c.cell, positions=c.positions, pbc=True) for c in phonon.supercells_with_displacements
    ]
    coefficients = np.array([0.05, -1.0, 0.3, 0.2, 0.4])
    factors = np.array([1.0, 1.21, 0.81])
    members = [PairPotential({"Cu-Cu": factor * coefficients}) for factor in factors]

    def evaluate(forces):
        phonon.forces = forces
        phonon.produce_force_constants(fc_calculator="symfc", show_drift=False)
        return {"frequency_thz": phonon.run_qpoints([[0.5, 0, 0.5], [0.2, 0.1, 0.0]]).frequencies}

    frequency = propagate(member_forces(CommitteeCalculator(members), supercells), evaluate)["frequency_thz"]
    first = frequency.members[0]
    assert np.abs(first).max() > 1.0
    expected = np.sign(first) * np.abs(first) * np.sqrt(factors)[:, None, None]
    assert frequency.members == pytest.approx(expected, rel=1e-6, abs=1e-6)
    assert frequency.std == pytest.approx(np.abs(first) * np.sqrt(factors).std(ddof=1), rel=1e-6, abs=1e-6)
