"""Moments that calculators begin with reach them, count in what makes results their own, and change nothing else."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.calculators.emt import EMT

from screen_cli.calculators.environments.program import pack_structures, unpack_structures
from screen_cli.calculators.magnetic_moments import WithMagneticMoments
from screen_cli.config import CalculatorSettings
from screen_cli.errors import ConfigError
from screen_cli.run.force_field import RegisteredForceField

SPIN = """
import numpy as np
from ase.calculators.emt import EMT

class Spin(EMT):
    def calculate(self, atoms=None, *given):
        super().calculate(atoms, *given)
        self.results["energy"] -= float(np.sum(atoms.get_initial_magnetic_moments() ** 2))
"""


@pytest.fixture
def spin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "spin_of_a_test.py").write_text(SPIN)
    monkeypatch.syspath_prepend(tmp_path)
    return "ase:spin_of_a_test.Spin"


@pytest.fixture
def alloy() -> Atoms:
    atoms = bulk("Ni", cubic=True)
    atoms.symbols[0] = "Al"
    atoms.set_initial_magnetic_moments(None)  # ASE gives nickel some
    atoms.rattle(0.05, seed=1)
    return atoms


def energy(settings: CalculatorSettings, atoms: Atoms) -> float:
    copy = atoms.copy()
    copy.calc = RegisteredForceField(settings).calculator
    return float(copy.get_potential_energy())


def test_every_atom_of_an_element_begins_with_its_moment(spin: str, alloy: Atoms) -> None:
    without = energy(CalculatorSettings(spin), alloy)
    begun = energy(CalculatorSettings(spin, magnetic_moments={"Ni": 0.6}), alloy)
    assert begun - without == pytest.approx(-3 * 0.36)
    assert not alloy.has("initial_magmoms")
    doubled = alloy.repeat((2, 1, 1))
    both = energy(CalculatorSettings(spin, magnetic_moments={"Ni": 0.6, "Al": -0.1}), doubled)
    assert both == pytest.approx(2 * (without - 3 * 0.36 - 0.01))


def test_what_does_not_look_at_moments_gives_the_same(alloy: Atoms) -> None:
    plain, begun = EMT(), WithMagneticMoments(EMT(), {"Ni": 0.6})
    assert np.array_equal(begun.get_forces(alloy), plain.get_forces(alloy))
    assert np.array_equal(begun.get_stress(alloy), plain.get_stress(alloy))
    alloy.positions[0, 0] += 0.1
    assert np.array_equal(begun.get_forces(alloy), plain.get_forces(alloy))


def test_calculators_that_take_many_take_many_with_moments(alloy: Atoms) -> None:
    class Many(EMT):
        def predict(self, structures: list[Atoms]) -> list[dict[str, float]]:
            return [{"energy": atoms.get_initial_magnetic_moments().sum()} for atoms in structures]

    assert [found["energy"] for found in WithMagneticMoments(Many(), {"Ni": 0.5}).predict([alloy, alloy])] == [1.5, 1.5]
    assert not hasattr(WithMagneticMoments(EMT(), {"Ni": 0.5}), "predict")


def test_moments_go_to_another_environment(alloy: Atoms) -> None:
    alloy.set_initial_magnetic_moments([0.0, 0.6, 0.6, 0.6])
    (received,) = unpack_structures(*pack_structures([alloy]))
    assert received.get_initial_magnetic_moments().tolist() == [0.0, 0.6, 0.6, 0.6]


def test_results_with_other_moments_are_others(spin: str) -> None:
    def identity(**settings: dict[str, float]) -> object:
        return RegisteredForceField(CalculatorSettings(spin, **settings)).identity()

    assert identity() == identity(magnetic_moments={})
    assert identity(magnetic_moments={"Ni": 0.6}) != identity()
    assert identity(magnetic_moments={"Ni": 0.6}) != identity(magnetic_moments={"Ni": 0.7})


@pytest.mark.parametrize("moments", [{"Nickel": 0.6}, {"Ni": float("nan")}])
def test_what_is_no_moment_of_an_element_is_refused(moments: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match=r"calculator\.magnetic_moments has Ni"):
        WithMagneticMoments(EMT(), moments)
