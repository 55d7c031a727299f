"""The property ``loop``: fourth-order force constants within a cutoff, and their shift of the frequencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from ase.calculators.calculator import Calculator
from numpy.typing import NDArray

from screen_cli.config import ForcesSettings
from screen_cli.errors import ConfigError, StructureError, UnderdeterminedFitError
from screen_cli.physics.anharmonic.density_matrix import normal_modes, thermal_ensemble
from screen_cli.physics.anharmonic.loop_shift import add_loop
from screen_cli.physics.random_displacements import seeded_generator
from screen_cli.properties.warm.anharmonicity import FLOOR, MELTING_SHARE
from screen_cli.properties.warm.records import Loop
from screen_cli.stages.displace import Displaced, SupercellSet
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import compute_force_set
from screen_cli.stages.phonon_objects import full_force_constants, load_phonopy
from screen_cli.stages.warm.supercell import shortest_bond
from screen_cli.store.record import record_from

if TYPE_CHECKING:
    from phonopy import Phonopy

_MARGIN = 2.0
_LARGEST_FC4 = 2_000_000_000  # bytes of the compact tensor


def loop(
    records: Mapping[str, object],
    *,
    calculator: Calculator,
    temperatures: Sequence[int] = (300,),
    cutoff: float = 4.0,
    n_pairs: int | None = None,
    seed: int = 0,
) -> Loop:
    """Fit fc2, fc3 and fc4 to thermal samples, and shift fc2 by the loop.

    Parameters
    ----------
    records : mapping of str to typed record
        ``displace`` and ``force_constants``.
    calculator : ase.calculators.calculator.Calculator
    temperatures : sequence of int
        K.
    cutoff : float
        Pair distance of fc3 and fc4, Å.
    n_pairs : int, optional
        ± pairs at each temperature; default: twice the equations that the parameters need, at least 10.
    seed : int

    Raises
    ------
    ConfigError
        There is no temperature, one is no whole number of kelvins, or the cutoff is not positive.
    StructureError
        There is no fourth-order force constant within the cutoff, or more than memory holds.
    """
    if cutoff <= 0 or not len(temperatures) or any(int(kelvin) != kelvin or kelvin < 0 for kelvin in temperatures):
        raise ConfigError(
            f"property 'loop' has temperatures = {list(temperatures)} and cutoff = {cutoff}, expected at least one "
            "temperature in whole kelvins from 0 on and a distance above 0 Å."
        )
    displaced = record_from(records, "displace", Displaced)
    force_constants = record_from(records, "force_constants", ForceConstants)
    phonopy = load_phonopy(displaced, force_constants)
    masses = np.asarray(phonopy.supercell.masses, dtype=np.float64)
    fitted = _Fourth(phonopy, cutoff)
    modes = normal_modes(full_force_constants(phonopy), masses)
    floor = FLOOR * float(np.abs(modes.frequencies_thz).max())
    undisplaced = SupercellSet.of(phonopy.supercell, np.zeros((0, len(masses), 3))).perfect
    limit = MELTING_SHARE * shortest_bond(undisplaced)
    frequencies, bare_frequencies = [], []
    for kelvin in temperatures:
        ensemble = thermal_ensemble(modes, float(kelvin), floor_thz=floor).limited(limit)
        drawn = ensemble.draw(n_pairs or fitted.enough_pairs(), seeded_generator(seed, f"loop/{kelvin}"))
        pairs = np.stack([drawn, -drawn], axis=1).reshape(-1, len(masses), 3)
        found, _ = compute_force_set(SupercellSet.of(phonopy.supercell, pairs), calculator, ForcesSettings())
        fc2, fc4 = fitted.solve(pairs, found.forces)
        with_loop = add_loop(fc2, fc4, ensemble.covariance())
        frequencies.append(normal_modes(fitted.full(with_loop), masses).frequencies_thz)
        bare_frequencies.append(normal_modes(fitted.full(fc2), masses).frequencies_thz)
    return Loop(
        n_params_fc4=fitted.n_parameters[4],
        temperatures=np.array(temperatures, dtype=np.int64),
        frequencies=np.array(frequencies),
        bare_frequencies=np.array(bare_frequencies),
    )


class _Fourth:
    """symfc's bases to fourth order of one supercell."""

    def __init__(self, phonopy: Phonopy, cutoff: float) -> None:
        from symfc import Symfc
        from symfc.utils.utils import SymfcAtoms

        supercell = phonopy.supercell
        self.n_atoms = len(supercell)
        self._translations = np.asarray(phonopy.primitive.atomic_permutations)
        n_bytes = 8 * 81 * self.n_atoms**3 * len(phonopy.primitive)
        if n_bytes > _LARGEST_FC4:
            raise StructureError(
                f"fc4 of {self.n_atoms} atoms takes {n_bytes / 1e9:.0f} GB. Use a smaller supercell (displace.dim)."
            )
        cell = SymfcAtoms(cell=supercell.cell, scaled_positions=supercell.scaled_positions, numbers=supercell.numbers)
        symprec = phonopy.symmetry.tolerance
        self._symfc = Symfc(cell, cutoff={3: cutoff, 4: cutoff}, log_level=0, symprec=symprec)
        try:
            self._symfc.compute_basis_set(orders=[2, 3, 4])
        except (AssertionError, ValueError) as error:
            raise StructureError(
                f"symfc finds no fourth-order force constant within {cutoff} Å in the supercell of {self.n_atoms} "
                "atoms. Raise the cutoff above the bonds."
            ) from error
        bases = self._symfc.basis_set
        self.n_parameters = {order: int(bases[order].blocked_basis_set.shape[1]) for order in (2, 3, 4)}

    def enough_pairs(self) -> int:
        """Pairs that fix every parameter with a margin."""
        odd = self.n_parameters[2] + self.n_parameters[4]
        return max(10, int(np.ceil(_MARGIN * max(odd, self.n_parameters[3]) / (3 * self.n_atoms))))

    def solve(
        self, displacements: NDArray[np.float64], forces: NDArray[np.float64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Fit; compact fc2, (n_rows, n_atoms, 3, 3) eV/Å², and fc4, (n_rows, n_atoms, …, 3, 3, 3, 3) eV/Å⁴."""
        if 3 * self.n_atoms * len(displacements) // 2 < self.n_parameters[2] + self.n_parameters[4]:
            raise UnderdeterminedFitError(
                f"{len(displacements)} supercells do not determine {self.n_parameters[4]} parameters of fc4. Raise "
                "n_pairs."
            )
        self._symfc.displacements, self._symfc.forces = displacements, forces
        self._symfc.solve(orders=[2, 3, 4], is_compact_fc=True)
        found = self._symfc.force_constants
        return np.asarray(found[2]), np.asarray(found[4])

    def full(self, compact: NDArray[np.float64]) -> NDArray[np.float64]:
        """Spread compact fc2 over all atoms, float64 (n_atoms, n_atoms, 3, 3), eV/Å²."""
        result = np.empty((self.n_atoms, self.n_atoms, 3, 3))
        for moved in self._translations:
            for row, atom in enumerate(np.asarray(self._symfc.p2s_map)):
                result[moved[atom], moved] = compact[row]
        return result
