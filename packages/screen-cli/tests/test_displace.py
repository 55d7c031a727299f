"""Displaced supercells: size, number, randomness, and a yaml that phono3py opens."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
from ase import Atoms
from ase.build import bulk
from ase.spacegroup import crystal

from screen_cli.config import DisplaceSettings
from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.crystal.supercell import choose_supercell
from screen_cli.errors import ConfigError, PhysicsError, StructureError, UnderdeterminedFitError
from screen_cli.physics.rank_guard import displacements_span
from screen_cli.solvers.force_constants.symfc import SymfcSolver
from screen_cli.stages.displace import displace, harmonic_settings

NACL = bulk("NaCl", "rocksalt", a=5.64)


@pytest.fixture(scope="module")
def nacl():
    return displace(NACL, DisplaceSettings(), seed_text="x")


def test_rocksalt_gets_twelve_paired_cells_of_64_atoms(nacl):
    assert nacl.n_atoms_supercell == 64
    assert nacl.supercell_dim == (2, 2, 2)
    assert nacl.n_supercells == 12
    assert nacl.n_params_fc3 == 758
    assert nacl.equations_ratio == pytest.approx(6 * 192 / 758)


def test_every_atom_moves_by_the_distance_and_partners_cancel(nacl):
    u = nacl.supercells.displacements
    assert u.shape == (12, 64, 3)
    np.testing.assert_allclose(np.linalg.norm(u, axis=2), 0.03, rtol=1e-12)
    np.testing.assert_array_equal(u[0::2], -u[1::2])
    assert np.abs(u[0] - u[2]).max() > 0.01  # pairs differ from one another


def test_directions_are_isotropic():
    u = displace(NACL, DisplaceSettings(n_supercells=100)).supercells.displacements[::2].reshape(-1, 3) / 0.03
    covariance = u.T @ u / len(u)
    np.testing.assert_allclose(covariance, np.eye(3) / 3, atol=5 * 0.3 / np.sqrt(len(u)))  # 5 standard errors


def test_seed_fixes_the_set(nacl):
    again = displace(NACL, DisplaceSettings(), seed_text="x")
    np.testing.assert_array_equal(again.supercells.displacements, nacl.supercells.displacements)
    assert again.yaml == nacl.yaml
    own = DisplaceSettings(pattern="crystal")
    for other in (
        displace(NACL, DisplaceSettings(seed=1), seed_text="x"),
        displace(NACL, own, seed_text="x"),
        displace(NACL, own, seed_text="y"),
    ):
        assert np.abs(other.supercells.displacements - nacl.supercells.displacements).max() > 0.01


def test_crystals_of_one_kind_share_their_directions(nacl):
    larger = bulk("KBr", "rocksalt", a=6.6)
    other = displace(larger, DisplaceSettings(distance=0.06), seed_text="another")
    np.testing.assert_allclose(other.supercells.displacements, 2 * nacl.supercells.displacements, atol=1e-12)


def test_yaml_opens_in_phono3py_with_the_same_supercells(nacl, tmp_path):
    import phono3py

    path = tmp_path / "phono3py_disp.yaml"
    path.write_text(nacl.yaml)
    loaded = phono3py.load(path, produce_fc=False, log_level=0)
    ideal = nacl.supercells.positions
    for cell, u in zip(loaded.supercells_with_displacements, nacl.supercells.displacements, strict=True):
        np.testing.assert_allclose(cell.positions, ideal + u, atol=1e-9)
    assert len(loaded.primitive) == 2


def test_finite_differences_in_phono3pys_order(tmp_path):
    import phono3py

    zns = bulk("ZnS", "zincblende", a=5.41)
    record = displace(zns, DisplaceSettings(dim=[1, 1, 1], dim_fc2=[2, 2, 2]), kind="finite-difference")
    path = tmp_path / "phono3py_disp.yaml"
    path.write_text(record.yaml)
    loaded = phono3py.load(path, produce_fc=False, log_level=0)
    for supercells, cells in (
        (record.supercells, loaded.supercells_with_displacements),
        (record.supercells_fc2, loaded.phonon_supercells_with_displacements),
    ):
        assert len(cells) == len(supercells.displacements) > 0
        for cell, u in zip(cells, supercells.displacements, strict=True):
            np.testing.assert_allclose(cell.positions, supercells.positions + u, atol=1e-9)


def test_146_finite_differences_of_rocksalt():
    assert displace(NACL, DisplaceSettings(), kind="finite-difference").n_supercells == 146


def test_without_third_order():
    record = displace(NACL, DisplaceSettings(), kind="finite-difference", third_order=False)
    assert (record.n_supercells, record.n_supercells_fc2) == (0, 2)


def test_separate_fc2_supercell_is_small_in_number():
    record = displace(NACL, DisplaceSettings(dim_fc2=[2, 2, 3]))
    assert record.supercells_fc2.displacements.shape == (4, 96, 3)


def test_too_few_supercells_are_refused():
    with pytest.raises(UnderdeterminedFitError, match="n_supercells = 12"):
        displace(NACL, DisplaceSettings(n_supercells=8))


def test_a_cutoff_of_the_fit_saves_supercells():
    """Wurtzite in 72 atoms: 7752 third-order constants, of which the fit has 569 within 4.5 Å."""
    zincite = bulk("ZnO", "wurtzite", a=3.25, c=5.21)
    solver = SymfcSolver(cutoff=4.5)
    cut = displace(zincite, DisplaceSettings(dim=[3, 3, 2], margin=2.0), count=solver.count_parameters)
    assert (cut.n_params_fc2, cut.n_params_fc3) == (126, 569)
    assert cut.n_supercells == 12  # 144 without
    assert cut.equations_ratio == pytest.approx(6 * 216 / 569)
    few = DisplaceSettings(dim=[3, 3, 2], margin=2.0, n_supercells=4)
    with pytest.raises(UnderdeterminedFitError, match="569 of fc3"):
        displace(zincite, few, count=solver.count_parameters)


MG3SB2 = crystal(
    ["Mg", "Mg", "Sb"],
    [(0, 0, 0), (1 / 3, 2 / 3, 0.634), (1 / 3, 2 / 3, 0.228)],
    spacegroup=164,
    cellpar=[4.568, 4.568, 7.229, 90, 90, 120],
)


def test_equations_enough_but_a_direction_unseen():
    """Mg3Sb2: three modes along c share a representation, so two pairs leave one of them out at ratio 2.2."""
    settings = harmonic_settings(DisplaceSettings(dim=[2, 2, 2], margin=2.0))
    chosen = displace(MG3SB2, settings, third_order=False)
    assert chosen.n_supercells == 6
    vectors = chosen.supercells.displacements[::2]
    cell = Atoms(
        numbers=chosen.supercells.numbers,
        positions=chosen.supercells.positions,
        cell=chosen.supercells.cell,
        pbc=True,
    )
    assert not displacements_span(*symmetry_action(cell), vectors[:2])
    assert displacements_span(*symmetry_action(cell), vectors)
    with pytest.raises(UnderdeterminedFitError, match="leave directions out"):
        displace(MG3SB2, replace(settings, n_supercells=4), third_order=False)


@pytest.mark.parametrize("n_pairs", [2, 3])
def test_force_constants_are_found_where_displacements_span(n_pairs):
    """Forces of springs: the fit returns them with three pairs; with two it fits the forces as well, and is wrong."""
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    settings = harmonic_settings(DisplaceSettings(dim=[1, 1, 2], margin=1.0))
    record = displace(MG3SB2, settings, third_order=False)
    perfect = record.supercells
    cell = SymfcAtoms(
        cell=perfect.cell,
        scaled_positions=perfect.positions @ np.linalg.inv(perfect.cell),
        numbers=perfect.numbers,
    )
    springs = _springs(cell)
    rng = np.random.default_rng(3)
    displacements = 0.03 * rng.normal(size=(n_pairs, len(cell.numbers), 3))
    forces = -np.einsum("ijab,njb->nia", springs, displacements)
    symfc = Symfc(cell, log_level=0)
    symfc.displacements, symfc.forces = displacements, forces
    symfc.run(max_order=2, is_compact_fc=False)
    error = np.abs(symfc.force_constants[2] - springs).max() / np.abs(springs).max()
    ase_cell = Atoms(numbers=cell.numbers, cell=cell.cell, scaled_positions=cell.scaled_positions, pbc=True)
    assert displacements_span(*symmetry_action(ase_cell), displacements) == (error < 1e-6)
    assert (error < 1e-6) == (n_pairs == 3)


def _springs(cell):
    """fc2 (n_atoms, n_atoms, 3, 3) of springs between all pairs of a periodic cell, exp(-r) along the bond."""
    n_atoms = len(cell.numbers)
    fc2 = np.zeros((n_atoms, n_atoms, 3, 3))
    shifts = np.array(list(itertools.product(range(-3, 4), repeat=3))) @ cell.cell
    positions = cell.scaled_positions @ cell.cell
    for i, j in itertools.product(range(n_atoms), repeat=2):
        bonds = positions[j] - positions[i] + shifts
        lengths = np.linalg.norm(bonds, axis=1)
        near = (lengths > 1e-6) & (lengths < 8.0)
        units = bonds[near] / lengths[near, None]
        block = np.einsum("n,na,nb->ab", np.exp(-lengths[near]), units, units)
        fc2[i, j] -= block
        fc2[i, i] += block
    return fc2


def test_a_cutoff_below_the_bonds_is_refused():
    with pytest.raises(PhysicsError, match=r"cutoff.*leaves no force constant"):
        displace(NACL, DisplaceSettings(dim=[2, 2, 2]), count=SymfcSolver(cutoff=1.0).count_parameters)


ELPASOLITE = crystal(
    ["Al", "Na", "K", "F"],
    [(0, 0, 0), (0.5, 0.5, 0.5), (0.25,) * 3, (0.22, 0, 0)],
    spacegroup=225,
    cellpar=[8.1] * 3 + [90] * 3,
)


def test_elpasolite_stays_feasible():
    unitcell, base, dim = choose_supercell(ELPASOLITE, DisplaceSettings())
    assert (base, dim, len(unitcell)) == ("primitive", (2, 2, 2), 10)


def test_an_fc2_supercell_of_its_own_counts_the_cells_that_the_other_counts():
    unitcell, base, dim = choose_supercell(ELPASOLITE, DisplaceSettings(dim_fc2=[2, 2, 2]))
    assert (base, dim, len(unitcell)) == ("conventional", (1, 1, 1), 40)
    with pytest.raises(StructureError, match=r"has 40 atoms, more than displace\.max_atoms = 30.*dim_fc2"):
        choose_supercell(ELPASOLITE, DisplaceSettings(dim_fc2=[2, 2, 2], max_atoms=30))


@pytest.mark.parametrize(("a", "dim"), [(4.03, (2, 2, 2)), (5.64, (2, 2, 2)), (10.1, (1, 1, 1))])
def test_edges_reach_the_length_unless_too_many_atoms(a, dim):
    _, base, found = choose_supercell(bulk("NaCl", "rocksalt", a=a), DisplaceSettings())
    assert (base, found) == ("conventional", dim)


def test_bad_settings():
    with pytest.raises(ConfigError, match="three positive"):
        displace(NACL, DisplaceSettings(dim=[2, 2]))
    with pytest.raises(ConfigError, match="kind"):
        displace(NACL, DisplaceSettings(), kind="thermal")
    with pytest.raises(StructureError, match="max_atoms"):
        displace(NACL, DisplaceSettings(max_atoms=1))


def test_supercell_that_symmetry_leaves_without_third_order_is_refused():
    with pytest.raises(StructureError, match="no third-order"):
        displace(NACL, DisplaceSettings(dim=[1, 1, 1]))


def test_isotopes_that_break_the_symmetry_are_refused():
    atoms = bulk("Si", "diamond", a=5.43)
    atoms.set_masses([28.0, 30.0])
    with pytest.raises(StructureError, match="different masses"):
        displace(atoms, DisplaceSettings(dim=[1, 1, 1]), third_order=False)
    atoms.set_masses([30.0, 30.0])
    assert displace(atoms, DisplaceSettings(dim=[1, 1, 1]), third_order=False).n_supercells > 0
