"""Multiples of axes are those of the file where its cell is the conventional one with its axes in another order."""

from __future__ import annotations

import json

import numpy as np
import pytest
from ase import Atoms
from ase.io import write

from screen_cli.config import DisplaceSettings
from screen_cli.crystal.structure import Structure
from screen_cli.sources.files import iterate_files
from screen_cli.stages.displace import displace

EDGES = (3.72, 2.68, 2.82)


def _read(path, atoms):
    write(path, atoms, format="vasp")
    (structure,) = iterate_files([str(path)])
    assert isinstance(structure, Structure)
    return structure


@pytest.mark.parametrize("stored", [False, True])
@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1), (1, 0, 2)])
def test_dim_counts_the_axes_of_the_file(tmp_path, order, stored):
    edges = [EDGES[axis] for axis in order]
    atoms = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=edges, pbc=True)
    structure = _read(tmp_path / "x.vasp", atoms)
    if stored:
        structure = Structure.from_dict(json.loads(json.dumps(structure.to_dict())))
    stretched = structure.atoms.copy()
    stretched.set_cell(stretched.cell.array * 1.05, scale_atoms=True)  # as a relaxation does
    made = displace(stretched, DisplaceSettings(dim=[1, 2, 3], dim_fc2=[3, 2, 1]), third_order=False)
    expected = np.sort(np.array(edges) * [1, 2, 3] * 1.05)
    np.testing.assert_allclose(np.sort(np.linalg.norm(made.supercells.cell, axis=1)), expected, rtol=1e-6)
    expected = np.sort(np.array(edges) * [3, 2, 1] * 1.05)
    np.testing.assert_allclose(np.sort(np.linalg.norm(made.supercells_fc2.cell, axis=1)), expected, rtol=1e-6)
    assert made.supercell_axes == ("standard" if tuple(sorted(edges)) == tuple(edges) else "file")


def test_another_cell_counts_the_standard_axes(tmp_path):
    from ase.build import bulk

    structure = _read(tmp_path / "x.vasp", bulk("Cu", "hcp", a=2.55, c=4.16) * (1, 2, 1))
    made = displace(structure.atoms, DisplaceSettings(dim=[2, 2, 1]), third_order=False)
    assert made.supercell_axes == "standard"
    assert made.supercell_dim == (2, 2, 1)


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 0, 2)])
def test_meshes_count_the_axes_of_the_file(order):
    """One crystal, its axes named otherwise, the mesh with them: the same irreducible points and the same physics."""
    from screen_cli import compute

    mesh = [1, 3, 5]  # along EDGES
    quick = {"relax": False, "conductivity": False, "progress": False, "displace": {"dim": [2, 2, 2]}}
    atoms = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=sorted(EDGES), pbc=True)
    wanted = [mesh[EDGES.index(edge)] for edge in sorted(EDGES)]
    harmonic = {"mesh": wanted, "phase_space": False}
    straight = compute(atoms, "emt", harmonic=harmonic, **quick).harmonic
    turned = Atoms("CuAu", scaled_positions=[[0, 0, 0], [0.5, 0.5, 0.5]], cell=np.take(EDGES, order), pbc=True)
    harmonic = {"mesh": [mesh[axis] for axis in order], "phase_space": False}
    found = compute(turned, "emt", harmonic=harmonic, **quick).harmonic
    assert (straight.mesh_axes, found.mesh_axes) == ("standard", "file")
    assert found.mesh == straight.mesh == tuple(wanted)
    np.testing.assert_allclose(np.sort(found.frequencies.ravel()), np.sort(straight.frequencies.ravel()), atol=1e-4)


def test_a_mesh_of_a_centred_crystal_counts_the_primitive_axes():
    from screen_cli.crystal.supercell import mesh_along_primitive_axes

    given = np.diag([4.0, 5.0, 6.0])[[2, 0, 1]]
    centred = np.array([[2.0, 2.5, 0], [-2.0, 2.5, 0], [0, 0, 6.0]])
    assert mesh_along_primitive_axes([9, 5, 7], given, np.eye(3), centred) == ([9, 5, 7], "standard")
    assert mesh_along_primitive_axes([9, 5, 7], given, np.eye(3), np.diag([4.0, 5.0, 6.0])) == ([5, 7, 9], "file")
    assert mesh_along_primitive_axes([], given, np.eye(3), np.diag([4.0, 5.0, 6.0]))[0] == []
    assert mesh_along_primitive_axes([9, 5, 7], None, np.eye(3), centred) == ([9, 5, 7], "standard")
