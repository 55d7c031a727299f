"""Least squares with every symmetry and sum rule built in, by symfc.

References
----------
A. Seko and A. Togo, Phys. Rev. B 110, 214302 (2024), doi:10.1103/PhysRevB.110.214302.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.crystal.phonopy_cells import known_action
from screen_cli.errors import ConfigError, PhysicsError
from screen_cli.kinds.cache import shared_cache
from screen_cli.kinds.fit import KindFit, kind_fit
from screen_cli.solvers.force_constants import check_forces

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy.structure.cells import Primitive, Supercell
    from phonopy.structure.symmetry import Symmetry
    from symfc import Symfc

    from screen_cli.plugins.protocols import ForceConstantArrays


class SymfcSolver:
    """Fit fc2 and fc3 together by least squares in symfc's symmetry-adapted basis.

    Parameters
    ----------
    cutoff : float, optional
        Pair distance beyond which fc3 vanishes, Å; empty: none (a cutoff biases κ).
    cutoff_fc2 : float, optional
        The same for fc2.
    """

    supports_subset: ClassVar[bool] = True
    predicts_left_out: ClassVar[bool] = True

    def __init__(self, *, cutoff: float | None = None, cutoff_fc2: float | None = None) -> None:
        for value in (cutoff, cutoff_fc2):
            if value is not None and value <= 0:
                raise ConfigError(f"symfc cutoff is {value}, expected a distance above 0 Å or nothing.")
        self.cutoff: dict[int, float] = {}
        if cutoff is not None:
            self.cutoff[3] = float(cutoff)
        if cutoff_fc2 is not None:
            self.cutoff[2] = float(cutoff_fc2)
        self._bases: list[tuple[Any, tuple[int, ...], Any]] = []
        self._last: tuple[Any, tuple[int, ...], NDArray[np.float64], KindFit | None] | None = None

    @property
    def has_cutoff(self) -> bool:
        """Whether a cutoff leaves fewer free parameters than symmetry does."""
        return bool(self.cutoff)

    def count_parameters(self, phono3py: Phono3py, *, third_order: bool = True) -> dict[int, int]:
        """Count the free parameters of each order in the fc3 supercell."""
        orders = (2, 3) if third_order else (2,)
        symfc = self._symfc(phono3py.supercell, phono3py.symmetry, orders)
        return {order: int(symfc.basis_set[order].blocked_basis_set.shape[1]) for order in orders}

    def solve(
        self,
        phono3py: Phono3py,
        forces: NDArray[np.float64] | None,
        forces_fc2: NDArray[np.float64] | None = None,
        *,
        third_order: bool = True,
        subset: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> ForceConstantArrays:
        """Fit (see :class:`screen_cli.plugins.protocols.ForceConstantSolver`).

        Raises
        ------
        CalculatorError
            Forces and displacements differ in shape.
        """
        result: dict[str, NDArray[np.float64] | float] = {}
        separate = phono3py.phonon_supercell_matrix is not None
        if third_order or not separate:
            displacements = np.asarray(phono3py.displacements)
            forces = check_forces(forces, len(displacements), len(phono3py.supercell), "forces")
            chosen = np.arange(len(displacements)) if subset is None else np.asarray(subset)
            orders = (2, 3) if third_order else (2,)
            fitted = self._fit(
                phono3py.supercell, phono3py.symmetry, phono3py.primitive, displacements[chosen], forces[chosen], orders
            )
            result["fc2"] = fitted[2]
            if third_order:
                result["fc3"] = fitted[3]
                cutoff = self._cutoff_of_fc3()
                if cutoff is not None:
                    result["fc3_cutoff"] = cutoff
        if separate:
            displacements = np.asarray(phono3py.phonon_displacements)
            forces_fc2 = check_forces(forces_fc2, len(displacements), len(phono3py.phonon_supercell), "forces_fc2")
            if "fc2" in result:
                result["fc2_of_fc3_supercell"] = result["fc2"]
            result["fc2"] = self._fit(
                phono3py.phonon_supercell,
                phono3py.phonon_supercell_symmetry,
                phono3py.phonon_primitive,
                displacements,
                forces_fc2,
                (2,),
            )[2]
        return cast("ForceConstantArrays", result)

    def _cutoff_of_fc3(self) -> float | None:
        """Give the cutoff of the last fit: as asked for, or that of a kind that would be too large, Å."""
        solved = None if self._last is None else self._last[3]
        return self.cutoff.get(3) if solved is None else solved.cutoff

    def left_out_residuals(
        self, phono3py: Phono3py, residuals: NDArray[np.float64], *, third_order: bool = True
    ) -> NDArray[np.float64] | None:
        """Turn residuals into those of supercells left out (see ``ForceConstantSolver``); None without a kind."""
        displacements = np.asarray(phono3py.displacements)
        orders = (2, 3) if third_order else (2,)
        solved = self._kind(phono3py.supercell, phono3py.symmetry, phono3py.primitive, displacements, orders)
        return None if solved is None else solved.left_out(residuals)

    def fc3_of(self, phono3py: Phono3py, forces: NDArray[np.float64]) -> tuple[NDArray[np.float64], int] | None:
        """Fit fc3 to other forces on the same supercells (see ``PredictsLeftOut``); None without a kind."""
        displacements = np.asarray(phono3py.displacements)
        solved = self._kind(phono3py.supercell, phono3py.symmetry, phono3py.primitive, displacements, (2, 3))
        return None if solved is None else (solved.solve(forces, only=3)[3], solved.orders[3].n_parameters)

    def _fit(
        self,
        supercell: Supercell,
        symmetry: Symmetry,
        primitive: Primitive,
        displacements: NDArray[np.float64],
        forces: NDArray[np.float64],
        orders: tuple[int, ...],
    ) -> dict[int, NDArray[np.float64]]:
        """Solve in one supercell; compact force constants by order."""
        solved = self._kind(supercell, symmetry, primitive, displacements, orders)
        if solved is not None:
            return solved.solve(forces)
        symfc = self._symfc(supercell, symmetry, orders)
        symfc.displacements = displacements
        symfc.forces = forces
        # symfc may take other atoms as primitive ones than phono3py: then the full array is made and cut
        compact = np.array_equal(symfc.p2s_map, primitive.p2s_map)
        symfc.solve(orders=list(orders), is_compact_fc=compact)
        rows = slice(None) if compact else primitive.p2s_map
        return {order: np.array(symfc.force_constants[order][rows], dtype=np.float64, order="C") for order in orders}

    def _kind(
        self,
        supercell: Supercell,
        symmetry: Symmetry,
        primitive: Primitive,
        displacements: NDArray[np.float64],
        orders: tuple[int, ...],
    ) -> KindFit | None:
        """Give what the kind of this supercell has solved; None without a cache, with cutoffs, or without ± pairs.

        The last one is kept: the fit and its held-out error ask for the same.
        """
        cache = shared_cache()
        if cache is None or self.cutoff:
            return None
        if self._last is not None:
            known, known_orders, known_displacements, solved = self._last
            if known is supercell and known_orders == orders and np.array_equal(known_displacements, displacements):
                return solved
        primitive_atoms = np.asarray(primitive.p2s_map, dtype=np.int64)
        action = known_action(symmetry, supercell.cell)
        solved = kind_fit(supercell, action, primitive_atoms, displacements, orders, cache, symprec=symmetry.tolerance)
        self._last = (supercell, orders, displacements, solved)
        return solved

    def _symfc(self, supercell: Supercell, symmetry: Symmetry, orders: tuple[int, ...]) -> Symfc:
        """Return a Symfc object with its basis; kept, because refits share it."""
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        for known, known_orders, symfc in self._bases:
            if known is supercell and known_orders == orders:
                return symfc
        symfc = Symfc(
            SymfcAtoms(cell=supercell.cell, scaled_positions=supercell.scaled_positions, numbers=supercell.numbers),
            spacegroup_operations=symmetry.symmetry_operations,
            cutoff=self.cutoff or None,
            log_level=0,
            symprec=symmetry.tolerance,
        )
        try:
            symfc.compute_basis_set(orders=list(orders))
        except (AssertionError, ValueError) as error:
            if not self.cutoff:
                raise
            raise PhysicsError(  # of this crystal's: another's bonds may be shorter
                f"symfc finds no basis with the cutoffs {self.cutoff} (order: Å): that leaves no force constant "
                "but those of an atom with itself. Raise force_constants.options.cutoff above the bonds."
            ) from error
        self._bases = [*self._bases[-1:], (supercell, orders, symfc)]
        return symfc
