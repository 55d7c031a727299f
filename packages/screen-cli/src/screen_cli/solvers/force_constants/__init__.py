"""From displacements and forces to force constants: the contract, and the built-in solvers beside it.

A solver is made by ``factory(**options)`` and has

``solve(phono3py, forces, forces_fc2=None, *, third_order=True) -> dict[str, NDArray]``

with a :class:`phono3py.Phono3py` whose displacement datasets are set, ``forces`` (n_supercells, n_atoms, 3) and
``forces_fc2`` (n_supercells_fc2, n_atoms_fc2, 3) in eV/Å in the order of those datasets. It returns compact
arrays, first index over the atoms of the primitive cell in the order of its ``p2s_map``:

``fc2``
    (n_primitive, n_atoms_fc2, 3, 3), eV/Å²: of the phonon supercell when there is one.
``fc3``
    (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³; only with ``third_order``.
``fc2_of_fc3_supercell``
    fc2 in the fc3 supercell, only where the phonon supercell differs (the residual needs it).

A solver that can be refitted on a part of the supercells sets ``supports_subset = True`` and accepts the keyword
``subset``, indices of fc3 supercells.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Protocol

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import CalculatorError


class ForceConstantSolver(Protocol):
    """Shape of a force-constant solver."""

    supports_subset: ClassVar[bool]

    def solve(
        self,
        phono3py: Any,
        forces: NDArray[np.float64] | None,
        forces_fc2: NDArray[np.float64] | None = None,
        *,
        third_order: bool = True,
        subset: Sequence[int] | None = None,
    ) -> dict[str, NDArray[np.float64]]:
        """Fit force constants (see the module)."""


def check_forces(forces: NDArray[np.float64] | None, n_supercells: int, n_atoms: int, name: str) -> None:
    """Refuse forces whose shape is not that of the displacement dataset.

    Raises
    ------
    CalculatorError
        Names the shapes.
    """
    expected = (n_supercells, n_atoms, 3)
    if forces is None or forces.shape != expected:
        found = "are missing" if forces is None else f"have shape {forces.shape}"
        raise CalculatorError(
            f"{name} {found}, expected {expected}. Rebuild the set from the displacement record that made these "
            "supercells."
        )
