"""Built-in force-constant solvers; the contract is :class:`screen_cli.plugins.protocols.ForceConstantSolver`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import CalculatorError

if TYPE_CHECKING:
    from phono3py import Phono3py


def check_forces(forces: NDArray[np.float64] | None, n_supercells: int, n_atoms: int, name: str) -> NDArray[np.float64]:
    """Return forces whose shape is that of the displacement dataset.

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
    return forces


def supercell_displacements(phono3py: Phono3py) -> NDArray[np.float64]:
    """Displacements of the fc3 supercells, float64 (n_supercells, n_atoms, 3) in Å, in the order of the dataset.

    Unlike ``Phono3py.displacements``, a supercell of two displaced atoms shows both.
    """
    dataset = phono3py.dataset
    if "first_atoms" not in dataset:
        return np.array(dataset["displacements"], dtype=np.float64)
    displacements = np.array(phono3py.displacements, dtype=np.float64)
    row = len(dataset["first_atoms"])
    for first in dataset["first_atoms"]:
        for _ in first["second_atoms"]:
            displacements[row, first["number"]] += first["displacement"]
            row += 1
    return displacements
