"""The committee calculator: identities, mixtures, batching and bad members."""

from __future__ import annotations

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.calculator import Calculator, PropertyNotImplementedError, all_changes
from ase.calculators.emt import EMT
from ase.calculators.lj import LennardJones
from ase.calculators.singlepoint import SinglePointCalculator

from al_committee import CommitteeCalculator, force_deviation
from al_committee.errors import CommitteeMemberError
from al_committee.testing import (
    BATCH_TOLERANCE,
    PairPotential,
    PairPotentialTrainer,
    PairTeacher,
    toy_crystals,
)


@pytest.fixture
def copper():
    atoms = bulk("Cu", cubic=True) * (2, 1, 1)
    atoms.rattle(0.1, seed=3)
    return atoms


def lennard_jones(epsilon=0.4):
    return LennardJones(sigma=2.3, epsilon=epsilon, rc=5.0)


class Fixed(Calculator):
    """Returns what it is told."""

    implemented_properties = ("forces",)
    nolabel = True

    def __init__(self, forces, **declared):
        super().__init__()
        self._forces = forces
        for name, value in declared.items():
            setattr(self, name, value)

    def calculate(self, atoms=None, properties=("forces",), system_changes=tuple(all_changes)):
        super().calculate(atoms, properties, system_changes)
        self.results = {"forces": np.array(self._forces, dtype=float)}


def test_descriptors_are_those_of_the_first_member_that_has_them(copper):
    """A map of crystals needs one space; a committee without any has no such method."""

    class Describing(EMT):
        def descriptors(self, atoms):
            return np.ones((len(atoms), 4))

    assert CommitteeCalculator([EMT(), Describing()]).descriptors(copper).shape == (len(copper), 4)
    assert not hasattr(CommitteeCalculator([EMT()]), "descriptors")


def test_mean_and_spread_are_those_of_the_members(copper):
    members = [EMT(), lennard_jones(), lennard_jones(0.5)]
    expected = []
    for member in members:
        atoms = copper.copy()
        atoms.calc = member
        expected.append((atoms.get_forces(), atoms.get_potential_energy(), atoms.get_stress()))
    copper.calc = CommitteeCalculator(members)
    forces = np.array([e[0] for e in expected])
    energies = np.array([e[1] for e in expected])
    assert copper.get_forces() == pytest.approx(forces.mean(0), rel=1e-12, abs=1e-12)
    assert copper.get_potential_energy() == pytest.approx(energies.mean(), rel=1e-12)
    assert copper.get_stress() == pytest.approx(np.mean([e[2] for e in expected], axis=0), rel=1e-10, abs=1e-14)
    results = copper.calc.results
    assert results["forces_committee"] == pytest.approx(forces, rel=1e-12, abs=1e-12)
    assert results["force_deviation"] == pytest.approx(force_deviation(forces), rel=1e-12)
    assert results["energy_spread"] == pytest.approx(energies.std(), rel=1e-12)
    assert results["stress_spread"] > 0
    assert results["stresses_committee"].shape == (3, 6)


def test_clones_have_zero_spread(copper):
    copper.calc = CommitteeCalculator([EMT() for _ in range(5)])
    assert (copper.get_forces() == CommitteeCalculator([EMT()]).evaluate([copper])[0].mean_forces).all()
    assert (copper.calc.results["force_deviation"] == 0).all()
    assert copper.calc.results["energy_spread"] == 0


def test_deviation_turns_with_the_crystal(copper):
    members = [EMT(), lennard_jones()]
    straight = CommitteeCalculator(members).evaluate([copper])[0]
    turned = copper.copy()
    turned.rotate(37.0, (1, 2, 3), rotate_cell=True)
    rotated = CommitteeCalculator(members).evaluate([turned])[0]
    assert rotated.force_deviation == pytest.approx(straight.force_deviation, rel=1e-8)
    assert np.abs(rotated.mean_forces - straight.mean_forces).max() > 0.01


def test_energy_is_absent_when_a_member_has_none(copper):
    direct = Fixed(np.zeros((len(copper), 3)))
    calculator = CommitteeCalculator([EMT(), direct])
    copper.calc = calculator
    copper.get_forces()
    assert "energy" not in calculator.implemented_properties
    with pytest.raises(PropertyNotImplementedError):
        copper.get_potential_energy()
    with pytest.raises(PropertyNotImplementedError, match="Fixed"):
        calculator.evaluate([copper], stress=True)


def test_deviation_comes_through_get_property(copper):
    copper.calc = CommitteeCalculator([EMT(), lennard_jones()], calibration_scale=2.0)
    deviation = copper.calc.get_property("force_deviation", copper)
    assert copper.calc.get_property("force_error_bar", copper) == pytest.approx(2 * deviation)


def test_predict_gives_the_results_of_many_structures(copper):
    committee = CommitteeCalculator([EMT(), lennard_jones()])
    other = bulk("Cu", cubic=True)
    other.rattle(0.1, seed=1)
    many = committee.predict(atoms for atoms in (copper, other))
    for atoms, results in zip((copper, other), many, strict=True):
        atoms.calc = committee
        assert results["forces"] == pytest.approx(atoms.get_forces(), rel=1e-12, abs=1e-12)
        assert set(results) == set(committee.results)
        assert results["forces_committee"].shape == (2, len(atoms), 3)


@pytest.fixture
def trained(tmp_path):
    crystals = [atoms for _, atoms in toy_crystals(3)]
    for seed, atoms in enumerate(crystals):
        atoms.rattle(0.05, seed=seed)
        teacher = PairTeacher()
        atoms.calc = SinglePointCalculator(atoms, forces=teacher.get_property("forces", atoms))
    trainer = PairPotentialTrainer()
    paths = trainer.train(crystals, [], workdir=tmp_path, seed=1, warm_start=None, n_members=4)
    return trainer, paths, crystals


def test_batched_equals_sequential(trained):
    trainer, paths, crystals = trained
    batched = CommitteeCalculator([trainer.committee(paths)])
    sequential = CommitteeCalculator([trainer.committee([path]) for path in paths])
    assert batched.batched
    assert not sequential.batched
    for one, other in zip(batched.evaluate(crystals), sequential.evaluate(crystals), strict=True):
        assert one.forces.shape == (4, *other.mean_forces.shape)
        scale = np.abs(other.forces).max()
        assert np.abs(one.forces - other.forces).max() <= BATCH_TOLERANCE * scale
        assert one.energies == pytest.approx(other.energies, rel=BATCH_TOLERANCE)


def test_batched_committee_mixes_with_single_members(trained):
    trainer, paths, crystals = trained
    mixed = CommitteeCalculator([trainer.committee(paths), PairTeacher()])
    prediction = mixed.evaluate(crystals[:1])[0]
    assert prediction.n_models == 5
    assert prediction.forces[4] == pytest.approx(crystals[0].get_forces(), abs=1e-12)


def test_nested_committees_count_their_members_one_by_one(copper):
    inner = CommitteeCalculator([EMT(), lennard_jones()])
    outer = CommitteeCalculator([inner, lennard_jones(0.6)])
    flat = CommitteeCalculator([EMT(), lennard_jones(), lennard_jones(0.6)])
    assert outer.evaluate([copper], stress=True)[0].stresses.shape == (3, 6)
    assert outer.evaluate([copper])[0].forces == pytest.approx(flat.evaluate([copper])[0].forces)


def test_members_that_offer_it_are_fused(copper):
    calls = []

    class Shared(EMT):
        def batched_committee(self, members):
            calls.append(len(members))
            return CommitteeCalculator([EMT() for _ in members])

    assert CommitteeCalculator([Shared(), Shared()]).batched
    assert not CommitteeCalculator([Shared(), Shared()], batch=False).batched
    assert calls == [2]


def test_nan_of_one_member_is_refused(copper):
    bad = np.zeros((len(copper), 3))
    bad[2, 1] = np.nan
    copper.calc = CommitteeCalculator([EMT(), Fixed(bad)], names=["good", "broken"])
    with pytest.raises(CommitteeMemberError, match=r"broken.*not finite"):
        copper.get_forces()


def test_wrong_shape_of_one_member_is_refused(copper):
    copper.calc = CommitteeCalculator([EMT(), Fixed(np.zeros((len(copper) - 1, 3)))])
    with pytest.raises(CommitteeMemberError, match=r"\(7, 3\), expected \(8, 3\)"):
        copper.get_forces()


@pytest.mark.parametrize("factor", [51.422, 25.711, 1 / 23.06, 1000.0])
@pytest.mark.parametrize("n_good", [1, 4])
def test_forces_in_other_units_are_refused(copper, factor, n_good):
    forces = EMT().get_property("forces", copper)
    noise = np.random.default_rng(0).normal(scale=0.05, size=forces.shape)
    members = [Fixed(forces) for _ in range(n_good)] + [Fixed((forces + noise) / factor)]
    with pytest.raises(CommitteeMemberError, match="units"):
        CommitteeCalculator(members).evaluate([copper])
    CommitteeCalculator(members, check_units=False).evaluate([copper])


def test_only_parallel_forces_of_another_size_are_taken_for_other_units(copper):
    forces = EMT().get_property("forces", copper)
    noise = np.random.default_rng(0).normal(scale=20.0, size=forces.shape)
    assert np.linalg.norm(noise) > 10 * np.linalg.norm(forces)  # large enough; only its direction speaks for it

    def accepted(*members):
        try:
            CommitteeCalculator([Fixed(f) for f in members]).evaluate([copper])
        except CommitteeMemberError as error:
            return "other units?" not in str(error)
        return True

    assert accepted(forces, forces, noise)
    assert accepted(forces, 9 * forces)
    assert not accepted(forces, 11 * forces)
    assert not accepted(forces, forces, 25.7 * forces)
    tiny = 1e-4 * forces / np.abs(forces).max()
    assert accepted(tiny, 25.7 * tiny)  # below the floor the ratio of two noises says nothing


def test_declared_units_are_compared(copper):
    zero = np.zeros((len(copper), 3))
    with pytest.raises(CommitteeMemberError, match="Ry"):
        CommitteeCalculator([Fixed(zero, units={"energy": "eV"}), Fixed(zero, units={"energy": "Ry"})])


def test_elements_are_the_common_ones(copper):
    zero = np.zeros((len(copper), 3))
    with pytest.raises(CommitteeMemberError, match="no element in common"):
        CommitteeCalculator([Fixed(zero, elements=["Na"]), Fixed(zero, elements=["Cu"])])
    committee = CommitteeCalculator([Fixed(zero, elements=["Na", "Ag"]), Fixed(zero, elements=[47, 29])])
    with pytest.raises(CommitteeMemberError, match=r"Cu.*which not every member knows"):
        committee.evaluate([copper])


def test_members_without_forces_or_no_members_are_refused():
    with pytest.raises(CommitteeMemberError, match="at least one"):
        CommitteeCalculator([])
    with pytest.raises(CommitteeMemberError, match="no ASE calculator"):
        CommitteeCalculator(["chgnet"])


def test_trainer_recovers_a_teacher_in_its_basis(tmp_path):
    truth = PairPotential({"Cu-Cu": [-1.0, 0.3, 0.1, 0.2, 0.4]})
    cells = []
    for seed in range(6):
        atoms = bulk("Cu", cubic=True, a=3.5 + 0.05 * seed)
        atoms.rattle(0.15, seed=seed)
        atoms.calc = SinglePointCalculator(atoms, forces=truth.get_property("forces", atoms))
        cells.append(atoms)
    trainer = PairPotentialTrainer(ridge=1e-12)
    paths = trainer.train(cells[:5], [], workdir=tmp_path, seed=0, warm_start=None, n_members=2)
    forces = trainer.committee(paths).predict_committee([cells[5]])["forces"][0]
    assert np.abs(forces - cells[5].get_forces()).max() < 1e-3 * np.abs(cells[5].get_forces()).max()


def test_toy_forces_are_the_gradient_of_the_energy(copper):
    for calculator in (PairTeacher(), PairPotential({"Cu-Cu": [-1.0, 0.3, 0.1, 0.2, 0.4]})):
        forces = calculator.get_property("forces", copper)
        step = 1e-4
        plus, minus = copper.copy(), copper.copy()
        plus.positions[1, 0] += step
        minus.positions[1, 0] -= step
        up, down = (calculator.get_property("energy", atoms) for atoms in (plus, minus))
        assert -(up - down) / (2 * step) == pytest.approx(forces[1, 0], rel=1e-5, abs=1e-8)
