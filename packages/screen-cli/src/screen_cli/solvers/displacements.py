"""Displacements of supercells: random ones of all atoms, as many as the fit needs, or phono3py's one by one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.config import DisplaceSettings
from screen_cli.crystal.phonopy_cells import SymmetryAction, known_action
from screen_cli.errors import UnderdeterminedFitError
from screen_cli.kinds.identity import canonical_action
from screen_cli.kinds.patterns import pattern
from screen_cli.physics.random_displacements import random_displacements, seeded_generator
from screen_cli.physics.rank_guard import (
    check_determined,
    count_free_parameters,
    displacements_span,
    required_supercells,
)

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

MIN_PAIRS_FC2 = 2
"""± pairs of an fc2 supercell at least."""


class DisplacementChoice:
    """Which displacements, for one Phono3py object.

    Parameters
    ----------
    phono3py : Phono3py
        Gets the displacement datasets.
    settings : DisplaceSettings
    n_params : dict of int to int
        Free parameters of the fc3 supercell by order.
    third_order : bool
        Whether fc3 will be fitted.
    seed_text : str
        Combined with ``settings.seed``.

    Attributes
    ----------
    equations_ratio : float or None
        Independent equations over free parameters of the random fc3 supercells.
    n_params_fc2_supercell : int or None
        Free parameters of fc2 in its own supercell.
    """

    def __init__(
        self,
        phono3py: Phono3py,
        settings: DisplaceSettings,
        n_params: dict[int, int],
        *,
        third_order: bool,
        seed_text: str,
    ) -> None:
        self._phono3py = phono3py
        self._settings = settings
        self._fitted = dict(n_params) if third_order else {2: n_params[2]}
        self._third_order = third_order
        self._seed_text = seed_text
        self.equations_ratio: float | None = None
        self.n_params_fc2_supercell: int | None = None

    def displace_one_by_one(self) -> None:
        """Set phono3py's finite-difference displacements."""
        if self._third_order:
            self._phono3py.generate_displacements(distance=self._settings.distance)
        if self._phono3py.phonon_supercell_matrix is not None:
            self._phono3py.generate_fc2_displacements(distance=self._settings.distance)

    def displace_randomly(self, known_fc2: NDArray[np.float64] | None) -> None:
        """Set random displacements of all atoms; the rank guard chooses or checks their number."""
        phono3py, settings = self._phono3py, self._settings
        n_atoms = len(phono3py.supercell)
        n_supercells = self._number(settings.n_supercells, self._fitted, n_atoms, settings.min_pairs)
        directions = self._spanning_displacements(n_supercells)
        self.equations_ratio = self._check(len(directions), self._fitted, n_atoms)
        phono3py.dataset = {"displacements": directions}
        if phono3py.phonon_supercell_matrix is None:
            return
        if settings.n_supercells_fc2 == 0:
            phono3py.generate_fc2_displacements(distance=settings.distance)
            return
        n_atoms_fc2 = len(phono3py.phonon_supercell)
        action = known_action(phono3py.phonon_supercell_symmetry, phono3py.phonon_supercell.cell)
        only_fc2 = {2: count_free_parameters(*action)[2]}
        self.n_params_fc2_supercell = only_fc2[2]
        if known_fc2 is not None and known_fc2.shape[1] == n_atoms_fc2:
            phono3py.phonon_dataset = {"displacements": known_fc2}
            return
        n_fc2 = self._number(settings.n_supercells_fc2, only_fc2, n_atoms_fc2, MIN_PAIRS_FC2)
        phono3py.phonon_dataset = {"displacements": self._random(phono3py.phonon_supercell, action, n_fc2, "/fc2")}

    def _number(self, given: int | None, n_params: dict[int, int], n_atoms: int, min_pairs: int) -> int:
        """Give the number of supercells, as given or as the rank guard demands, even when paired."""
        settings = self._settings
        number = given
        if number is None:
            number = required_supercells(
                n_params, n_atoms, margin=settings.margin, paired=settings.paired, min_pairs=min_pairs
            )
        if settings.paired and number % 2:
            number += 1
        self._check(number, n_params, n_atoms)
        return number

    def _check(self, number: int, n_params: dict[int, int], n_atoms: int) -> float:
        """Refuse too few equations; return their number over that of the parameters."""
        settings = self._settings
        return check_determined(number, n_params, n_atoms, margin=settings.margin, paired=settings.paired)

    def _random(
        self, supercell: PhonopyAtoms, action: SymmetryAction, n_supercells: int, purpose: str
    ) -> NDArray[np.float64]:
        """Random displacements, those of the kind or of this crystal alone."""
        settings = self._settings
        if settings.pattern == "crystal":
            rng = seeded_generator(settings.seed, self._seed_text + purpose)
            n_atoms = len(supercell)
            return random_displacements(n_supercells, n_atoms, settings.distance, paired=settings.paired, rng=rng)
        kind = canonical_action(supercell.scaled_positions, supercell.numbers, *action)
        if not settings.paired:
            return settings.distance * pattern(kind, n_supercells, settings.seed)
        plus = settings.distance * pattern(kind, n_supercells // 2, settings.seed)
        return np.stack([plus, -plus], axis=1).reshape(n_supercells, len(supercell), 3)

    def _spanning_displacements(self, n_supercells: int) -> NDArray[np.float64]:
        """Random displacements; as many more than counting asks for as symmetry needs to see every direction."""
        supercell, settings = self._phono3py.supercell, self._settings
        n_atoms = len(supercell)
        action = known_action(self._phono3py.symmetry, supercell.cell)
        while True:
            found = self._random(supercell, action, n_supercells, "")
            if displacements_span(*action, found[:: 2 if settings.paired else 1]):
                return found
            if settings.n_supercells is not None:
                raise UnderdeterminedFitError(
                    f"{n_supercells} supercells of {n_atoms} atoms have equations enough, but their displacements "
                    "and the symmetry images of these leave directions out, in which force constants would be "
                    "invented. Raise displace.n_supercells or leave it empty."
                )
            n_supercells += 2 if settings.paired else 1


def displacements_of(phono3py: Phono3py, *, fc2: bool) -> NDArray[np.float64]:
    """All displacements (n_supercells, n_atoms, 3) in phono3py's order, Å."""
    supercell = phono3py.phonon_supercell if fc2 else phono3py.supercell
    dataset = phono3py.phonon_dataset if fc2 else phono3py.dataset
    if not dataset:
        return np.zeros((0, len(supercell), 3))
    if "displacements" in dataset:
        return np.array(dataset["displacements"], dtype=np.float64)
    rows: list[list[tuple[int, Any]]] = [[(first["number"], first["displacement"])] for first in dataset["first_atoms"]]
    rows += [
        [(first["number"], first["displacement"]), (second["number"], second["displacement"])]
        for first in dataset["first_atoms"]
        for second in first.get("second_atoms", ())
    ]
    displacements = np.zeros((len(rows), len(supercell), 3))
    for row, moves in zip(displacements, rows, strict=True):
        for number, vector in moves:
            row[number] += vector
    return displacements
