"""From the asymmetric unit to the whole cell: sites snapped to special positions by a distance, then multiplied."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.crystal.masses import HYDROGEN_ISOTOPES
from screen_cli.errors import StructureError
from screen_cli.sources.readers.cif.sites import Site
from screen_cli.sources.readers.cif.symmetry import Setting

SNAP = 0.1
"""Å: a site this close to one of its images lies on the special position between them."""
_SAME = 1e-3  # Å, after snapping
_TOLD = 0.02  # Å, a site that was moved further is told


@dataclass(frozen=True, eq=False)
class Expansion:
    """The content of a cell in one setting.

    Parameters
    ----------
    setting : Setting
    atoms : ase.Atoms
        All atoms, Å, by chemical symbol; masses where D or T are among them.
    owners : ndarray
        Site of each atom, int64 (n_atoms,).
    notes : tuple of str
    """

    setting: Setting
    atoms: Atoms
    owners: NDArray[np.int64]
    notes: tuple[str, ...]


def expand(setting: Setting, cell: NDArray[np.float64], sites: Sequence[Site], max_atoms: int) -> Expansion:
    """Multiply the sites by the operations of a setting.

    Parameters
    ----------
    setting : Setting
    cell : ndarray
        Cell vectors, float64 (3, 3), rows, Å; averaged over the operations.
    sites : sequence of Site
    max_atoms : int

    Raises
    ------
    StructureError
        More atoms than ``max_atoms``.
    """
    axes = _symmetrised(setting, cell)
    positions: list[NDArray[np.float64]] = []
    owners: list[int] = []
    notes = []
    for index, site in enumerate(sites):
        point, moved = _snapped(setting, axes, site.position)
        if moved > _TOLD:
            notes.append(f"site {site.label} was moved by {moved:.3f} Å onto its special position")
        images = _distinct((setting.rotations @ point + setting.translations) % 1.0, axes)
        positions += list(images)
        owners += [index] * len(images)
        if len(positions) > max_atoms:
            raise StructureError(
                f"the cell has more than {max_atoms} atoms, which are not read. Give the primitive or conventional "
                "cell."
            )
    by_element = sorted(range(len(owners)), key=lambda atom: sites[owners[atom]].symbol)  # a CIF has no order of atoms
    owners, positions = [owners[atom] for atom in by_element], [positions[atom] for atom in by_element]
    symbols = [sites[index].symbol for index in owners]
    atoms = Atoms(
        ["H" if symbol in HYDROGEN_ISOTOPES else symbol for symbol in symbols],
        scaled_positions=np.array(positions),
        cell=axes,
        pbc=True,
    )
    if any(symbol in HYDROGEN_ISOTOPES for symbol in symbols):
        natural = atoms.get_masses()
        atoms.set_masses([HYDROGEN_ISOTOPES.get(s, m) for s, m in zip(symbols, natural, strict=True)])
    return Expansion(setting, atoms, np.array(owners, dtype=np.int64), tuple(notes))


def _symmetrised(setting: Setting, cell: NDArray[np.float64]) -> NDArray[np.float64]:
    """Cell vectors whose metric is the average over the operations (edges given with few digits)."""
    metric = cell @ cell.T
    mean = np.einsum("nji,jk,nkl->il", setting.rotations, metric, setting.rotations) / len(setting.rotations)
    if np.abs(mean - metric).max() < 1e-12 * np.abs(metric).max():
        return cell
    axes: NDArray[np.float64] = np.linalg.cholesky(mean)
    return axes


def _snapped(
    setting: Setting, axes: NDArray[np.float64], position: NDArray[np.float64]
) -> tuple[NDArray[np.float64], float]:
    """Mean of a position over the operations that leave it within SNAP, and how far it moved (Å)."""
    point = position
    for _ in range(3):  # a position on one element of symmetry may come close to another
        images = setting.rotations @ point + setting.translations
        near = images - np.round(images - point)
        close = np.linalg.norm((near - point) @ axes, axis=1) < SNAP
        point = near[close].mean(axis=0)
    return point, float(np.linalg.norm((point - position) @ axes))


def _distinct(images: NDArray[np.float64], axes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images of one site, each once."""
    kept: list[NDArray[np.float64]] = []
    for image in images:
        if kept:
            apart = np.array(kept) - image
            if (np.linalg.norm((apart - np.round(apart)) @ axes, axis=1) < _SAME).any():
                continue
        kept.append(image)
    return np.array(kept)
