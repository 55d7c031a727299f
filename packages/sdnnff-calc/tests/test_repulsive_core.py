"""The core that holds atoms apart: smooth, consistent, silent where the model knows what it says."""

from __future__ import annotations

import dataclasses
import logging

import numpy as np
import pytest
import torch
from ase import Atoms
from ase.build import bulk
from ase.filters import FrechetCellFilter
from ase.optimize import FIRE
from hypothesis import given, settings
from hypothesis import strategies as st

from sdnnff_calc import SDNNFF
from sdnnff_calc.calculators.committee import Committee
from sdnnff_calc.errors import OverlappingAtomsError
from sdnnff_calc.geometry.environments import build_environments
from sdnnff_calc.models.checkpoint import Model
from sdnnff_calc.models.repulsive_core import RepulsiveCore, screened_repulsion
from sdnnff_calc.testing import toy_model

CONSERVATIVE = ["conservative-1", "conservative-1-scaled", "conservative-2"]
CLOSEST = {(11, 11): 3.0, (11, 17): 2.4, (17, 17): 3.0}


def model_with_core(name: str, seed: int = 0) -> Model:
    model = toy_model(name, "float64", seed)
    model.statistics = dataclasses.replace(model.statistics, closest_pairs=CLOSEST)
    model.repulsive_core = True
    return model


def test_the_pair_energy_is_coulombs_close_by_and_its_slope_is_its_derivative() -> None:
    distance = torch.logspace(-6, 0.5, 40, dtype=torch.float64).requires_grad_(True)
    first, second = torch.full_like(distance, 14.0), torch.full_like(distance, 8.0)
    energy, slope = screened_repulsion(distance, first, second)
    assert float(energy[0].detach()) == pytest.approx(
        14.3996 * 14 * 8 / 1e-6, rel=2e-4
    )  # the amplitudes sum to 0.99996
    (derivative,) = torch.autograd.grad(energy.sum(), distance)
    assert torch.allclose(derivative, slope, rtol=1e-12)
    # silicon and oxygen at 1 Å, by hand: a = 0.0999 Å, φ(x = 10.01) = 0.009013
    one = torch.ones(1, dtype=torch.float64)
    length = 0.8854 * 0.529177 / (14**0.23 + 8**0.23)
    x = 1.0 / length
    by_hand = 14.3996 * 112 * (
        0.18175 * np.exp(-3.1998 * x) + 0.50986 * np.exp(-0.94229 * x) + 0.28022 * np.exp(-0.4029 * x)
        + 0.02817 * np.exp(-0.20162 * x)
    )  # fmt: skip
    assert float(screened_repulsion(one, 14 * one, 8 * one)[0]) == pytest.approx(by_hand, rel=1e-5)


@settings(max_examples=25, deadline=None)
@given(
    lattice=st.floats(2.4, 4.6),
    shear=st.floats(-0.2, 0.2),
    seed=st.integers(0, 1000),
    name=st.sampled_from(CONSERVATIVE),
)
def test_forces_and_stress_are_derivatives_with_images_inside_the_core(
    lattice: float, shear: float, seed: int, name: str
) -> None:
    """Two atoms per cell, images of an atom inside the core of the atom itself; central differences in float64."""
    atoms = bulk("NaCl", "rocksalt", a=lattice)
    atoms.set_cell(atoms.cell.array @ (np.eye(3) + shear * np.eye(3, k=1)), scale_atoms=True)
    atoms.rattle(0.05, seed=seed)
    calculator = SDNNFF(model_with_core(name), skin=0.0)
    atoms.calc = calculator
    forces, stress = atoms.get_forces(), atoms.get_stress(voigt=False)
    scale = max(1.0, float(np.abs(forces).max()))
    step = 1e-5

    def energy(structure: Atoms) -> float:
        return float(calculator.predict([structure])[0]["energy"])

    for axis in range(3):
        shifted = [atoms.copy(), atoms.copy()]
        for sign, moved in zip((1, -1), shifted, strict=True):
            moved.positions[1, axis] += sign * step
        slope = (energy(shifted[0]) - energy(shifted[1])) / (2 * step)
        assert -slope == pytest.approx(forces[1, axis], abs=2e-5 * scale)
    strain = np.zeros((3, 3))
    strain[0, 1] = strain[1, 0] = step
    strained = [atoms.copy(), atoms.copy()]
    for sign, moved in zip((1, -1), strained, strict=True):
        moved.set_cell(atoms.cell.array @ (np.eye(3) + sign * strain), scale_atoms=True)
    slope = (energy(strained[0]) - energy(strained[1])) / (2 * step) / 2
    assert slope / atoms.get_volume() == pytest.approx(stress[0, 1], abs=2e-5 * max(1.0, np.abs(stress).max()))


@pytest.mark.parametrize("name", [*CONSERVATIVE, "direct-1", "direct-2", "grid"])
def test_a_committee_has_the_same_core(name: str) -> None:
    models = [model_with_core(name, seed) for seed in (0, 1)]
    atoms = bulk("NaCl", "rocksalt", a=3.6, cubic=True)
    atoms.rattle(0.1, seed=2)
    found = Committee(models, "cpu").predict_committee([atoms])
    alone = [SDNNFF(model).predict([atoms])[0] for model in models]
    scale = np.abs(alone[0]["forces"]).max()
    assert scale > 10.0
    for k, results in enumerate(alone):
        assert np.allclose(found["forces"][0][k], results["forces"], atol=1e-9 * scale)
        if "energy" in results:
            assert found["energies"][k, 0] == pytest.approx(results["energy"], rel=1e-9)
            assert np.allclose(found["stresses"][k, 0], results["stress"], rtol=1e-7, atol=1e-9)


@pytest.mark.parametrize("name", [*CONSERVATIVE, "direct-1", "grid"])
def test_nothing_changes_where_no_pair_is_inside(name: str, salt: Atoms) -> None:
    model = model_with_core(name)
    with_core, without = (SDNNFF(model, core=core).predict([salt])[0] for core in (True, False))
    assert RepulsiveCore(CLOSEST).terms(build_environments([salt], 4.5)) is None
    for key, value in without.items():
        assert np.array_equal(with_core[key], value), key


def test_the_reach_is_what_was_learned_from_in_contact_and_spares_bonds_that_were_not() -> None:
    """Al–N was learned from at 2.03 Å only, Cl–O at 1.65; AlN has bonds of 1.89 Å, perchlorates of 1.44."""
    outer = RepulsiveCore({(7, 13): 2.03, (8, 17): 1.65, (11, 17): 2.29}).outer
    assert outer[8, 17] == pytest.approx(0.75 * (0.66 + 1.02))
    assert outer[11, 17] == outer[17, 11] == pytest.approx(0.9 * 2.29)
    assert outer[7, 13] == outer[13, 7] == pytest.approx(0.75 * (0.71 + 1.21))
    assert outer[6, 7] == pytest.approx(0.75 * (0.76 + 0.71))  # never learned from; the bond of a cyanide is 1.16 Å


@pytest.mark.parametrize("name", CONSERVATIVE)
def test_a_pair_is_pushed_apart_without_a_jump_all_the_way_in(name: str) -> None:
    calculator = SDNNFF(model_with_core(name))
    distances = np.linspace(0.4, 3.0, 1301)
    pairs = [Atoms("NaCl", [[0, 0, 0], [d, 0, 0]]) for d in distances]
    results = calculator.predict(pairs)
    force = np.array([r["forces"][1, 0] for r in results])
    energy = np.array([r["energy"] for r in results])
    outer = 0.9 * 2.4
    assert (force[distances < 0.75 * outer] > 0.5).all()
    assert np.allclose(-np.gradient(energy, distances)[5:-5], force[5:-5], atol=1e-3 * force.max())
    for join in (outer, 0.75 * outer):  # the slope goes on, by steps that are small against 0.12 Å
        k = int(np.searchsorted(distances, join))
        steps = np.diff(force[k - 30 : k + 30])
        assert np.abs(np.diff(steps)).max() < 0.1 * np.abs(steps).max()


def test_outside_what_it_knows_is_said_once_until_it_comes_back(caplog: pytest.LogCaptureFixture) -> None:
    calculator = SDNNFF(model_with_core("conservative-1"))
    atoms = Atoms("NaCl", [[0, 0, 0], [2.6, 0, 0]], calculator=calculator)
    said = []
    for distance in (2.6, 2.0, 1.9, 2.6, 1.5):
        atoms.positions[1, 0] = distance
        caplog.clear()
        with caplog.at_level(logging.WARNING):
            atoms.get_forces()
        said.append(("outside what it knows" in caplog.text, calculator.is_outside))
    assert said == [(False, False), (True, True), (False, True), (False, False), (True, True)]


def test_without_a_core_close_atoms_are_refused() -> None:
    model = model_with_core("conservative-1")
    atoms = Atoms("NaCl", [[0, 0, 0], [1.5, 0, 0]])
    atoms.calc = SDNNFF(model, core=False)
    with pytest.raises(OverlappingAtomsError, match="this model refuses them below"):
        atoms.get_forces()
    model.repulsive_core = False
    atoms.calc = SDNNFF(model, core=None)
    with pytest.raises(OverlappingAtomsError):
        atoms.get_forces()
    atoms.calc = SDNNFF(model, core=True)
    assert atoms.get_forces()[1, 0] > 1.0


@pytest.mark.parametrize(("weights", "lattice"), [("default", 4.2), ("default-34", 4.2), ("default-34", 3.2)])
def test_a_relaxation_from_a_guessed_lattice_constant_does_not_explode(weights: str, lattice: float) -> None:
    """Sodium chloride at 74 and 57 % of its lattice constant; from 57 % the weights of 63 elements fall through."""
    atoms = bulk("NaCl", "rocksalt", a=lattice)
    atoms.calc = SDNNFF(weights, core=True)
    FIRE(FrechetCellFilter(atoms), logfile=None).run(fmax=0.05, steps=300)
    assert (4 * atoms.get_volume()) ** (1 / 3) == pytest.approx(5.7, abs=0.15)
