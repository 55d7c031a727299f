"""The same solid written down differently is the same solid: turned, shifted, inverted, reordered."""

from __future__ import annotations

import logging
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from phonopy.structure.atoms import PhonopyAtoms
from phonopy.structure.cells import get_supercell

from phon_wigner.conductivity.postprocess import AnalysisSettings, analyze, check_conductivity
from phon_wigner.conductivity.spectra import LEAST_PATH, Spectra, accumulate, mean_free_paths, path_levels
from phon_wigner.errors import ConductivityError, GridMismatchError, ShapeError
from phon_wigner.phonons.assembly import CrystalParts, build_crystal
from phon_wigner.phonons.harmonic import HarmonicCrystal
from phon_wigner.phonons.impossible_widths import possible_isotope_widths
from phon_wigner.phonons.linewidths import Linewidths
from phon_wigner.phonons.mass_variance import natural_mass_variances
from phon_wigner.physics.velocity_operator import VOIGT
from phon_wigner.testing import make_phonopy
from phon_wigner.testing.springs import spring_crystal, spring_force_constants
from phon_wigner.testing.strategies import cells, linewidths, rotations, spectra

few = settings(deadline=None, max_examples=8)
MESH = (2, 3, 2)


def full_mesh():
    """Every q of a mesh, whatever the symmetry."""
    return np.array(np.meshgrid(*[np.arange(n) for n in MESH], indexing="ij")).reshape(3, -1).T / np.array(MESH)


def tensors(crystal, qpoints=None, weights=None, **settings):
    """κ_P and κ_C as (2, 3, 3) for linewidths that are a smooth function of frequency."""
    qpoints = full_mesh() if qpoints is None else qpoints
    weights = np.ones(len(qpoints), dtype=np.int64) if weights is None else weights
    _, frequencies, _ = crystal.collect_pairs(qpoints, weights, imaginary_tolerance=0.1)
    widths = (0.05 + 0.01 * np.maximum(frequencies, 0))[None]
    record = Linewidths(np.array([300.0]), qpoints, weights, widths)
    result = analyze(crystal, record, settings=AnalysisSettings(imaginary_tolerance=0.1, **settings))
    matrices = np.zeros((2, 3, 3))
    for part, values in zip(matrices, (result.kappa_p[0], result.kappa_c[0]), strict=True):
        for value, (a, b) in zip(values, VOIGT, strict=True):
            part[a, b] = part[b, a] = value
    return matrices


def moved(cell, lattice=None, positions=None, order=None):
    """A copy of a cell with other vectors, fractional positions or order of atoms."""
    order = list(range(len(cell))) if order is None else order
    positions = np.asarray(cell.scaled_positions if positions is None else positions)[order]
    lattice = cell.cell if lattice is None else lattice
    return PhonopyAtoms(symbols=[cell.symbols[i] for i in order], cell=lattice, scaled_positions=positions)


def close(got, expected):
    np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-7 * np.abs(expected).max())


@few
@given(cells(), rotations())
def test_kappa_turns_with_the_crystal(cell, rotation):
    turned = spring_crystal(moved(cell, lattice=cell.cell @ rotation.T))
    close(tensors(turned), rotation @ tensors(spring_crystal(cell)) @ rotation.T)


@few
@given(cells(), hnp.arrays(np.float64, 3, elements=st.floats(-1, 1)))
def test_kappa_knows_no_origin(cell, shift):
    close(tensors(spring_crystal(moved(cell, positions=cell.scaled_positions + shift))), tensors(spring_crystal(cell)))


@few
@given(cells(max_atoms=3), st.data())
def test_kappa_knows_no_order_of_atoms(cell, data):
    order = data.draw(st.permutations(range(len(cell))))
    close(tensors(spring_crystal(moved(cell, order=order))), tensors(spring_crystal(cell)))


@few
@given(cells(), st.permutations(range(3)), st.integers(0, 7))
def test_handedness_of_the_lattice_does_not_matter(cell, axes, signs):
    """Any order and sign of lattice vectors: the same tensor, never a negative one, velocities in the frame of "
    "the input."""
    flip = np.array([1 - 2 * (signs >> i & 1) for i in range(3)])
    lattice = (cell.cell * flip[:, None])[list(axes)]
    positions = (cell.scaled_positions * flip)[:, list(axes)]
    other = moved(cell, lattice=lattice, positions=positions)
    q = (full_mesh() * flip)[:, list(axes)]
    crystal, plain = spring_crystal(other), spring_crystal(cell)
    assert crystal.inverted == (np.linalg.det(lattice) < 0)
    assert crystal.volume > 0
    close(tensors(crystal, q), tensors(plain))
    generic = np.array([[0.11, 0.23, -0.31]])
    here = plain.collect_pairs(generic, np.ones(1, dtype=np.int64), imaginary_tolerance=1)
    there = crystal.collect_pairs((generic * flip)[:, list(axes)], np.ones(1, dtype=np.int64), imaginary_tolerance=1)
    alone = np.diff(here[1][0]).min() > 1e-3  # else the diagonal of V depends on the basis
    if alone:
        close(there[2], here[2])


def test_left_handed_cells_with_charges_are_converted():
    """The NAC of phonopy divides by the volume: a negative one would turn its sign."""
    cell = PhonopyAtoms(
        symbols=["Cs", "Cl"], cell=np.diag([4.0, 4.1, 4.2]), scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]]
    )
    mirror = moved(cell, lattice=cell.cell * np.array([[1], [-1], [1]]), positions=cell.scaled_positions * [1, -1, 1])
    matrix, nac = np.eye(3, dtype=int) * 2, {"born": np.array([np.eye(3), -np.eye(3)]), "dielectric": np.eye(3) * 3}
    nac["factor"] = 14.4
    here, there = (
        build_crystal(CrystalParts(c, matrix, None, nac, spring_force_constants(get_supercell(c, matrix))))
        for c in (cell, mirror)
    )
    q = np.array([0.12, 0.27, 0.08])
    close(there.phonons(q * [1, -1, 1])[0], here.phonons(q)[0])


def test_left_handed_primitive_axes_are_refused():
    cell = PhonopyAtoms(symbols=["Si"], cell=4 * np.eye(3), scaled_positions=[[0, 0, 0]])
    parts = CrystalParts(cell, np.eye(3, dtype=int), np.diag([1.0, -1, 1]), None, np.zeros((1, 1, 3, 3)))
    with pytest.raises(ShapeError, match="--pa"):
        build_crystal(parts)


@few
@given(cells())
def test_one_q_per_star_is_the_full_mesh(cell):
    """On cells of every lattice system, with and without symmetry."""
    crystal = spring_crystal(cell)
    qpoints, weights = crystal.irreducible_mesh((3, 3, 3))
    full = np.array(np.meshgrid(*[np.arange(3)] * 3, indexing="ij")).reshape(3, -1).T / 3
    close(tensors(crystal, qpoints, weights), tensors(crystal, full))


@few
@given(cells())
def test_both_parts_are_positive_in_every_direction(cell):
    for part in tensors(spring_crystal(cell)):
        assert np.linalg.eigvalsh(part).min() >= -1e-9 * np.abs(part).max()


@few
@given(cells(), st.floats(0.001, 10))
def test_boundaries_take_from_the_populations(cell, length):
    crystal = spring_crystal(cell)
    free, bounded = tensors(crystal), tensors(crystal, boundary_mfp=length)
    assert np.linalg.eigvalsh(free[0] - bounded[0]).min() >= -1e-9 * np.abs(free[0]).max()


def test_boundaries_come_from_the_velocities_of_the_sweep():
    """The same widths as phono3py's formula on the velocities of the result; twice is refused."""
    from phono3py.conductivity.scattering_solvers import compute_bulk_boundary_scattering

    crystal = HarmonicCrystal.from_phonopy(make_phonopy())
    qpoints, weights = crystal.irreducible_mesh((3, 3, 3))
    gamma = np.full((1, len(qpoints), 6), 0.1)
    bare = Linewidths(np.array([300.0]), qpoints, weights, gamma)
    kept = AnalysisSettings(keep_modes=True, boundary_mfp=0.02)
    result = analyze(crystal, bare, settings=kept)
    stored = replace(bare, gamma_boundary=compute_bulk_boundary_scattering(result.group_velocity, 0.02))
    np.testing.assert_array_equal(
        result.gamma, analyze(crystal, stored, settings=replace(kept, boundary_mfp=None)).gamma
    )
    assert result.kappa_p[0, 0] < 0.99 * analyze(crystal, bare).kappa_p[0, 0]
    with pytest.raises(GridMismatchError, match="twice"):
        analyze(crystal, stored, settings=kept)


def test_isotopes_go_and_boundaries_stay():
    """--no-isotope leaves boundary scattering in."""
    record = Linewidths(
        np.array([300.0]),
        np.zeros((1, 3)),
        np.ones(1, dtype=int),
        np.zeros((1, 1, 3)),
        np.ones((1, 3)),
        2 * np.ones((1, 3)),
    )
    np.testing.assert_array_equal(record.gamma_static, 3)
    np.testing.assert_array_equal(record.without_isotopes().gamma_static, 2)


# --- numbers that no crystal has ------------------------------------------------------------------------


@few
@given(spectra(), st.data())
def test_isotope_widths_above_their_frequency_are_left_out(frequencies, data):
    """Only those, once, with one warning; what remains is untouched."""
    widths = data.draw(linewidths(len(frequencies), 0.0, 0.2))
    bad = np.array(data.draw(st.lists(st.booleans(), min_size=len(widths), max_size=len(widths))))
    absurd = np.where(bad, frequencies * data.draw(st.floats(1.01, 1e3)), widths)
    assume((widths < frequencies).all())
    got = possible_isotope_widths(absurd[None], frequencies[None], "here")
    np.testing.assert_array_equal(got[0], np.where(bad, 0.0, widths))
    np.testing.assert_array_equal(possible_isotope_widths(got, frequencies[None], "here"), got)


def test_an_absurd_isotope_width_is_explained_and_changes_nothing(caplog):
    """22 and 529 THz: κ_P and κ_C are those without the isotope part of these modes, and the warning says why."""
    crystal = HarmonicCrystal.from_phonopy(make_phonopy())
    qpoints, weights = crystal.irreducible_mesh((3, 3, 3))
    gamma, isotopes = np.full((1, len(qpoints), 6), 0.1), np.full((len(qpoints), 6), 1e-3)
    bare = Linewidths(np.array([300.0]), qpoints, weights, gamma, isotopes, source="kappa-m333.hdf5")
    absurd, without = isotopes.copy(), isotopes.copy()
    absurd[1, 2], absurd[2, 4] = 22.0, 529.0
    without[1, 2] = without[2, 4] = 0.0
    with caplog.at_level(logging.WARNING):
        got = analyze(crystal, replace(bare, gamma_isotope=absurd))
    assert "2 of" in caplog.text
    assert "529" in caplog.text
    assert "symmetric coarse mesh" in caplog.text
    expected = analyze(crystal, replace(bare, gamma_isotope=without))
    np.testing.assert_array_equal(got.kappa_c, expected.kappa_c)
    np.testing.assert_array_equal(got.kappa_p, expected.kappa_p)


@pytest.mark.parametrize(
    ("tensor", "message"),
    [
        ([1, 1, -0.1, 0, 0, 0], "along one direction"),
        ([1, 1, 1, 0, 0, 2], "along"),
        ([1, np.nan, 1, 0, 0, 0], "not finite"),
    ],
)
def test_conductivities_that_no_crystal_has_are_errors(tensor, message):
    with pytest.raises(ConductivityError, match=message):
        check_conductivity(np.array(tensor, dtype=float), "κ_P")
    check_conductivity(np.array([1, 1, 1, 0.1, -0.1, 0.2]), "κ_P")


def test_a_mesh_that_breaks_the_symmetry_is_refused():
    with pytest.raises(GridMismatchError, match="equivalent axes"):
        HarmonicCrystal.from_phonopy(make_phonopy()).irreducible_mesh((3, 2, 2))


def test_a_left_handed_dynamical_matrix_is_refused():
    from phonopy.harmonic.dynamical_matrix import get_dynamical_matrix
    from phonopy.structure.cells import get_primitive

    cell = PhonopyAtoms(symbols=["Si"], cell=-4 * np.eye(3), scaled_positions=[[0, 0, 0]])
    supercell = get_supercell(cell, np.eye(3, dtype=int) * 2)
    primitive = get_primitive(supercell, np.eye(3) / 2)
    matrix = get_dynamical_matrix(np.zeros((8, 8, 3, 3)), supercell, primitive)
    with pytest.raises(ShapeError, match="left-handed"):
        HarmonicCrystal(matrix, np.eye(3, dtype=int)[None], 15.6)


def test_the_variant_refuses_a_left_handed_cell():
    from phono3py import Phono3py

    cell = PhonopyAtoms(symbols=["Si"], cell=-4.0 * np.eye(3), scaled_positions=[[0, 0, 0]])
    crystal = Phono3py(cell, supercell_matrix=np.eye(3, dtype=int) * 2, primitive_matrix="P", log_level=0)
    constants = spring_force_constants(crystal.supercell)
    crystal.fc2, crystal.fc3 = constants, np.zeros((8, 8, 8, 3, 3, 3))
    crystal.mesh_numbers = [2, 2, 2]
    crystal.init_phph_interaction()
    with pytest.raises(ShapeError, match="left-handed"):
        crystal.run_thermal_conductivity(temperatures=[300], transport_type="wigner")


@pytest.mark.parametrize(
    ("symbol", "mass", "expected"),
    [
        ("H", 1.00794, 1.1460e-4),
        ("H", 2.01410, 0.0),
        ("Si", 28.0855, 2.0070e-4),
        ("C", 12.0, 0.0),
        ("C", 12.5, 0.25 / 12.5**2),  # half and half of 12C and 13C
        ("Tc", 98.0, 0.0),
    ],
)
def test_isotope_variance_follows_the_masses(symbol, mass, expected):
    """The natural mixture for natural masses, none for a pure isotope, the least that another mass allows."""
    cell = PhonopyAtoms(symbols=[symbol], cell=np.eye(3) * 4, scaled_positions=[[0, 0, 0]], masses=[mass])
    assert natural_mass_variances(cell)[0] == pytest.approx(expected, rel=0.02, abs=1e-9)


def test_a_mass_that_no_isotope_has_is_refused():
    cell = PhonopyAtoms(symbols=["Si"], cell=np.eye(3) * 4, scaled_positions=[[0, 0, 0]], masses=[40.0])
    with pytest.raises(GridMismatchError, match="outside those of its isotopes"):
        natural_mass_variances(cell)


# --- spectra --------------------------------------------------------------------------------------------


@few
@given(cells(), st.integers(5, 80))
def test_the_axis_of_mean_free_paths_begins_where_heat_flows(cell, n_paths):
    """Zone-boundary modes are at rest but for rounding: no level at 1e-16 nm, and nothing is lost."""
    crystal = spring_crystal(cell)
    qpoints, weights = crystal.irreducible_mesh((4, 4, 4))  # with points at rest and points that move
    gamma = np.full((1, len(qpoints), 3 * len(cell)), 0.1)
    record = Linewidths(np.array([300.0]), qpoints, weights, gamma)
    result = analyze(crystal, record, settings=AnalysisSettings(keep_modes=True, imaginary_tolerance=0.1))
    spectra_ = Spectra.from_result(result, n_paths=n_paths)
    longest = np.nanmax(mean_free_paths(result, 0))
    assert 0.99 * LEAST_PATH * longest < spectra_.path[0] <= spectra_.path[-1]
    assert spectra_.path[-1] >= longest
    for total, end in ((result.kappa_p, spectra_.path_cumulative_p), (result.kappa_c, spectra_.path_cumulative_c)):
        heat_without_lifetime = total[0, :3].mean() - end[-1]
        assert abs(heat_without_lifetime) <= 1e-6 * total[0, :3].mean() + 1e-12


@settings(deadline=None, max_examples=40)
@given(st.lists(st.tuples(st.floats(1e-17, 1e4), st.floats(1e-3, 5)), min_size=1, max_size=20), st.integers(2, 50))
def test_levels_of_the_mean_free_path_stay_near_the_longest(modes, n_paths):
    """Degenerate modes may be at rest and still carry heat: they count at the first level, they do not make it."""
    paths, heat = np.array(modes).T
    levels = path_levels(paths, heat, n_paths)
    assert len(levels) == n_paths
    assert levels[0] >= LEAST_PATH * paths.max() * (1 - 1e-12)
    assert levels[-1] >= paths.max()
    assert accumulate(paths, heat, levels)[-1] == pytest.approx(heat.sum())
    assert heat[paths < levels[0]].sum() <= max(1e-4 * heat.sum(), heat[paths < LEAST_PATH * paths.max()].sum()) + 1e-12
