"""Finite differences of one and two displaced atoms: phonopy's and phono3py's own method.

References
----------
A. Togo, J. Phys. Soc. Jpn. 92, 012001 (2023), doi:10.7566/JPSJ.92.012001.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.solvers.force_constants import check_forces

if TYPE_CHECKING:
    from phono3py import Phono3py

    from screen_cli.plugins.protocols import ForceConstantArrays


class FiniteDifferenceSolver:
    """Solve the finite-difference set and symmetrise.

    Parameters
    ----------
    solver : {"traditional", "symfc"}
        phono3py's own solver, symmetrised afterwards by index permutations and sum rules; or a symfc fit of the
        same supercells. On a smooth force field both agree; where they do not, the force field is rough.
    """

    supports_subset: ClassVar[bool] = False
    predicts_left_out: ClassVar[bool] = False
    has_cutoff: ClassVar[bool] = False

    def __init__(self, *, solver: str = "traditional") -> None:
        if solver not in ("traditional", "symfc"):
            raise ConfigError(f"finite-difference solver is '{solver}', expected 'traditional' or 'symfc'.")
        self.solver = solver

    def count_parameters(self, phono3py: Phono3py, *, third_order: bool = True) -> None:
        """Return nothing: the set of displacements determines every constant by construction."""

    def solve(
        self,
        phono3py: Phono3py,
        forces: NDArray[np.float64] | None,
        forces_fc2: NDArray[np.float64] | None = None,
        *,
        third_order: bool = True,
        subset: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> ForceConstantArrays:
        """Solve (see :class:`screen_cli.plugins.protocols.ForceConstantSolver`).

        Raises
        ------
        CalculatorError
            Forces and displacements differ in shape.
        ConfigError
            ``subset`` is given: a finite-difference set has no part that suffices.
        """
        if subset is not None:
            raise ConfigError("finite differences need all their supercells; set force_constants.holdout = 0.")
        result: dict[str, NDArray[np.float64]] = {}
        separate = phono3py.phonon_supercell_matrix is not None
        if third_order:
            n_supercells = len(phono3py.displacements)
            check_forces(forces, n_supercells, len(phono3py.supercell), "forces")
            phono3py.forces = forces
            phono3py.produce_fc3(fc_calculator=self.solver, is_compact_fc=True)
            if self.solver == "traditional":
                phono3py.symmetrize_fc3()
            result["fc3"] = np.array(phono3py.fc3, dtype=np.float64, order="C")
        if separate:
            n_supercells = len(phono3py.phonon_displacements)
            check_forces(forces_fc2, n_supercells, len(phono3py.phonon_supercell), "forces_fc2")
            phono3py.phonon_forces = forces_fc2
        elif not third_order:
            check_forces(forces, len(phono3py.displacements), len(phono3py.supercell), "forces")
            phono3py.forces = forces
        if separate or not third_order:
            phono3py.produce_fc2(fc_calculator=self.solver, is_compact_fc=True)
        if self.solver == "traditional":
            phono3py.symmetrize_fc2()
        result["fc2"] = np.array(phono3py.fc2, dtype=np.float64, order="C")
        return cast("ForceConstantArrays", result)
