"""The cell at a temperature, against a quasi-harmonic scan of the same force field."""

from __future__ import annotations

import re
from types import SimpleNamespace

import numpy as np
import pytest
from ase.build import bulk
from ase.calculators.emt import EMT

from screen_cli import compute
from screen_cli.config import settings_from_dict
from screen_cli.crystal.phonopy_cells import cartesian_rotations, phonopy_cell
from screen_cli.physics.anharmonic.density_matrix import normal_modes, thermal_ensemble
from screen_cli.physics.anharmonic.thermal_stress import kinetic_stress
from screen_cli.properties.expansion.quasi_harmonic import scan_volumes
from screen_cli.report.figures.specification import Fact
from screen_cli.report.figures.warm import frequencies_at_temperatures
from screen_cli.report.material import Material
from screen_cli.stages.phonon_objects import load_phonopy
from screen_cli.stages.warm import cell
from screen_cli.stages.warm.cell import relieving_strains, standard_error
from screen_cli.testing.physics_strategies import spring_force_constants

KELVIN = 300


def test_momenta_press_as_a_gas_where_it_is_hot():
    from ase import units

    atoms = bulk("Cu", "fcc", a=3.6, cubic=True)
    modes = normal_modes(spring_force_constants(atoms, 3.4), atoms.get_masses())
    stress = kinetic_stress(thermal_ensemble(modes, 5000.0, classical=True), atoms.get_volume())
    n_modes = len(modes.eigenvalues)
    assert np.trace(stress) == pytest.approx(-n_modes * units.kB * 5000.0 / atoms.get_volume())


def test_strains_have_the_symmetry_and_the_error_of_their_scatter():
    rotations = cartesian_rotations(phonopy_cell(bulk("Cu", "fcc", a=3.6)))
    rng = np.random.default_rng(0)
    compliance = np.linalg.inv(np.diag([1.0, 1.0, 1.0, 0.5, 0.5, 0.5]) + 0.3)
    means, errors = [], []
    for _ in range(300):
        noise = rng.normal(scale=0.02, size=(16, 3, 3))
        strains = relieving_strains(0.05 * np.eye(3) + noise + noise.transpose(0, 2, 1), compliance, rotations)
        assert strains == pytest.approx(np.einsum("s,ab->sab", strains[:, 0, 0], np.eye(3)), abs=1e-12)
        traces = np.trace(strains, axis1=1, axis2=2)
        means.append(traces.mean())
        errors.append(float(standard_error(traces)))
    assert np.std(means) == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.15)
    expected = -np.trace(compliance[:3, :3] @ (0.05 * np.ones((3, 3))))  # tension asks for a smaller cell
    assert np.mean(means) == pytest.approx(expected, abs=4 * np.std(means) / np.sqrt(300))


class Fragile(EMT):
    """A force field that gives no forces beyond a displacement."""

    def calculate(self, *given, **options):
        super().calculate(*given, **options)
        if np.abs(self.results["forces"]).max() > 2.5:
            self.results["forces"] = self.results["forces"] * np.nan


def test_a_force_field_that_fails_at_one_temperature_leaves_the_others():
    row = warm_copper(Fragile(), temperatures=[20, 1500]).row
    assert row["renormalise_20k_state"] == "converged"
    assert row["cell_20k_relax_converged"] is True
    assert row["cell_1500k_state"] == "force_field"
    assert "at 1500 K" in row["cell_1500k_reason"]
    assert "renormalise_1500k_state" not in row
    assert row["cell_1500k_relax_converged"] is False
    assert row["cell_1500k_thermal_strain"] == 0
    assert row.get("cell_1500k_thermal_strain_error") is None


class Disagreeing(EMT):
    """A committee of two that differ by more than their mean."""

    implemented_properties = (*EMT.implemented_properties, "forces_committee", "force_deviation")

    def calculate(self, *given, **options):
        super().calculate(*given, **options)
        forces = self.results["forces"]
        self.results["forces_committee"] = np.array([-forces, 3 * forces])
        self.results["force_deviation"] = 2 * np.abs(forces)


class Pressed(EMT):
    """A stress, eV/Å³, that no volume relieves once the crystal is relaxed."""

    def __init__(self, tension):
        super().__init__()
        self.tension = tension

    def calculate(self, *given, **options):
        super().calculate(*given, **options)
        if len(self.atoms) > 1:
            self.results["stress"] = self.results["stress"] + self.tension * np.array([1, 1, 1, 0, 0, 0])


@pytest.mark.parametrize(
    ("calculator", "structure", "renormalise", "state", "reason"),
    [
        (EMT(), "bcc", {}, "unstable", "a lower symmetry wins"),
        (EMT(), "fcc", {"melting_share": 0.01}, "melts", "the crystal melts"),
        (EMT(), "fcc", {"max_iterations": 1, "error_thz": 1e-5}, "not_converged", "not converged after 1 populations"),
        (Disagreeing(), "fcc", {}, "force_field", "the committee's forces differ by 200%"),
        (Pressed(1.0), "fcc", {}, "runs_away", "the volume has changed by -26%"),
        (Pressed(-1.0), "fcc", {}, "runs_away", r"the volume has changed by \+34%"),
        (Pressed(np.nan), "fcc", {}, "force_field", "the stress of Cu32 is NaN"),
    ],
)
def test_where_there_is_no_cell_the_temperature_ends_with_the_reason(calculator, structure, renormalise, state, reason):
    row = warm_copper(calculator, structure, temperatures=[20], **renormalise).row
    assert row["cell_20k_state"] == state
    assert row["cell_20k_relax_converged"] is False
    assert re.search(f"at 20 K, cell after [0-3] rounds: .*{reason}", row["cell_20k_reason"])
    assert not [name for name in row if name.startswith(("cell_20k_n_atoms_supercell", "renormalise_20k"))]


def test_the_report_counts_temperatures_that_ended_with_their_cell():
    rows = [
        {"renormalise_20k_commensurate_min_thz": 1.0, "renormalise_20k_state": "converged", "cell_20k_state": "moves"},
        {"cell_20k_state": "runs_away", "cell_20k_relax_converged": False},
        {"cell_20k_state": "converged", "cell_20k_relax_converged": True},  # and failed behind it
        {},
    ]
    run = SimpleNamespace(settings=settings_from_dict({"renormalise": {"enabled": True, "temperatures": [20]}}))
    (figure,) = frequencies_at_temperatures(Material(run, rows, []))
    assert figure.facts == [Fact("stable at 20 K", "1 of 2")]


def test_a_stress_that_asks_for_large_strains_for_ever_is_no_cell(monkeypatch):
    monkeypatch.setattr(cell, "_FARTHEST", np.inf)
    monkeypatch.setattr(cell, "_ROUNDS", 2)
    row = warm_copper(Pressed(-1.0), temperatures=[20]).row
    assert row["cell_20k_state"] == "runs_away"
    assert row["cell_20k_reason"].endswith("in every round the stress asked for a strain beyond 5%")


def test_a_cell_that_still_moves_goes_on_with_a_warning():
    row = warm_copper(EMT(), "bcc", "Al", temperatures=[20]).row
    assert row["cell_20k_state"] == "moves"
    assert row["cell_20k_relax_converged"] is False
    assert row["renormalise_20k_state"] == "converged"
    assert row["renormalise_20k_trusted"] is False
    warning = row["renormalise_20k_force_constants_warning"]
    assert warning == f"The cell is not that of the temperature ({row['cell_20k_reason']})."
    assert "the last strain was" in warning


def test_copper_expands_as_its_quasi_harmonic_scan_says():
    result = warm_copper(EMT(), temperatures=[KELVIN])
    row, relaxed = result.row, result.records["relax"]
    assert row["renormalise_300k_state"] == "converged"
    assert row["cell_300k_relax_converged"] is True
    phonopy = load_phonopy(result.displaced, result.records["force_constants"])
    scan = scan_volumes(
        phonopy, EMT(), [4, 4, 4], np.arange(50.0, 400.0, 50.0), volumes=(0.99, 1, 1.01, 1.02, 1.03, 1.04)
    )
    expected = float(np.interp(KELVIN, scan.temperatures, scan.volume)) / relaxed.volume - 1
    assert expected > 0.01
    assert 0 < row["cell_300k_thermal_strain_error"] < 0.1 * row["cell_300k_thermal_strain"]
    assert row["cell_300k_volume_change"] == pytest.approx(expected, rel=0.15)


def warm_copper(calculator, structure="fcc", symbol="Cu", **renormalise):
    lengths = {"Cu-fcc": 3.6, "Cu-bcc": 2.87, "Al-bcc": 3.2}
    return compute(
        bulk(symbol, structure, a=lengths[f"{symbol}-{structure}"]),
        calculator,
        progress=False,
        displace={"dim": [2, 2, 2]},
        harmonic={"phase_space": False, "mesh": [3, 3, 3], "band_points": 3},
        conductivity={"enabled": False},
        renormalise={"enabled": True, "select": "all", "cell": "thermal", "third_order": False, **renormalise},
    )
