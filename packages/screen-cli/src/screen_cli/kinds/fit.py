"""Force constants of one crystal from what its kind has solved."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, cast

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_array

from screen_cli.crystal.phonopy_cells import SymmetryAction
from screen_cli.kinds.cache import Entry, KindCache
from screen_cli.kinds.cutoff import affordable_cutoff, pair_distances
from screen_cli.kinds.identity import CanonicalAction, canonical_action
from screen_cli.kinds.least_squares import FactoredOrder, factor_orders
from screen_cli.physics.rank_guard import count_free_parameters

if TYPE_CHECKING:
    from phonopy.structure.atoms import PhonopyAtoms

_SAME = 1e-9  # of unit vectors
_WITH_CUTOFF = 0.4  # of the largest solution: its parameters are estimated by counting triples


@dataclass(frozen=True)
class KindFit:
    """The solved least-squares problem of a supercell's kind, and how this supercell's atoms stand in it.

    Parameters
    ----------
    action : CanonicalAction
        Of this supercell.
    orders : mapping of int to FactoredOrder
        In canonical order of atoms.
    distance : float
        Length of this crystal's displacements, Å.
    primitive_atoms : ndarray
        int64 (n_primitive,): phono3py's ``p2s_map``, atoms of the supercell that are first in compact force constants.
    cutoff : float, optional
        Å: triples of atoms with a longer distance have no fc3, because the kind would be too large.
    """

    action: CanonicalAction
    orders: Mapping[int, FactoredOrder]
    distance: float
    primitive_atoms: NDArray[np.int64]
    cutoff: float | None = None

    def solve(self, forces: NDArray[np.float64], only: int | None = None) -> dict[int, NDArray[np.float64]]:
        """Fit compact force constants by order.

        Parameters
        ----------
        forces : ndarray
            float64 (2 n_pairs, n_atoms, 3), eV/Å; rows 2i and 2i + 1 belong to u and −u.
        only : int, optional
            This order alone.

        Returns
        -------
        dict
            2: float64 (n_primitive, n_atoms, 3, 3), eV/Å²; 3: float64 (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³.
        """
        parts = self._by_parity(forces)
        return {
            order: self._for_these_atoms(factored, factored.fit(parts[order], self.distance))
            for order, factored in self.orders.items()
            if only in (None, order)
        }

    def left_out(self, residuals: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn residuals of the fit into those of pairs predicted by fits to all others (no new fit is made).

        Parameters
        ----------
        residuals : ndarray
            float64 (2 n_pairs, n_atoms, 3), eV/Å: forces minus those of the fit.

        Returns
        -------
        ndarray
            float64, of the same shape.
        """
        parts = self._by_parity(residuals)
        odd = self.orders[2].left_out(parts[2])
        even = self.orders[3].left_out(parts[3]) if 3 in self.orders else parts[3]
        result = np.empty_like(residuals)
        result[0::2, self.action.order], result[1::2, self.action.order] = even + odd, even - odd
        return result

    def _by_parity(self, forces: NDArray[np.float64]) -> dict[int, NDArray[np.float64]]:
        """Split into the odd part, which fc2 makes, and the even part, which fc3 makes; canonical atoms."""
        canonical = forces[:, self.action.order]
        plus, minus = canonical[0::2], canonical[1::2]
        return {2: 0.5 * (plus - minus), 3: 0.5 * (plus + minus)}

    def _for_these_atoms(self, factored: FactoredOrder, compact: NDArray[np.float64]) -> NDArray[np.float64]:
        """Turn compact force constants of canonical atoms into those of this supercell's primitive atoms."""
        order = self.action.order
        place = np.empty_like(order)
        place[order] = np.arange(len(order))
        row_of = {int(atom): row for row, atom in enumerate(factored.rows)}
        result = np.empty((len(self.primitive_atoms), *compact.shape[1:]))
        for row, atom in enumerate(place[self.primitive_atoms]):
            moved = next(moved for moved in self.action.translations if int(moved[atom]) in row_of)
            images = moved[place]  # canonical image of each atom of this supercell
            source = compact[row_of[int(moved[atom])]]
            result[row] = source[images] if factored.order == 2 else source[np.ix_(images, images)]
        return result


def kind_fit(
    supercell: PhonopyAtoms,
    symmetry: SymmetryAction,
    primitive_atoms: NDArray[np.int64],
    displacements: NDArray[np.float64],
    orders: tuple[int, ...],
    cache: KindCache,
    *,
    symprec: float = 1e-5,
    max_bytes: int = 2_000_000_000,
) -> KindFit | None:
    """Find or make the fit of a supercell's kind.

    Parameters
    ----------
    supercell : phonopy.structure.atoms.PhonopyAtoms
    symmetry : SymmetryAction
        Of the supercell.
    primitive_atoms : ndarray
        int64 (n_primitive,): ``p2s_map``.
    displacements : ndarray
        float64 (n_supercells, n_atoms, 3), Å.
    orders : tuple of int
        (2, 3) or (2,).
    cache : KindCache
    symprec : float
        Distance tolerance of the symmetry, Å: symfc's search is to find the same.
    max_bytes : int
        Of the solution; fc3 gets the longest cutoff with which it is smaller (:mod:`screen_cli.kinds.cutoff`).

    Returns
    -------
    KindFit or None
        None where the displacements are not ± pairs of one length, or the solution would be too large with any cutoff:
        the general way is right then.
    """
    pairs = displacements[0::2]
    lengths = np.linalg.norm(displacements, axis=2)
    if len(displacements) % 2 or not len(pairs) or not np.array_equal(pairs, -displacements[1::2]):
        return None
    distance = float(lengths.mean())
    if np.ptp(lengths) > _SAME * distance:
        return None
    action = canonical_action(supercell.scaled_positions, supercell.numbers, *symmetry)
    n_parameters = count_free_parameters(action.permutations, action.rotations)
    if min(n_parameters[order] for order in orders) == 0 or 8 * pairs.size * n_parameters[2] > max_bytes:
        return None
    n_bytes = 8 * pairs.size * n_parameters[max(orders)]
    cutoff, near = None, None
    if n_bytes > max_bytes:
        distances = pair_distances(supercell)
        cutoff = affordable_cutoff(distances, primitive_atoms.tolist(), _WITH_CUTOFF * max_bytes / n_bytes)
        if cutoff is None:
            return None
        near = (distances < cutoff)[np.ix_(action.order, action.order)]
    directions = (pairs / distance)[:, action.order]
    key = _key(action, directions, orders, near)

    def make() -> tuple[dict[str, object], dict[str, NDArray[np.generic]]]:
        return _make(supercell, action, directions, orders, symprec=symprec, cutoff=cutoff, scratch=cache.scratch)

    entry = cache.get_or_make(key, make)
    if np.abs(entry.floats("directions") - directions).max() > _SAME:
        return None
    return KindFit(action, {order: _unpack(entry, order) for order in orders}, distance, primitive_atoms, cutoff)


def _key(
    action: CanonicalAction,
    directions: NDArray[np.float64],
    orders: tuple[int, ...],
    near: NDArray[np.bool_] | None,
) -> str:
    """Hash all that the solution depends on, versions included."""
    digest = hashlib.sha256(f"fit 2/{action.key}/{orders}/symfc {version('symfc')}".encode())
    digest.update(np.round(directions, 6).astype("<f4").tobytes())
    if near is not None:
        digest.update(np.packbits(near).tobytes())
    return digest.hexdigest()


def _make(
    supercell: PhonopyAtoms,
    action: CanonicalAction,
    directions: NDArray[np.float64],
    orders: tuple[int, ...],
    *,
    symprec: float,
    cutoff: float | None,
    scratch: Path | None,
) -> tuple[dict[str, object], dict[str, NDArray[np.generic]]]:
    """Solve the kind with this supercell as its example; its solution grows in ``scratch``, else in memory."""
    from symfc import Symfc
    from symfc.utils.utils import SymfcAtoms

    order = action.order
    example = SymfcAtoms(
        cell=supercell.cell, scaled_positions=supercell.scaled_positions[order], numbers=supercell.numbers[order]
    )
    symfc = Symfc(example, cutoff=None if cutoff is None else {3: cutoff}, symprec=symprec, log_level=0)
    symfc.compute_basis_set(orders=list(orders))
    try:
        factored = factor_orders(symfc, directions, orders, scratch)
    except OSError:  # a full disk
        factored = factor_orders(symfc, directions, orders)
    arrays: dict[str, NDArray[np.generic]] = {"directions": directions}
    for n, part in factored.items():
        arrays |= {
            f"solution_{n}": part.solution,
            f"leverage_{n}": part.leverage,
            f"expansion_{n}_data": part.expansion.data,
            f"expansion_{n}_indices": part.expansion.indices,
            f"expansion_{n}_indptr": part.expansion.indptr,
            f"rows_{n}": part.rows,
        }
    about: dict[str, object] = {
        "kind": action.key[:12],
        "n_atoms": len(order),
        "n_operations": len(action.permutations),
        "n_pairs": len(directions),
        "n_parameters": {str(n): part.n_parameters for n, part in factored.items()},
        "example": "".join(f"{symbol}{count}" for symbol, count in _formula(supercell).items()),
        "symfc": version("symfc"),
        "cutoff_of_lattice": None if cutoff is None else cutoff / float(np.cbrt(abs(np.linalg.det(supercell.cell)))),
    }
    return about, arrays


def _formula(supercell: PhonopyAtoms) -> dict[str, int]:
    """Count the elements of a supercell."""
    symbols, counts = np.unique(supercell.symbols, return_counts=True)
    divisor = int(np.gcd.reduce(counts))
    return {str(symbol): int(count) // divisor for symbol, count in zip(symbols, counts, strict=True)}


def _unpack(entry: Entry, order: int) -> FactoredOrder:
    """Rebuild one order from the arrays of an entry."""
    arrays = entry.arrays
    solution = entry.floats(f"solution_{order}")
    n_atoms = solution.shape[2] // 3
    rows = np.asarray(arrays[f"rows_{order}"], dtype=np.int64)
    parts = (arrays[f"expansion_{order}_{name}"] for name in ("data", "indices", "indptr"))
    shape = (len(rows) * n_atoms ** (order - 1) * 3**order, solution.shape[1])
    expansion = csr_array(tuple(parts), shape=shape)
    n_parameters = cast("dict[str, int]", entry.about["n_parameters"])[str(order)]
    return FactoredOrder(order, solution, entry.floats(f"leverage_{order}"), expansion, rows, n_parameters)
