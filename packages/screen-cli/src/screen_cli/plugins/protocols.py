"""What the factories of plugins must give, as Protocols: a plugin needs to import none of them to satisfy one.

Capabilities are declared, never guessed: each flag below is a class attribute of the solver. Solvers return a plain
dict with the keys of a TypedDict below (or a TypedDict of their own, in which more of them are required); the host
checks dtypes and shapes where it receives it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, NotRequired, Protocol, TypeAlias, TypedDict

import numpy as np
from numpy.typing import NDArray
from typing_extensions import ReadOnly

if TYPE_CHECKING:
    from _typeshed import DataclassInstance
    from phono3py import Phono3py

    from screen_cli.store.record import Json, Record, TypedRecord
    from screen_cli.store.row import Row
    from screen_cli.store.run_directory import RunDirectory

__all__ = [
    "ConductivityArrays",
    "ConductivitySolver",
    "Exporter",
    "ForceConstantArrays",
    "ForceConstantSolver",
    "Metric",
    "ModeConductivity",
    "PredictsLeftOut",
    "PropertyFunction",
    "PropertyResult",
    "Recompute",
]


class ForceConstantArrays(TypedDict):
    """Force constants, compact: the first index counts the atoms of the primitive cell in the order of ``p2s_map``.

    Attributes
    ----------
    fc2 : ndarray
        float64 (n_primitive, n_atoms_fc2, 3, 3), eV/Å²: of the fc2 supercell when there is one.
    fc3 : ndarray
        float64 (n_primitive, n_atoms, n_atoms, 3, 3, 3), eV/Å³; only when third order was asked for.
    fc2_of_fc3_supercell : ndarray
        float64 (n_primitive, n_atoms, 3, 3), eV/Å²; only where the fc2 supercell is another one.
    fc3_cutoff : float
        Å; only where triples of atoms with a longer distance have no fc3.
    """

    fc2: NDArray[np.float64]
    fc3: ReadOnly[NotRequired[NDArray[np.float64]]]
    fc2_of_fc3_supercell: ReadOnly[NotRequired[NDArray[np.float64]]]
    fc3_cutoff: ReadOnly[NotRequired[float]]


class ForceConstantSolver(Protocol):
    """From displacements and forces to force constants; made by ``factory(**options)``.

    Attributes
    ----------
    supports_subset : bool
        ``solve`` accepts ``subset``: the host may refit on a part of the supercells, for the held-out error.
    predicts_left_out : bool
        It also is a :class:`PredictsLeftOut`, which needs no second fit for the held-out error and that of fc3.
    has_cutoff : bool
        With its options the solver has fewer free parameters than symmetry leaves, and counts them itself.
    """

    supports_subset: ClassVar[bool]
    predicts_left_out: ClassVar[bool]

    @property
    def has_cutoff(self) -> bool:
        """Whether the options leave fewer free parameters than symmetry does."""

    def count_parameters(self, phono3py: Phono3py, *, third_order: bool = True) -> dict[int, int] | None:
        """Count the free parameters in the fc3 supercell.

        Returns
        -------
        dict of int to int or None
            Order (2, and 3 with ``third_order``) to number; None where the solver cannot tell, so that the host
            does not check that the forces determine them.
        """

    def solve(
        self,
        phono3py: Phono3py,
        forces: NDArray[np.float64] | None,
        forces_fc2: NDArray[np.float64] | None = None,
        *,
        third_order: bool = True,
        subset: Sequence[int] | NDArray[np.int64] | None = None,
    ) -> ForceConstantArrays:
        """Fit force constants.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
            With its displacement datasets.
        forces : ndarray or None
            float64 (n_supercells, n_atoms, 3), eV/Å, in the order of the dataset; None without fc3 supercells.
        forces_fc2 : ndarray, optional
            float64 (n_supercells_fc2, n_atoms_fc2, 3), eV/Å, likewise of the fc2 supercells.
        third_order : bool
            Whether fc3 is wanted.
        subset : sequence of int, optional
            Fit to these fc3 supercells alone (only where ``supports_subset``).
        """


class PredictsLeftOut(Protocol):
    """What a force-constant solver with ``predicts_left_out`` has besides."""

    def left_out_residuals(
        self, phono3py: Phono3py, residuals: NDArray[np.float64], *, third_order: bool = True
    ) -> NDArray[np.float64] | None:
        """Turn residuals of the fit into those of supercells that it has not seen.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
        residuals : ndarray
            float64 (n_supercells, n_atoms, 3), eV/Å: forces minus those of the fit.
        third_order : bool
            Whether fc3 was fitted.

        Returns
        -------
        ndarray or None
            float64, of the same shape: those of each supercell, with its ± partner, predicted by a fit to all others;
            None where the solver cannot tell.
        """

    def fc3_of(self, phono3py: Phono3py, forces: NDArray[np.float64]) -> tuple[NDArray[np.float64], int] | None:
        """Fit fc3 to other forces on the same supercells, without a new solution.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
        forces : ndarray
            float64 (n_supercells, n_atoms, 3), eV/Å.

        Returns
        -------
        tuple of ndarray and int or None
            fc3, compact as :meth:`ForceConstantSolver.solve` gives it, and the number of its free parameters; None
            where the solver cannot tell.
        """


class ConductivityArrays(TypedDict):
    """Conductivity and modes; n_irr irreducible q points, components xx yy zz yz xz xy.

    Attributes
    ----------
    temperatures : ndarray
        float64 (n_temps,), K.
    kappa_p, kappa_c, kappa_total : ndarray
        float64 (n_temps, 6), W/(m K): populations; with coherences also these and the sum.
    kappa_rta : ndarray
        float64 (n_temps, 6), W/(m K): in relaxation-time approximation, beside the direct solution.
    frequency : ndarray
        float64 (n_irr, n_bands), THz, imaginary ones negative.
    gamma : ndarray
        float64 (n_temps, n_irr, n_bands), THz, half width at half maximum of all scattering.
    gamma_isotope : ndarray
        float64 (n_irr, n_bands), THz, its part by isotopes.
    mode_kappa_p, mode_kappa_c : ndarray
        float64 (n_temps, n_irr, n_bands, 6), W/(m K) times the number of mesh points.
    weights : ndarray
        int64 (n_irr,).
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    group_velocity : ndarray
        float64 (n_irr, n_bands, 3), Å·THz.
    heat_capacity : ndarray
        float64 (n_temps, n_irr, n_bands), eV/K.
    """

    temperatures: NDArray[np.float64]
    kappa_p: NDArray[np.float64]
    kappa_c: ReadOnly[NotRequired[NDArray[np.float64]]]
    kappa_total: ReadOnly[NotRequired[NDArray[np.float64]]]
    kappa_rta: ReadOnly[NotRequired[NDArray[np.float64]]]
    frequency: ReadOnly[NotRequired[NDArray[np.float64]]]
    gamma: ReadOnly[NotRequired[NDArray[np.float64]]]
    gamma_isotope: ReadOnly[NotRequired[NDArray[np.float64]]]
    mode_kappa_p: ReadOnly[NotRequired[NDArray[np.float64]]]
    mode_kappa_c: ReadOnly[NotRequired[NDArray[np.float64]]]
    weights: ReadOnly[NotRequired[NDArray[np.int64]]]
    qpoints: ReadOnly[NotRequired[NDArray[np.float64]]]
    group_velocity: ReadOnly[NotRequired[NDArray[np.float64]]]
    heat_capacity: ReadOnly[NotRequired[NDArray[np.float64]]]


class ConductivitySolver(Protocol):
    """Transport on a prepared Phono3py object; made by ``factory(**options)``.

    Attributes
    ----------
    coherences : bool
        The result has ``kappa_c`` and ``kappa_total``.
    direct_solution : bool
        ``lbte=True`` is supported.
    """

    coherences: ClassVar[bool]
    direct_solution: ClassVar[bool]

    def __call__(
        self,
        phono3py: Phono3py,
        temperatures: Sequence[float] | NDArray[np.float64],
        *,
        lbte: bool = False,
        isotope: bool = True,
        boundary_mfp: float | None = None,
    ) -> ConductivityArrays:
        """Compute the conductivity.

        Parameters
        ----------
        phono3py : phono3py.Phono3py
            With fc2, fc3, mesh and, where known, non-analytical correction.
        temperatures : sequence of float
            K.
        lbte : bool
            Direct solution of the linearised Boltzmann equation instead of the relaxation-time approximation.
        isotope : bool
            Scattering by isotopes.
        boundary_mfp : float, optional
            Boundary mean free path, μm.
        """


class Recompute(Protocol):
    """Other forces through the run's own stages; given to properties that declare ``recomputes``."""

    def __call__(self, forces: Mapping[str, NDArray[np.float64]], last_stage: str) -> Mapping[str, object]:
        """Run the stages from the fit to ``last_stage`` and return their typed records by stage.

        Parameters
        ----------
        forces : mapping of str to ndarray
            ``forces`` float64 (n_supercells, n_atoms, 3) and ``forces_fc2`` likewise, eV/Å.
        last_stage : {"force_constants", "harmonic", "conductivity"}
        """


PropertyResult: TypeAlias = "Mapping[str, Json] | Record | TypedRecord | DataclassInstance"
"""What a property gives: values by column, a frozen dataclass of its own with arrays too, or a record of the host's."""

PropertyFunction: TypeAlias = Callable[..., PropertyResult]
"""A per-structure property: ``function(records, **options)``.

``records`` maps the stages it needs to their typed records; besides its options it is called with the keywords that its
plugin declares (``calculator``, ``recompute``, ``structure``).
"""


class ModeConductivity(TypedDict):
    """One conductivity as a metric takes it, at one temperature.

    Attributes
    ----------
    name : str
        For messages.
    temperature : float
        K.
    kappa : float
        W/(m K), mean of xx, yy, zz.
    modes : ndarray
        float64 (n_irr, n_bands), W/(m K), the weight of q inside.
    weights : ndarray
        int64 (n_irr,).
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    frequencies : ndarray
        float64 (n_irr, n_bands), THz.
    """

    name: str
    temperature: float
    kappa: float
    modes: NDArray[np.float64]
    weights: NDArray[np.int64]
    qpoints: NDArray[np.float64]
    frequencies: NDArray[np.float64]


class Metric(Protocol):
    """A judgement of one conductivity against another."""

    def __call__(self, result: ModeConductivity, reference: ModeConductivity, /) -> Mapping[str, float]:
        """Compare them; scores by name.

        Raises
        ------
        ValueError
            They cannot be compared; one sentence says why.
        """


class Exporter(Protocol):
    """Writes the rows of a table to a file."""

    def __call__(self, rows: Iterable[Row], path: Path, /, *, run: RunDirectory | None) -> None:
        """Write them.

        Parameters
        ----------
        rows : iterable of mapping
            Of known length; may be walked through any number of times, and be too many for the memory.
        path : Path
        run : RunDirectory or None
            Where they come from, for what stands in the records alone.
        """
