"""COHP of bonds: exact on a molecule and a chain, sum rules, and nothing that the choice of cell or basis decides."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest
from ase.build import bulk, make_supercell
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from screen_cli.physics.bonds import Bonds, nearest_bonds
from screen_cli.physics.hamilton_population import LocalMatrices, bond_populations, fill_bands

SEEDS = st.integers(0, 10**6)


def bonds(*entries):
    """Bonds (i, j, n): atom j stands n cells along the first axis."""
    pairs = np.array([entry[:2] for entry in entries], dtype=np.int64)
    cells = np.array([(entry[2], 0, 0) for entry in entries], dtype=np.int64)
    return Bonds(pairs, cells, np.ones(len(entries)))


def chain(blocks_h, blocks_s, n_kpoints, atoms, n_electrons, half=False):
    """Matrices of a chain from blocks by cell, (n_orbitals, n_orbitals) each, those of negative cells understood."""
    points = np.arange(n_kpoints) / n_kpoints
    weights = np.full(n_kpoints, 1 / n_kpoints)
    if half:
        kept = points <= 0.5
        weights = np.where((points == 0) | (points == 0.5), 1, 2)[kept] / n_kpoints
        points = points[kept]
    found = []
    for blocks in (blocks_h, blocks_s):
        matrix = np.zeros((len(points), *blocks[0].shape), dtype=complex)
        for n, block in enumerate(blocks):
            phases = np.exp(2j * np.pi * n * points)[:, None, None]
            matrix += phases * block + (0 if n == 0 else phases.conj() * block.T)
        found.append(matrix)
    kpoints = np.stack([points, 0 * points, 0 * points], axis=1)
    atoms = np.asarray(atoms, dtype=np.int64)
    return LocalMatrices(*found, kpoints, weights, atoms, np.ones(len(atoms), dtype=bool), float(n_electrons))


def random_chain(seed, n_atoms=2, n_orbitals=2):
    """Blocks of a chain with overlaps to its neighbours, and the atom of each orbital."""
    random = np.random.default_rng(seed)
    size = n_atoms * n_orbitals
    onsite = random.normal(0, 1, (size, size))
    overlap = 0.03 * random.normal(0, 1, (size, size))
    atoms = np.repeat(np.arange(n_atoms), n_orbitals)
    own = np.where(atoms[:, None] == atoms, 0.0, overlap + overlap.T)
    hamiltonians = [onsite + onsite.T + np.diag(np.linspace(-6, 6, size)), 0.5 * random.normal(0, 1, (size, size))]
    return hamiltonians, [np.eye(size) + own, 0.03 * random.normal(0, 1, (size, size))], atoms


def molecule(n_electrons, s=0.2):
    return chain([np.array([[-5.0, -3.0], [-3.0, -5.0]])], [np.array([[1, s], [s, 1.0]])], 1, [0, 1], n_electrons)


def test_a_molecule_of_two_electrons_is_bound_by_what_theory_says():
    found = bond_populations(molecule(2), bonds((0, 1, 0)))
    level = (-5.0 - 3.0) / 1.2
    assert found.filling.zero == pytest.approx(level)
    assert found.icohp[0] == pytest.approx(2 * (-3.0 - 0.2 * level) / 1.2)
    assert found.bonding[0] == pytest.approx(-found.icohp[0])
    assert found.antibonding[0] == pytest.approx(0.0, abs=1e-9)
    assert found.spilling == pytest.approx(0.0, abs=1e-12)


def test_the_upper_level_of_a_molecule_is_antibonding():
    found = bond_populations(molecule(4, s=0.0), bonds((0, 1, 0)))
    assert found.bonding[0] == pytest.approx(6.0)
    assert found.antibonding[0] == pytest.approx(6.0)
    assert found.icohp[0] == pytest.approx(0.0, abs=1e-12)


def test_a_half_filled_chain_has_the_bond_order_of_two_over_pi():
    found = bond_populations(
        chain([np.array([[0.0]]), np.array([[-10.0]])], [np.eye(1), np.zeros((1, 1))], 4000, [0], 1), bonds((0, 0, 1))
    )
    assert found.filling.gap == 0
    assert found.icohp[0] == pytest.approx(2 * -10.0 * 2 / np.pi, rel=1e-3)
    assert found.antibonding[0] < 1e-3


def test_the_cell_of_a_metal_does_not_matter():
    hop, none = np.array([[-1.0]]), np.zeros((1, 1))
    single = chain([none, hop], [np.eye(1), none], 96, [0], 1)
    pair = np.array([[0.0, -1.0], [-1.0, 0.0]])
    double = chain([pair, np.array([[0.0, 0.0], [-1.0, 0.0]])], [np.eye(2), np.zeros((2, 2))], 48, [0, 1], 2)
    first = bond_populations(single, bonds((0, 0, 1)))
    second = bond_populations(double, bonds((0, 1, 0), (1, 0, 1)))
    assert first.filling.gap == second.filling.gap == 0
    assert second.icohp == pytest.approx(np.tile(first.icohp, 2), rel=1e-6)
    assert second.bonding == pytest.approx(np.tile(first.bonding, 2), rel=1e-6)


def test_a_full_band_bonds_as_much_as_it_repels():
    found = bond_populations(
        chain([np.array([[0.0]]), np.array([[-1.0]])], [np.eye(1), np.zeros((1, 1))], 200, [0], 2), bonds((0, 0, 1))
    )
    assert found.icohp[0] == pytest.approx(0.0, abs=1e-9)
    assert found.bonding[0] == pytest.approx(2 * 2 / np.pi, rel=0.02)
    assert found.bonding[0] == pytest.approx(found.antibonding[0], rel=1e-6)


@given(seed=SEEDS, n_electrons=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_bonds_and_atoms_add_up_to_the_band_energy(seed, n_electrons):
    hamiltonians, overlaps, atoms = random_chain(seed)
    matrices = chain(hamiltonians, overlaps, 6, atoms, n_electrons)
    everything = bonds(*product(range(2), range(2), range(6)))
    found = bond_populations(matrices, everything)
    filling = found.filling
    energies = np.array([
        np.linalg.eigvals(np.linalg.solve(s, h)).real
        for h, s in zip(matrices.hamiltonians, matrices.overlaps, strict=True)
    ])  # fmt: skip
    energies.sort(axis=1)
    expected = (filling.occupations * (energies - filling.zero)).sum() / 6
    assert found.icohp.sum() / 2 == pytest.approx(expected, rel=1e-8, abs=1e-8)  # each pair stands there twice
    assert found.bonding - found.antibonding == pytest.approx(-found.icohp, rel=1e-6, abs=1e-6)


@given(seed=SEEDS, shift=st.floats(-30, 30), n_electrons=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_the_zero_of_the_potential_does_not_matter(seed, shift, n_electrons):
    matrices = chain(*random_chain(seed)[:2], 6, [0, 0, 1, 1], n_electrons)
    moved = replace(matrices, hamiltonians=matrices.hamiltonians + shift * matrices.overlaps)
    some = bonds((0, 1, 0), (1, 0, 1), (0, 0, 1))
    first, second = bond_populations(matrices, some), bond_populations(moved, some)
    assert second.filling.zero == pytest.approx(first.filling.zero + shift, abs=1e-6)
    assert second.icohp == pytest.approx(first.icohp, abs=1e-6)
    assert second.bonding == pytest.approx(first.bonding, abs=0.02)  # energies fall between other points of the grid


@given(seed=SEEDS, n_electrons=st.sampled_from([2, 4, 6]))
@settings(max_examples=30, deadline=None)
def test_the_cell_does_not_matter(seed, n_electrons):
    (onsite, hop), (own, far), atoms = random_chain(seed)
    primitive = chain([onsite, hop], [own, far], 8, atoms, n_electrons)
    none = np.zeros_like(onsite)
    double = chain(
        [np.block([[onsite, hop], [hop.T, onsite]]), np.block([[none, none], [hop, none]])],
        [np.block([[own, far], [far.T, own]]), np.block([[none, none], [far, none]])],
        4, [0, 0, 1, 1, 2, 2, 3, 3], 2 * n_electrons,
    )  # fmt: skip
    first = bond_populations(primitive, bonds((0, 1, 0), (1, 0, 1), (0, 0, 1)))
    assume(first.filling.gap > 0)
    second = bond_populations(double, bonds((0, 1, 0), (1, 2, 0), (0, 2, 0), (2, 3, 0), (3, 0, 1), (2, 0, 1)))
    for values in ("icohp", "bonding", "antibonding"):
        once, twice = getattr(first, values), getattr(second, values)
        assert twice == pytest.approx(np.tile(once, 2), abs=1e-5)


@given(seed=SEEDS, n_electrons=st.integers(1, 7))
@settings(max_examples=30, deadline=None)
def test_order_orientation_of_orbitals_and_half_of_the_mesh_do_not_matter(seed, n_electrons):
    hamiltonians, overlaps, atoms = random_chain(seed)
    turn = np.kron(np.eye(2), np.linalg.qr(np.random.default_rng(seed).normal(size=(2, 2)))[0])
    order = np.array([2, 0, 3, 1])
    turned = [
        [(turn.T @ block @ turn)[np.ix_(order, order)] for block in blocks] for blocks in (hamiltonians, overlaps)
    ]
    some = bonds((0, 1, 0), (1, 0, 1))
    first = bond_populations(chain(hamiltonians, overlaps, 6, atoms, n_electrons), some)
    second = bond_populations(chain(*turned, 6, atoms[order], n_electrons, half=True), some)
    back = bond_populations(chain(hamiltonians, overlaps, 6, atoms, n_electrons), bonds((1, 0, 0), (0, 1, -1)))
    assert second.icohp == pytest.approx(first.icohp, abs=1e-7)
    assert back.icohp == pytest.approx(first.icohp, abs=1e-9)


def test_orbitals_that_hold_no_electrons_do_not_matter_and_what_others_hold_is_told():
    hamiltonians, overlaps, atoms = random_chain(3)
    matrices = chain(hamiltonians, overlaps, 6, atoms, 4)
    small = bond_populations(matrices, bonds((0, 1, 0)))
    size = len(atoms)
    for reach in (0.0, 0.3):
        larger_h = [np.pad(hamiltonians[0], (0, 1)), np.pad(hamiltonians[1], (0, 1))]
        larger_s = [np.pad(overlaps[0], (0, 1)), np.pad(overlaps[1], (0, 1))]
        larger_h[0][size, size], larger_s[0][size, size] = 40.0, 1.0
        larger_h[0][0, size] = larger_h[0][size, 0] = -20 * reach
        larger = chain(larger_h, larger_s, 6, [*atoms, 1], 4)
        kept = replace(larger, kept=np.arange(size + 1) < size)
        found = bond_populations(kept, bonds((0, 1, 0)))
        if reach:
            assert 1e-4 < found.spilling < 0.1
        else:
            assert found.spilling == pytest.approx(0.0, abs=1e-10)
            assert found.icohp == pytest.approx(small.icohp, abs=1e-9)


def test_bands_are_filled_whole_or_by_fermi_dirac():
    weights = np.array([0.25, 0.75])
    gapped = fill_bands(np.array([[0.0, 2.0], [1.0, 3.0]]), weights, 2)
    assert (gapped.zero, gapped.gap) == (1.0, 1.0)
    assert gapped.occupations.tolist() == [[2, 0], [2, 0]]
    metal = fill_bands(np.array([[0.0, 1.0], [1.5, 3.0]]), weights, 2)
    assert metal.gap == 0
    assert weights @ metal.occupations.sum(axis=1) == pytest.approx(2)
    assert fill_bands(np.zeros((1, 1)), np.ones(1), 2).gap == np.inf
    for n_electrons in (0, 5):
        with pytest.raises(ValueError, match="do not fit in 2 bands"):
            fill_bands(np.array([[0.0, 2.0]]), np.ones(1), n_electrons)


def test_orbitals_that_depend_on_one_another_are_refused():
    with pytest.raises(ValueError, match="depend on one another"):
        bond_populations(molecule(2, s=1.5), bonds((0, 1, 0)))


# -- bonds -----------------------------------------------------------------------------------------

CRYSTALS = {
    "rocksalt": (bulk("NaCl", "rocksalt", 5.64), 6),
    "zincblende": (bulk("GaAs", "zincblende", 5.65), 4),
    "cesiumchloride": (bulk("CsCl", "cesiumchloride", 4.12), 8),
    "fcc": (bulk("Al"), 6),
    "bcc": (bulk("Na"), 4),
    "diamond": (bulk("Si"), 4),
}


def found_in(atoms):
    return nearest_bonds(atoms.cell.array, atoms.get_scaled_positions())


@pytest.mark.parametrize("name", CRYSTALS)
def test_bonds_of_simple_lattices(name):
    atoms, n_bonds = CRYSTALS[name]
    bonds = found_in(atoms)
    assert len(bonds) == n_bonds
    where = atoms.get_scaled_positions()
    apart = (where[bonds.pairs[:, 1]] + bonds.cells - where[bonds.pairs[:, 0]]) @ atoms.cell.array
    assert np.linalg.norm(apart, axis=1) == pytest.approx(bonds.distances)
    larger = make_supercell(atoms, [[2, 1, 0], [0, 1, 0], [0, 0, 1]])
    larger.rotate(37, (1, 2, 3), rotate_cell=True)
    again = found_in(larger[::-1])
    assert len(again) == 2 * n_bonds
    assert np.unique(again.distances.round(6)) == pytest.approx(np.unique(bonds.distances.round(6)))


def test_an_atom_in_a_large_cage_has_its_bonds():
    cell = 4.0 * np.eye(3)
    perovskite = np.array([[0, 0, 0], [0.5, 0.5, 0.5], [0.5, 0.5, 0], [0.5, 0, 0.5], [0, 0.5, 0.5]])
    bonds = nearest_bonds(cell, perovskite)
    assert sorted(np.unique(bonds.distances.round(3), return_counts=True)[1]) == [6, 12]


@given(seed=SEEDS, n_atoms=st.integers(1, 5))
@settings(max_examples=40, deadline=None)
def test_no_atom_is_without_a_bond_and_no_bond_is_found_twice(seed, n_atoms):
    random = np.random.default_rng(seed)
    cell = 5 * np.eye(3) + random.normal(0, 0.8, (3, 3))
    bonds = nearest_bonds(cell, random.random((n_atoms, 3)))
    assert set(bonds.pairs.ravel().tolist()) == set(range(n_atoms))
    seen = {(*pair, *r) for pair, r in zip(bonds.pairs.tolist(), bonds.cells.tolist(), strict=True)}
    assert len(seen) == len(bonds)
    assert not any((j, i, -a, -b, -c) in seen for i, j, a, b, c in seen)


def test_a_shell_that_reaches_no_neighbour_is_refused():
    with pytest.raises(ValueError, match="expected 1 or more"):
        nearest_bonds(np.eye(3), np.zeros((1, 3)), 0.9)
    with pytest.raises(ValueError, match="no volume"):
        nearest_bonds(np.zeros((3, 3)), np.zeros((1, 3)))
