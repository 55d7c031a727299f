"""compute: one crystal from Python; what it gives does not depend on how the crystal was written."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from ase import Atoms
from ase.build import make_supercell
from ase.calculators.emt import EMT
from ase.constraints import FixAtoms
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

import screen_cli
from screen_cli import CrystalResult, compute
from screen_cli.errors import CalculatorError, ConfigError, PhysicsError, StructureError, UnsupportedElementError

SMALL: dict[str, Any] = {
    "progress": False,
    "relax": False,
    "displace": {"dim": [2, 2, 1]},
    "harmonic": {"mesh": [3, 3, 3], "phase_space": False, "band_points": 3, "dos_points": 21},
    "conductivity": {"mesh": [3, 3, 3], "solver": "standard"},
}


def gold_copper() -> Atoms:
    """L1₀, tetragonal: κ along c is another than along a."""
    return Atoms("AuCu", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[2.8, 2.8, 3.7], pbc=True)


@pytest.fixture(scope="module")
def result() -> CrystalResult:
    return compute(gold_copper(), "emt", temperatures=[200, 300], **SMALL)


def test_everything_is_there_and_typed(result: CrystalResult) -> None:
    assert result.temperatures.tolist() == [200.0, 300.0]
    assert result.kappa_total.shape == (2, 3, 3)
    assert result.kappa_c is None
    np.testing.assert_array_equal(result.kappa_total, result.kappa_p)
    assert result.kappa_total[1, 0, 0] == pytest.approx(result.kappa_total[1, 1, 1])
    assert abs(result.kappa_total[1, 2, 2] / result.kappa_total[1, 0, 0] - 1) > 0.05
    assert result.harmonic.cv.shape == (2,)
    assert result.forces.fc3_forces is not None
    assert result.row["kappa_total_w_mk"] == pytest.approx(np.trace(result.kappa_total[1]) / 3)
    assert list(result.records) == list(result.seconds)
    assert "κ =" in repr(result)


def test_phono3py_opens_what_is_written(result: CrystalResult, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import h5py
    import phono3py

    files = result.to_phono3py(tmp_path)
    assert [path.name for path in files] == ["phono3py_params.yaml", "fc2.hdf5", "fc3.hdf5", "kappa-m333.hdf5"]
    monkeypatch.chdir(tmp_path)
    loaded = phono3py.load("phono3py_params.yaml", log_level=0)
    np.testing.assert_array_equal(loaded.fc3, result.force_constants.fc3)
    np.testing.assert_array_equal(loaded.fc2, result.force_constants.fc2)
    np.testing.assert_allclose(loaded.forces, result.forces.fc3_forces, atol=1e-9)
    with h5py.File("kappa-m333.hdf5") as file:
        np.testing.assert_array_equal(file["kappa"][:], result.conductivity.kappa_p)
        total = file["mode_kappa"][:].sum(axis=(1, 2)) / file["weight"][:].sum()
        np.testing.assert_allclose(total, file["kappa"][:], rtol=1e-9, atol=1e-12)


def test_figures(result: CrystalResult, tmp_path: Path) -> None:
    for name, figure in (("bands", result.plot_bands()), ("kappa", result.plot_kappa())):
        figure.savefig(tmp_path / f"{name}.png")
        assert (tmp_path / f"{name}.png").stat().st_size > 3000


@st.composite
def descriptions(draw: st.DrawFn) -> tuple[Atoms, np.ndarray]:
    """The same crystal in another cell, order, origin and orientation, and the rotation that was applied."""
    atoms = gold_copper()
    if draw(st.booleans()):
        atoms = make_supercell(atoms, [[1, 1, 0], [-1, 1, 0], [0, 0, 1]])
    if draw(st.booleans()):
        atoms.positions += draw(st.tuples(*[st.floats(-3, 3)] * 3))
        atoms.wrap()
        atoms = atoms[draw(st.permutations(range(len(atoms))))]
    quaternion = np.array(draw(st.tuples(*[st.floats(-1, 1)] * 4).filter(lambda q: np.linalg.norm(q) > 0.1)))
    a, b, c, d = quaternion / np.linalg.norm(quaternion)
    rotation = np.array(
        [
            [a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)],
            [2 * (b * c + a * d), a * a - b * b + c * c - d * d, 2 * (c * d - a * b)],
            [2 * (b * d - a * c), 2 * (c * d + a * b), a * a - b * b - c * c + d * d],
        ]
    )
    atoms.set_cell(atoms.cell.array @ rotation.T, scale_atoms=True)
    return atoms, rotation


@pytest.fixture(scope="module")
def by_finite_differences() -> CrystalResult:
    return compute(gold_copper(), "emt", **SMALL, force_constants={"solver": "finite-difference"})


@settings(max_examples=5, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(description=descriptions())
def test_kappa_turns_with_the_crystal_and_knows_no_cell(
    description: tuple[Atoms, np.ndarray], by_finite_differences: CrystalResult
) -> None:
    atoms, rotation = description
    again = compute(atoms, EMT(), **SMALL, force_constants={"solver": "finite-difference"})
    assert again.structure.id == by_finite_differences.structure.id
    expected = rotation @ by_finite_differences.kappa_total @ rotation.T
    # another origin or order displaces other atoms, and fits in 16 atoms agree to per cent; κ_c/κ_a is 2.8
    np.testing.assert_allclose(again.kappa_total, expected, atol=0.03 * np.abs(expected).max())
    np.testing.assert_allclose(again.harmonic.cv, by_finite_differences.harmonic.cv, rtol=1e-3)


def test_constraints_and_the_attached_calculator(result: CrystalResult) -> None:
    fixed = gold_copper()
    fixed.set_constraint(FixAtoms([0, 1]))
    fixed.calc = EMT()
    again = compute(fixed, temperatures=[200, 300], **SMALL)
    np.testing.assert_allclose(again.kappa_total, result.kappa_total, rtol=1e-9)
    assert len(fixed.constraints) == 1


@settings(max_examples=3, deadline=None, phases=[Phase.explicit, Phase.generate])
@given(factor=st.floats(0.7, 1.6).filter(lambda value: abs(value - 1) > 0.01))
def test_masses_reach_the_dynamics_and_nothing_else(factor: float) -> None:
    """ω² goes as 1/m; force constants and forces know no mass."""
    atoms = gold_copper()
    natural = compute(atoms, "emt", **{**SMALL, "conductivity": False})
    atoms.set_masses(factor * atoms.get_masses())
    heavy = compute(atoms, "emt", **{**SMALL, "conductivity": False})
    assert heavy.structure.id != natural.structure.id
    ours, theirs = heavy.displaced.supercells.perfect, natural.displaced.supercells.perfect
    assert ours == theirs
    scale = np.abs(natural.harmonic.frequencies).max()
    slower = natural.harmonic.frequencies.max() / np.sqrt(factor)
    assert heavy.harmonic.frequencies.max() == pytest.approx(slower, rel=1e-3)  # drawn by id: another fit
    assert scale > 1


def test_a_pure_isotope_does_not_scatter() -> None:
    atoms = gold_copper()
    small = {name: value for name, value in SMALL.items() if name != "conductivity"}

    def kappa(*, isotope: bool, pure: bool) -> float:
        crystal = atoms.copy()
        if pure:
            crystal.set_masses([196.96657, 62.929598])  # gold has one isotope; copper-63
        options = {"mesh": [3, 3, 3], "solver": "standard", "isotope": isotope}
        return float(compute(crystal, "emt", **small, conductivity=options).row["kappa_total_w_mk"])

    assert kappa(isotope=True, pure=True) == pytest.approx(kappa(isotope=False, pure=True), rel=1e-12)
    assert kappa(isotope=True, pure=False) < kappa(isotope=False, pure=False) * (1 - 1e-6)


def test_unstable_crystals_say_why_there_is_no_kappa() -> None:
    simple_cubic = Atoms("Cu", cell=[2.4] * 3, pbc=True)
    found = compute(simple_cubic, "emt", **{**SMALL, "displace": {"dim": [3, 3, 3]}})
    assert "unstable" in found.reason
    assert found.harmonic.n_imaginary_modes > 0
    with pytest.raises(PhysicsError, match="has no conductivity: unstable.*require_stable"):
        _ = found.kappa_total


def test_refusals_are_sentences() -> None:
    with pytest.raises(UnsupportedElementError, match="EMT does not know") as caught:
        compute(Atoms("NaCl", scaled_positions=[(0, 0, 0), (0.5, 0.5, 0.5)], cell=[3.5] * 3, pbc=True), "emt", **SMALL)
    assert "stage relax" in caught.value.__notes__[0]
    with pytest.raises(ConfigError, match="needs a force field"):
        compute(gold_copper(), **SMALL)
    with pytest.raises(ConfigError, match="no 'source'"):
        compute(gold_copper(), "emt", source={"name": "files"})
    with pytest.raises(ConfigError, match="Did you mean 'displace'"):
        compute(gold_copper(), "emt", displaced={"distance": 0.01})
    with pytest.raises(CalculatorError):
        compute(gold_copper(), "emt", **{**SMALL, "relax": {"max_steps": 1}})


def test_public_names_are_there_and_light() -> None:
    assert set(dir(screen_cli)) >= set(screen_cli.__all__)
    assert all(getattr(screen_cli, name) is not None for name in screen_cli.__all__)
    with pytest.raises(AttributeError, match="no attribute 'computes'"):
        _ = screen_cli.computes


def test_magnetic_moments_are_said_not_to_be_used(caplog: pytest.LogCaptureFixture) -> None:
    magnetic = gold_copper()
    magnetic.set_initial_magnetic_moments([1.0] * len(magnetic))
    with caplog.at_level("WARNING"), pytest.raises(StructureError, match="at most 1"):
        compute(magnetic, "emt", read={"max_atoms": 1})
    assert "magnetic moments are not used" in caplog.text


def test_the_reference_page_lists_what_is_exported() -> None:
    page = Path(__file__).parents[3] / "docs" / "reference" / "screen-cli-api.md"
    if not page.is_file():
        pytest.skip("the documentation is not beside this package")
    listed = re.findall(r"^   screen_cli\.(\w+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    assert sorted(listed) == sorted(set(screen_cli.__all__) - {"__version__", "HOOK_API", "hookimpl"})
