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
