"""Displaced supercells: how large, how many, and which displacements.

The default set displaces **all atoms** of each supercell by one fixed length in random directions, as
± pairs (u, −u), and lets the rank guard choose their number. The set of finite differences (one or two
atoms displaced at a time, phono3py's own) is the alternative.
"""

from __future__ import annotations

import hashlib
import logging
import math
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.config import DisplaceSettings
from screen_cli.crystal.phonopy_cells import symmetry_action
from screen_cli.crystal.standard_cell import standardise
from screen_cli.errors import ConfigError, StructureError, UnderdeterminedFitError
from screen_cli.physics.rank_guard import (
    check_determined,
    count_free_parameters,
    displacements_span,
    required_supercells,
)
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from phono3py import Phono3py

logger = logging.getLogger(__name__)

Kind = Literal["random", "finite-difference"]
_MIN_PAIRS_FC2 = 2


def displace(
    atoms: Atoms,
    settings: DisplaceSettings,
    *,
    kind: str = "random",
    third_order: bool = True,
    seed_text: str = "",
    symprec: float = 1e-3,
    count: Callable[[Phono3py], dict[int, int]] | None = None,
    displacements_fc2: NDArray[np.float64] | None = None,
) -> Record:
    """Choose the supercell and displace it.

    Parameters
    ----------
    atoms : ase.Atoms
        Relaxed crystal; any cell (it is standardised again).
    settings : DisplaceSettings
    kind : {"random", "finite-difference"}
        What the force-constant solver needs.
    third_order : bool
        Whether fc3 will be fitted; without it finite differences displace single atoms only (in the fc2
        supercell, ``dim_fc2`` or else the supercell itself, and ``n_supercells`` is 0).
    seed_text : str
        Combined with ``settings.seed``: the same pair gives the same displacements, bit for bit.
    symprec : float
        Symmetry tolerance of the standardisation, Å.
    count : callable, optional
        ``count(phono3py) -> {2: n, 3: n}``: the free parameters of a solver with cutoffs, which has fewer than
        symmetry leaves. Default: those of the whole supercell.
    displacements_fc2 : ndarray, optional
        float64 (n_supercells_fc2, n_atoms_fc2, 3), Å: random displacements of the fc2 supercell whose forces are
        known from an earlier fit of fc2 alone, taken instead of new ones.

    Returns
    -------
    Record
        data: ``kind``, ``paired``, ``n_supercells``, ``n_supercells_fc2``, ``n_atoms_supercell``,
        ``n_atoms_supercell_fc2``, ``n_params_fc2``, ``n_params_fc3``, ``equations_ratio`` (random sets),
        ``supercell_dim``, ``supercell_dim_fc2``, ``supercell_base`` ("conventional" or "primitive"),
        ``supercell_length`` (shortest lattice translation of the supercell, Å).
        arrays: ``displacements`` (n_supercells, n_atoms, 3) float64, Å, Cartesian; partners of a ± pair are
        neighbours (2i, 2i+1); ``supercell_cell`` (3, 3) Å, rows; ``supercell_positions`` (n_atoms, 3) Å;
        ``supercell_numbers`` (n_atoms,); the same with suffix ``_fc2`` when there is an fc2 supercell.
        documents: ``yaml``, the complete phono3py_disp.yaml with the displacement dataset.

    Raises
    ------
    UnderdeterminedFitError
        ``n_supercells`` is given and too small.
    ConfigError
        ``dim`` or ``dim_fc2`` is not three positive whole numbers, or ``kind`` is unknown.
    StructureError
        Even the smallest supercell exceeds ``max_atoms``, or the supercell is so small that fc3 vanishes.
    """
    if kind not in ("random", "finite-difference"):
        raise ConfigError(f"displacements of kind '{kind}' are unknown. Known: random, finite-difference.")
    unitcell, base, dim = choose_supercell(atoms, settings, symprec=symprec)
    dim_fc2 = _checked_dim(settings.dim_fc2, "dim_fc2") if settings.dim_fc2 else None
    if kind == "finite-difference" and not third_order and dim_fc2 is None:
        dim_fc2 = dim
    if dim_fc2 is not None and base == "primitive" and settings.dim_fc2:
        raise ConfigError(
            "displace.dim_fc2 counts conventional cells, but the fc3 supercell was built from primitive ones. "
            "Give displace.dim too."
        )
    phono3py = _make_phono3py(unitcell, dim, dim_fc2)
    n_params = count_free_parameters(*symmetry_action(phono3py.supercell))
    if third_order and count is not None:
        n_params = n_params | count(phono3py)
    if third_order and n_params[3] == 0:
        raise StructureError(
            f"the supercell {list(dim)} of {len(phono3py.supercell)} atoms is so small that symmetry, or the solver's "
            "cutoff, leaves no third-order force constant. Raise displace.dim, displace.max_atoms or the cutoff."
        )
    data: dict[str, Any] = {
        "kind": kind,
        "paired": bool(settings.paired and kind == "random"),
        "distance": settings.distance,
        "n_atoms_supercell": len(phono3py.supercell),
        "n_params_fc2": n_params[2],
        "n_params_fc3": n_params[3],
        "supercell_dim": list(dim),
        "supercell_base": base,
        "supercell_length": _shortest_translation(phono3py.supercell.cell),
    }
    if kind == "random":
        _displace_randomly(phono3py, settings, n_params, third_order, seed_text, data, displacements_fc2)
    else:
        _displace_one_by_one(phono3py, settings, third_order)
    arrays = supercell_arrays(phono3py.supercell)
    arrays["displacements"] = _displacements(phono3py, fc2=False)
    data["n_supercells"] = len(arrays["displacements"])
    data["n_supercells_fc2"] = 0
    if dim_fc2 is not None:
        arrays |= supercell_arrays(phono3py.phonon_supercell, "_fc2")
        arrays["displacements_fc2"] = _displacements(phono3py, fc2=True)
        data["n_supercells_fc2"] = len(arrays["displacements_fc2"])
        data["n_atoms_supercell_fc2"] = len(phono3py.phonon_supercell)
        data["supercell_dim_fc2"] = list(dim_fc2)
    return Record(data, arrays, {"yaml": _phono3py_yaml(phono3py)})


def harmonic_settings(settings: DisplaceSettings) -> DisplaceSettings:
    """Settings of a fit of fc2 alone: the fc2 supercell where one is given, and as few supercells as it needs."""
    return replace(
        settings,
        dim=settings.dim_fc2 or settings.dim,
        dim_fc2=[],
        n_supercells=settings.n_supercells_fc2,
        n_supercells_fc2=None,
        min_pairs=_MIN_PAIRS_FC2,
    )


def choose_supercell(
    atoms: Atoms, settings: DisplaceSettings, *, symprec: float = 1e-3
) -> tuple[Atoms, str, tuple[int, int, int]]:
    """Choose the unit cell and its diagonal multiples.

    Multiples of the conventional cell whose edges reach ``supercell_length``; when that exceeds ``max_atoms``
    the length shrinks until it fits. Where only one conventional cell fits and is too short, multiples of the
    primitive cell are tried, whose lattice translations are longer at the same number of atoms (elpasolite:
    80 atoms reach √2·a).

    Returns
    -------
    unitcell : ase.Atoms
        Conventional or primitive standardised cell.
    base : {"conventional", "primitive"}
    dim : tuple of int

    Raises
    ------
    StructureError
        Even the primitive cell exceeds ``max_atoms``.
    """
    conventional = standardise(atoms, symprec, to_primitive=False)
    if settings.dim:
        return conventional, "conventional", _checked_dim(settings.dim, "dim")
    edges = np.linalg.norm(conventional.cell.array, axis=1)
    dim = _fitting_multiples(edges, len(conventional), settings.supercell_length, settings.max_atoms)
    if dim is not None:
        length = _shortest_translation(np.diag(dim) @ conventional.cell.array)
        if length >= settings.supercell_length - 1e-6 or max(dim) > 1:
            return conventional, "conventional", dim
    primitive = standardise(atoms, symprec)
    edges = np.linalg.norm(primitive.cell.array, axis=1)
    dim_primitive = _fitting_multiples(edges, len(primitive), settings.supercell_length, settings.max_atoms)
    if dim_primitive is None:
        raise StructureError(
            f"the primitive cell of {primitive.get_chemical_formula()} has {len(primitive)} atoms, more than "
            f"displace.max_atoms = {settings.max_atoms}. Raise displace.max_atoms."
        )
    if dim is not None:
        length = _shortest_translation(np.diag(dim) @ conventional.cell.array)
        if _shortest_translation(np.diag(dim_primitive) @ primitive.cell.array) <= length + 1e-6:
            return conventional, "conventional", dim
    return primitive, "primitive", dim_primitive


def _fitting_multiples(
    edges: NDArray[np.float64], n_atoms: int, length: float, max_atoms: int
) -> tuple[int, int, int] | None:
    """Largest diagonal multiples with edges up to ``length`` and at most ``max_atoms``; None if none fits."""
    lengths = {length} | {n * edge for edge in edges for n in range(1, max(1, math.ceil(length / edge)))}
    for wanted in sorted(lengths, reverse=True):
        if wanted > length:
            continue
        x, y, z = (max(1, math.ceil(wanted / edge - 1e-6)) for edge in edges)
        if x * y * z * n_atoms <= max_atoms:
            return x, y, z
    return (1, 1, 1) if n_atoms <= max_atoms else None


def _checked_dim(dim: Sequence[int], name: str) -> tuple[int, int, int]:
    """Validate three positive whole numbers."""
    if len(dim) != 3 or any(int(n) != n or n < 1 for n in dim):
        raise ConfigError(f"displace.{name} is {list(dim)}, expected three positive whole numbers, e.g. [2, 2, 2].")
    x, y, z = (int(n) for n in dim)
    return x, y, z


def _shortest_translation(cell: NDArray[np.float64]) -> float:
    """Length of the shortest lattice vector, Å."""
    from ase.geometry import minkowski_reduce

    reduced, _ = minkowski_reduce(np.asarray(cell))
    return float(np.linalg.norm(reduced, axis=1).min())


def _make_phono3py(unitcell: Atoms, dim: Sequence[int], dim_fc2: Sequence[int] | None) -> Phono3py:
    """Build phono3py's view of the cells."""
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms
    from phonopy.structure.cells import guess_primitive_matrix

    cell = PhonopyAtoms(
        numbers=unitcell.numbers,
        cell=unitcell.cell.array,
        scaled_positions=unitcell.get_scaled_positions(),
    )
    return Phono3py(
        cell,
        supercell_matrix=np.diag(dim),
        primitive_matrix=guess_primitive_matrix(cell),
        phonon_supercell_matrix=None if dim_fc2 is None else np.diag(dim_fc2),
        log_level=0,
    )


def _displace_randomly(
    phono3py: Phono3py,
    settings: DisplaceSettings,
    n_params: dict[int, int],
    third_order: bool,
    seed_text: str,
    data: dict[str, Any],
    known_fc2: NDArray[np.float64] | None,
) -> None:
    """Set random displacements of all atoms; the rank guard chooses or checks their number."""
    separate_fc2 = phono3py.phonon_supercell_matrix is not None
    fitted = {3: n_params[3]} if third_order else {2: n_params[2]}
    if third_order:  # the fc3 supercells see fc2 as well, even where a larger cell refines it
        fitted[2] = n_params[2]
    n_atoms = len(phono3py.supercell)
    paired, margin = settings.paired, settings.margin
    n_supercells = settings.n_supercells
    if n_supercells is None:
        n_supercells = required_supercells(fitted, n_atoms, margin=margin, paired=paired, min_pairs=settings.min_pairs)
    if paired and n_supercells % 2:
        n_supercells += 1
    check_determined(n_supercells, fitted, n_atoms, margin=margin, paired=paired)
    directions = _spanning_displacements(phono3py.supercell, settings, seed_text, n_supercells)
    data["equations_ratio"] = check_determined(len(directions), fitted, n_atoms, margin=margin, paired=paired)
    phono3py.dataset = {"displacements": directions}
    if not separate_fc2:
        return
    if settings.n_supercells_fc2 == 0:
        phono3py.generate_fc2_displacements(distance=settings.distance)
        return
    n_atoms_fc2 = len(phono3py.phonon_supercell)
    only_fc2 = {2: count_free_parameters(*symmetry_action(phono3py.phonon_supercell))[2]}
    data["n_params_fc2_supercell"] = only_fc2[2]
    if known_fc2 is not None and known_fc2.shape[1] == n_atoms_fc2:
        phono3py.phonon_dataset = {"displacements": known_fc2}
        return
    n_fc2 = settings.n_supercells_fc2
    if n_fc2 is None:
        n_fc2 = required_supercells(only_fc2, n_atoms_fc2, margin=margin, paired=paired, min_pairs=_MIN_PAIRS_FC2)
    if paired and n_fc2 % 2:
        n_fc2 += 1
    check_determined(n_fc2, only_fc2, n_atoms_fc2, margin=margin, paired=paired)
    rng = _generator(settings.seed, f"{seed_text}/fc2")
    phono3py.phonon_dataset = {
        "displacements": random_displacements(n_fc2, n_atoms_fc2, settings.distance, paired=paired, rng=rng)
    }


def _spanning_displacements(
    supercell: Any, settings: DisplaceSettings, seed_text: str, n_supercells: int
) -> NDArray[np.float64]:
    """Random displacements; as many more than counting asks for as symmetry needs to see every direction."""
    n_atoms = len(supercell)
    action = symmetry_action(supercell)
    while True:
        rng = _generator(settings.seed, seed_text)
        found = random_displacements(n_supercells, n_atoms, settings.distance, paired=settings.paired, rng=rng)
        if displacements_span(*action, found[:: 2 if settings.paired else 1]):
            return found
        if settings.n_supercells is not None:
            raise UnderdeterminedFitError(
                f"{n_supercells} supercells of {n_atoms} atoms have equations enough, but their displacements and the "
                "symmetry images of these leave directions out, in which force constants would be invented. Raise "
                "displace.n_supercells or leave it empty."
            )
        n_supercells += 2 if settings.paired else 1


def _displace_one_by_one(phono3py: Phono3py, settings: DisplaceSettings, third_order: bool) -> None:
    """Set phono3py's finite-difference displacements."""
    if third_order:
        phono3py.generate_displacements(distance=settings.distance)
    if phono3py.phonon_supercell_matrix is not None:
        phono3py.generate_fc2_displacements(distance=settings.distance)


def random_displacements(
    n_supercells: int, n_atoms: int, distance: float, *, paired: bool, rng: np.random.Generator
) -> NDArray[np.float64]:
    """Displace every atom by ``distance`` in a random direction.

    Returns
    -------
    ndarray
        float64 (n_supercells, n_atoms, 3), Å, Cartesian; when paired, row 2i+1 is the negative of row 2i.
    """
    n_drawn = n_supercells // 2 if paired else n_supercells
    vectors = rng.standard_normal((n_drawn, n_atoms, 3))
    vectors *= distance / np.linalg.norm(vectors, axis=2, keepdims=True)
    if not paired:
        return vectors
    return np.stack([vectors, -vectors], axis=1).reshape(2 * n_drawn, n_atoms, 3)


def _generator(seed: int, text: str) -> np.random.Generator:
    """Random generator fixed by a number and a text, on every machine."""
    digest = hashlib.sha256(f"{seed}/{text}".encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def _displacements(phono3py: Phono3py, *, fc2: bool) -> NDArray[np.float64]:
    """All displacements (n_supercells, n_atoms, 3) in phono3py's order, Å."""
    supercell = phono3py.phonon_supercell if fc2 else phono3py.supercell
    dataset = phono3py.phonon_dataset if fc2 else phono3py.dataset
    if not dataset:
        return np.zeros((0, len(supercell), 3))
    if "displacements" in dataset:
        return np.array(dataset["displacements"], dtype=np.float64)
    singles = [[(first["number"], first["displacement"])] for first in dataset["first_atoms"]]
    pairs = [
        [(first["number"], first["displacement"]), (second["number"], second["displacement"])]
        for first in dataset["first_atoms"]
        for second in first.get("second_atoms", ())
    ]
    rows = singles + pairs
    displacements = np.zeros((len(rows), len(supercell), 3))
    for row, moves in zip(displacements, rows, strict=True):
        for number, vector in moves:
            row[number] += vector
    return displacements


def supercell_arrays(supercell: Any, suffix: str = "") -> dict[str, NDArray[Any]]:
    """Return cell, positions and numbers of a supercell as arrays."""
    return {
        f"supercell_cell{suffix}": np.array(supercell.cell, dtype=np.float64),
        f"supercell_positions{suffix}": np.array(supercell.positions, dtype=np.float64),
        f"supercell_numbers{suffix}": np.array(supercell.numbers, dtype=np.int64),
    }


def _phono3py_yaml(phono3py: Phono3py) -> str:
    """Text of the phono3py_disp.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phono3py_disp.yaml"
        phono3py.save(path, settings={"force_sets": False, "displacements": True})
        return path.read_text(encoding="utf-8")
