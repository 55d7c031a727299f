"""Relaxation: right minimum, symmetry kept, and refusals that say why."""

from __future__ import annotations

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.calculator import Calculator, all_changes
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from ase.spacegroup import crystal
from ase.units import GPa
from hypothesis import given, settings
from hypothesis import strategies as st

from screen_cli.calculators.registered import make_calculator
from screen_cli.config import RelaxSettings
from screen_cli.errors import CalculatorError, ConfigError, SymmetryLostError, UnsupportedElementError
from screen_cli.stages.relax import relax


class Broken(Calculator):
    """Forces of a given value on the first atom."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, value):
        super().__init__()
        self.value = value

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        forces = np.zeros((len(atoms), 3))
        forces[0, 0] = self.value
        self.results = {"energy": 0.0, "free_energy": 0.0, "forces": forces, "stress": np.zeros(6)}


def test_relaxed_lattice_constant_has_no_stress():
    record = relax(bulk("Cu", a=3.75), EMT(), RelaxSettings())
    atoms = record.atoms
    atoms.calc = EMT()
    assert np.abs(atoms.get_stress()).max() < 0.01 * GPa
    assert atoms.cell.volume * 4 == pytest.approx(3.59**3, rel=2e-3)  # EMT's own minimum, ase documentation
    assert record.space_group == 225
    assert record.volume == pytest.approx(atoms.cell.volume)


def test_switched_off_keeps_the_cell():
    record = relax(bulk("Cu", a=3.75), EMT(), RelaxSettings(enabled=False))
    assert record.n_relax_steps == 0
    assert record.volume == pytest.approx(3.75**3 / 4)


def test_lattice_constants_are_those_of_the_conventional_cell():
    record = relax(bulk("Cu", a=3.61), EMT(), RelaxSettings(enabled=False))
    assert (record.a, record.b, record.c) == pytest.approx((3.61, 3.61, 3.61))
    record = relax(bulk("Ti", a=2.95, c=4.68), Broken(0.0), RelaxSettings(enabled=False))
    assert (record.a, record.b, record.c) == pytest.approx((2.95, 2.95, 4.68))


def test_unknown_element_is_named():
    with pytest.raises(UnsupportedElementError, match="Na"):
        relax(bulk("NaCl", "rocksalt", a=5.64), EMT(), RelaxSettings())


def test_nan_and_exploding_forces():
    with pytest.raises(CalculatorError, match="NaN"):
        relax(bulk("Cu"), Broken(np.nan), RelaxSettings())
    with pytest.raises(CalculatorError, match="exploded"):
        relax(bulk("Cu"), Broken(1e6), RelaxSettings())


def test_lost_symmetry_is_an_error():
    """A simple-cubic-like tetragonal Cu cell falls into fcc when only the lattice is free."""
    tetragonal = Atoms("Cu2", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.6, 2.6, 3.5], pbc=True)
    with pytest.raises(SymmetryLostError, match=r"from 139 to 225"):
        relax(tetragonal, EMT(), RelaxSettings(keep_symmetry=False), symprec=1e-2)


def test_too_few_steps_and_too_large_change():
    with pytest.raises(CalculatorError, match="fmax"):
        relax(bulk("Cu", a=3.75), EMT(), RelaxSettings(max_steps=1))
    with pytest.raises(CalculatorError, match="no minimum within 1 %"):
        relax(bulk("Cu", a=3.8), EMT(), RelaxSettings(max_volume_change=0.01))
    with pytest.raises(CalculatorError, match="volume changed"):
        relax(bulk("Cu", a=3.8), EMT(), RelaxSettings(optimiser="bfgs", max_volume_change=0.01))


def test_sevennet_relaxes_rocksalt():
    pytest.importorskip("sevenn")
    record = relax(bulk("NaCl", "rocksalt", a=5.5), make_calculator("sevennet", {"device": "cpu"}), RelaxSettings())
    assert (4 * record.volume) ** (1 / 3) == pytest.approx(5.69, abs=0.02)  # PBE: 5.69 Å
    assert record.fmax_final < 1e-4


def test_two_stages_keep_the_space_group():
    settings = RelaxSettings(two_stage=True, optimiser="fire")
    record = relax(bulk("Cu", a=3.75), EMT(), settings)
    assert record.space_group == 225
    assert record.relax_converged
    assert record.volume == pytest.approx(relax(bulk("Cu", a=3.75), EMT(), RelaxSettings()).volume, rel=1e-4)


class Slanted(EMT):
    """EMT with a stress that stretches x once the symmetry is free: the second stage breaks the cube."""

    def calculate(self, atoms=None, properties=("energy",), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        self.results["stress"] = self.results["stress"] + np.array([0.02, -0.01, -0.01, 0, 0, 0])


def test_broken_space_group_falls_back_to_the_symmetric_stage():
    start = bulk("Cu", a=3.65)
    settings = RelaxSettings(two_stage=True)
    record = relax(start, Slanted(), settings)
    assert record.fell_back_to_symmetric
    assert record.space_group == 225
    cell = record.atoms.cell
    assert cell.lengths() == pytest.approx(cell.lengths()[0])
    free = relax(start, EMT(), settings)
    assert not free.fell_back_to_symmetric


def test_discarded_free_stage_does_not_count_as_unconverged():
    """The symmetric crystal that stays has converged, however its discarded successor ended."""
    settings = RelaxSettings(two_stage=True, max_steps=12)
    record = relax(bulk("Cu", a=3.65), Slanted(), settings)
    assert record.fell_back_to_symmetric
    assert record.relax_converged
    assert record.n_relax_steps >= settings.max_steps  # the free stage did run out of steps


def test_unconverged_relaxation_is_accepted_only_when_asked():
    short = {"max_steps": 1, "fmax": 1e-9}
    with pytest.raises(CalculatorError, match="did not reach"):
        relax(bulk("Cu", a=3.75), EMT(), RelaxSettings(**short))
    record = relax(bulk("Cu", a=3.75), EMT(), RelaxSettings(accept_unconverged=True, **short))
    assert not record.relax_converged


class WithoutStress(EMT):
    """Trained on forces alone."""

    implemented_properties = ("energy", "free_energy", "forces")


def test_a_cell_is_not_relaxed_by_a_stress_that_is_not_offered():
    with pytest.raises(ConfigError, match="WithoutStress offers no stress .*relax.relax_cell = false"):
        relax(bulk("Cu", a=3.75), WithoutStress(), RelaxSettings())
    held = relax(bulk("Cu", a=3.75), WithoutStress(), RelaxSettings(relax_cell=False))
    assert held.volume == pytest.approx(3.75**3 / 4)


@given(fixed=st.sets(st.integers(0, 3), min_size=1))
@settings(max_examples=8, deadline=None)
def test_constraints_of_the_input_are_ignored(fixed):
    """A displaced atom of fixed cubic copper goes home whatever is said to be fixed, and the input keeps its mark."""
    atoms = bulk("Cu", a=3.6, cubic=True)
    atoms.positions[0] += 0.05
    free = relax(atoms, EMT(), RelaxSettings(relax_cell=False, keep_symmetry=False, enabled=False))
    atoms.set_constraint(FixAtoms(sorted(fixed)))
    held = relax(atoms, EMT(), RelaxSettings(relax_cell=False, keep_symmetry=False, enabled=False))
    assert held.fmax_final == free.fmax_final > 0.1
    assert len(atoms.constraints) == 1
    assert not held.atoms.constraints


def test_masses_stay_with_the_crystal():
    heavy = bulk("Cu", a=3.6)
    assert relax(heavy, EMT(), RelaxSettings()).masses is None
    heavy.set_masses([70.0])
    record = relax(heavy, EMT(), RelaxSettings())
    np.testing.assert_array_equal(record.masses, [70.0])
    np.testing.assert_array_equal(record.atoms.get_masses(), [70.0])


def cubic(name, group, symbols, sites, length, **setting):
    cell = [length] * 3 + [90] * 3
    return pytest.param(
        crystal(symbols, sites, spacegroup=group, cellpar=cell, primitive_cell=True, **setting), id=name
    )


FREE = [
    cubic("pyrite", 205, ["Zn", "S"], [(0, 0, 0), (0.39, 0.39, 0.39)], 5.9),
    cubic("AB3C12", 204, ["Ca", "Cu", "Ti", "O"], [(0, 0, 0), (0, 0.5, 0.5), (0.25,) * 3, (0, 0.3, 0.18)], 7.4),
]


@settings(deadline=None, max_examples=10)
@given(
    element=st.sampled_from(["Al", "Cu", "Ag", "Au", "Ni", "Pd", "Pt"]),
    other=st.none() | st.sampled_from(["Cu", "Au", "Ni"]),
    stretch=st.floats(0.92, 1.12),
)
def test_a_lattice_constant_by_its_root_is_that_of_the_general_way(element, other, stretch):
    atoms = bulk(element, cubic=other is not None)
    if other is not None:
        atoms.symbols[0] = other  # L1₂
    atoms.set_cell(stretch * atoms.cell, scale_atoms=True)
    root, general = (relax(atoms, EMT(), RelaxSettings(fmax=1e-5, optimiser=name)) for name in ("auto", "bfgs"))
    np.testing.assert_allclose(root.cell, general.cell, atol=1e-5)
    turned = root.atoms.get_scaled_positions() - general.atoms.get_scaled_positions()
    np.testing.assert_allclose(turned - np.rint(turned), 0, atol=1e-9)
    assert root.n_relax_steps <= 14


class Unbound(Calculator):
    """Energy that falls with the volume, or with its inverse, for ever."""

    implemented_properties = ("energy", "forces", "stress")

    def __init__(self, sign):
        super().__init__()
        self.sign = sign

    def calculate(self, atoms=None, properties=(), system_changes=all_changes):
        super().calculate(atoms, properties, system_changes)
        energy = self.sign * 100 / atoms.cell.volume
        stress = np.array([1, 1, 1, 0, 0, 0]) * -energy / atoms.cell.volume
        self.results = {"energy": energy, "free_energy": energy, "forces": np.zeros((len(atoms), 3)), "stress": stress}


@pytest.mark.parametrize(("sign", "way"), [(1, "grows"), (-1, "shrinks")])
def test_a_crystal_that_nothing_binds_is_refused_at_once(sign, way, monkeypatch):
    from screen_cli.stages import relax as module

    monkeypatch.setattr(module, "optimise", lambda *a, **k: pytest.fail("hundreds of steps to the same end"))
    with pytest.raises(CalculatorError, match=f"no minimum within 50 % .* falls as the crystal {way}"):
        relax(bulk("Cu", a=3.7), Unbound(sign), RelaxSettings(max_volume_change=0.5))


@pytest.mark.parametrize("stretch", [0.88, 0.93, 1.15, 1.2])
def test_a_bound_crystal_far_from_its_size_is_never_refused(stretch):
    """Of platinum a secant once went beyond the reach of the forces, where nothing binds."""
    atoms = bulk("Pt", a=3.94 * stretch)
    found = relax(atoms, EMT(), RelaxSettings(fmax=1e-5, max_volume_change=0.9))
    assert found.a == pytest.approx(relax(bulk("Pt"), EMT(), RelaxSettings(fmax=1e-5)).a, abs=1e-5)


@pytest.mark.parametrize("atoms", FREE)
def test_free_coordinates_of_cubic_crystals_are_those_of_the_general_way(atoms):
    calculator = make_calculator("sdnnff", {})
    found = [relax(atoms, calculator, RelaxSettings(fmax=1e-5, optimiser=name)) for name in ("auto", "bfgs")]
    np.testing.assert_allclose(found[0].cell, found[1].cell, atol=1e-5)
    np.testing.assert_allclose(found[0].positions, found[1].positions, atol=1e-5)
    assert np.abs(found[0].atoms.get_scaled_positions() - atoms.get_scaled_positions()).max() > 1e-3  # they did move
    assert found[0].n_relax_steps < found[1].n_relax_steps


def test_coordinates_with_few_digits_are_made_symmetric_first_and_exact_ones_are_left_alone(monkeypatch):
    from ase.spacegroup import symmetrize

    refined = []
    refine = symmetrize.refine_symmetry
    monkeypatch.setattr(symmetrize, "refine_symmetry", lambda *a, **k: refined.append(a) or refine(*a, **k))
    exact = crystal(["Cu", "Au"], [(0, 0.5, 0.5), (0, 0, 0)], spacegroup=221, cellpar=[3.8] * 3 + [90] * 3)
    expected = relax(exact, EMT(), RelaxSettings(fmax=1e-5))
    assert not refined
    rounded = exact.copy()
    rounded.positions += np.random.default_rng(0).uniform(-1e-4, 1e-4, rounded.positions.shape)
    rounded.cell[0, 1] = 1e-4
    found = relax(rounded, EMT(), RelaxSettings(fmax=1e-5))
    assert len(refined) == 1
    assert found.a == pytest.approx(expected.a, abs=1e-4)
    assert found.b == found.c == pytest.approx(found.a, abs=1e-9)
    assert found.fmax_final < 1e-5


def test_other_crystal_systems_go_the_general_way(monkeypatch):
    from screen_cli.stages import relax as module

    monkeypatch.setattr(module, "relax_symmetrically", lambda *a, **k: pytest.fail("not cubic"))
    record = relax(bulk("Cu", "hcp", a=2.6, c=4.2), EMT(), RelaxSettings(fmax=1e-2))
    assert record.space_group == 194


class Stepped(EMT):
    """Stress with steps, as of a rough potential: no size makes it vanish."""

    def calculate(self, *args, **kwargs):
        super().calculate(*args, **kwargs)
        self.results["stress"] = np.where(self.results["stress"] > 0, 0.01, -0.01) * np.array([1, 1, 1, 0, 0, 0])


def test_where_the_pressure_jumps_the_general_way_has_the_last_word():
    with pytest.raises(CalculatorError, match="did not reach fmax"):
        relax(bulk("Cu", a=3.7), Stepped(), RelaxSettings(max_steps=40))
