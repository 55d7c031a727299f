"""Harmonic phonons and velocity products at given q points, from any phonopy dynamical matrix."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple, cast

import numpy as np
from numpy.typing import NDArray
from phonopy.physical_units import get_physical_units

from phon_wigner.errors import GridMismatchError, ImaginaryModeError, ShapeError
from phon_wigner.phonons.dynamical_matrix import derivative_of
from phon_wigner.physics.degeneracy import DEGENERACY_TOLERANCE_THZ
from phon_wigner.physics.pairs import PairBlock, PairCollector
from phon_wigner.physics.velocity_operator import star_average, velocity_operator, velocity_products

if TYPE_CHECKING:
    from phonopy import Phonopy
    from phonopy.harmonic.dynamical_matrix import DynamicalMatrix
    from phonopy.phonon.grid import BZGrid

STAR_TOLERANCE = 1e-4
"""Fractional distance below which two q points are the same arm of a star."""


class Sweep(NamedTuple):
    """What one pass over q points gives: velocity products, frequencies and group velocities.

    Attributes
    ----------
    pairs : PairBlock
    frequencies : NDArray[np.float64], shape (n_qpoints, n_bands), THz
    group_velocities : NDArray[np.float64], shape (n_qpoints, n_bands, 3), Å·THz
        Diagonal of V in the eigenvector basis found.
    """

    pairs: PairBlock
    frequencies: NDArray[np.float64]
    group_velocities: NDArray[np.float64]


@dataclass(frozen=True)
class HarmonicCrystal:
    """A crystal in the harmonic approximation.

    Attributes
    ----------
    dynamical_matrix : phonopy.harmonic.dynamical_matrix.DynamicalMatrix
        NAC included when it was asked for.
    reciprocal_operations : NDArray[np.int64], shape (n_operations, 3, 3)
        Point group acting on fractional q (time reversal included).
    frequency_factor : float
        sqrt of the unit of D to THz.
    symprec : float
        Symmetry tolerance, Å.
    inverted : bool
        The cell is the image under inversion of a left-handed one (:mod:`phon_wigner.phonons.assembly`); velocities are
        given back in the frame of that one.

    Raises
    ------
    ShapeError
        The cell of the dynamical matrix is left-handed.
    """

    dynamical_matrix: DynamicalMatrix
    reciprocal_operations: NDArray[np.int64]
    frequency_factor: float
    symprec: float = 1e-5
    inverted: bool = False

    def __post_init__(self) -> None:
        """Refuse a left-handed cell: its volume, NAC and conductivities would be negative."""
        if not self.volume > 0:
            raise ShapeError(
                f"the primitive cell has the volume {self.volume:g} Å³: its vectors are left-handed. Load it with "
                "load_crystal, crystal_from_phonopy or crystal_from_phono3py, which convert it."
            )

    @classmethod
    def from_phonopy(cls, phonon: Phonopy) -> HarmonicCrystal:
        """Take the dynamical matrix of a right-handed :class:`phonopy.Phonopy` object in Å and eV as it is.

        :func:`phon_wigner.phonons.assembly.crystal_from_phonopy` takes any.
        """
        if phonon.dynamical_matrix is None:
            raise ShapeError("this Phonopy object holds no force constants. Produce or load them first.")
        symmetry = phonon.primitive_symmetry
        operations = np.asarray(symmetry.reciprocal_operations, dtype=np.int64)
        factor = getattr(phonon, "unit_conversion_factor", None) or get_physical_units().DefaultToTHz
        return cls(phonon.dynamical_matrix, operations, float(factor), float(symmetry.tolerance))

    @property
    def volume(self) -> float:
        """Volume of the primitive cell, Å³."""
        return float(self.dynamical_matrix.primitive.volume)

    @property
    def cartesian_operations(self) -> NDArray[np.float64]:
        """Cartesian matrices of the point group, shape (n_operations, 3, 3)."""
        reciprocal = np.linalg.inv(np.asarray(self.dynamical_matrix.primitive.cell))
        return np.asarray(
            np.einsum("ab,rbc,cd->rad", reciprocal, self.reciprocal_operations, np.linalg.inv(reciprocal))
        )

    def diagonalize(self, matrix: NDArray[np.complex128]) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Return frequencies (n_bands,; THz, negative when imaginary) and eigenvectors as columns."""
        values, vectors = np.linalg.eigh(matrix)
        return np.sign(values) * np.sqrt(np.abs(values)) * self.frequency_factor, vectors

    def phonons(self, qpoint: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        """Return frequencies and eigenvectors at one q point as :meth:`diagonalize` does, without any derivative."""
        self.dynamical_matrix.run(qpoint)
        matrix = cast("NDArray[np.complex128]", self.dynamical_matrix.dynamical_matrix)  # None before the first run
        return self.diagonalize(matrix)

    def grid(self, mesh: Sequence[int]) -> BZGrid:
        """Return phonopy's BZGrid with the symmetry of the primitive cell: three mesh numbers, or nine."""
        from phonopy.phonon.grid import BZGrid
        from phonopy.structure.symmetry import Symmetry

        primitive = self.dynamical_matrix.primitive
        dataset = Symmetry(primitive, self.symprec).dataset
        numbers = np.array([int(n) for n in mesh], dtype="int64")
        numbers = numbers.reshape(3, 3) if numbers.size == 9 else numbers
        try:
            return BZGrid(numbers, lattice=primitive.cell, symmetry_dataset=dataset)
        except (RuntimeError, ValueError) as error:
            raise GridMismatchError(
                f"the mesh {numbers.tolist()} does not have the symmetry of the crystal ({error}). Give equal "
                "numbers along "
                "equivalent axes."
            ) from error

    def irreducible_mesh(self, mesh: Sequence[int]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return one q per star of a Γ-centred mesh, shape (n_qpoints, 3), and the star sizes, shape (n_qpoints,)."""
        from phonopy.phonon.grid import get_ir_grid_points, get_qpoints_from_bz_grid_points

        grid = self.grid(mesh)
        points, sizes, _ = get_ir_grid_points(grid)
        qpoints = [get_qpoints_from_bz_grid_points(grid.grg2bzg[g], grid) for g in points]
        return np.array(qpoints), np.asarray(sizes, dtype=np.int64)

    def star_sizes(self, qpoints: NDArray[np.float64]) -> NDArray[np.int64]:
        """Return the number of arms of the star of each q point, shape (n_qpoints,)."""
        rotated = np.einsum("rab,qb->qra", self.reciprocal_operations, qpoints)
        difference = rotated - qpoints[:, None, :]
        difference -= np.rint(difference)
        fixed = (np.abs(difference) < STAR_TOLERANCE).all(axis=2).sum(axis=1)
        return np.asarray(len(self.reciprocal_operations) // fixed)

    def collect_pairs(
        self,
        qpoints: NDArray[np.float64],
        weights: NDArray[np.int64],
        *,
        tolerance: float = DEGENERACY_TOLERANCE_THZ,
        cutoff_frequency: float = 1e-4,
        imaginary_tolerance: float = 0.01,
        on_qpoint: Callable[[int], None] | None = None,
    ) -> Sweep:
        """Solve the phonons at irreducible q points and collect their velocity products.

        Parameters
        ----------
        qpoints : NDArray[np.float64], shape (n_qpoints, 3)
            Irreducible q points, fractional.
        weights : NDArray[np.int64], shape (n_qpoints,)
            Arms of their stars. All one on a full mesh.
        tolerance : float
            Width of a degenerate block, THz.
        cutoff_frequency : float
            Modes at or below it (THz) are left out.
        imaginary_tolerance : float
            Modes below minus this (THz) are an error; acoustic modes at Gamma may be slightly negative.
        on_qpoint : callable, optional
            Called with the index of each finished q point (progress).

        Returns
        -------
        Sweep

        Raises
        ------
        ImaginaryModeError
            A mode is unstable.
        GridMismatchError
            The weights are not those of the symmetry of this crystal.
        """
        self._check_weights(qpoints, weights)
        n_bands = 3 * len(self.dynamical_matrix.primitive)
        engine = derivative_of(self.dynamical_matrix)
        frequencies = np.empty((len(qpoints), n_bands))
        group = np.empty((len(qpoints), n_bands, 3))
        full_mesh = len(qpoints) > 1 and bool(np.all(weights == 1))
        rotations = np.eye(3)[None] if full_mesh else self.cartesian_operations
        collector = PairCollector(len(qpoints), n_bands, star_average(rotations), tolerance, cutoff_frequency)
        for i, q in enumerate(qpoints):
            matrix, derivative = engine.run_with_matrix(q)
            frequencies[i], vectors = self.diagonalize(matrix)
            _refuse_imaginary(frequencies[i], q, imaginary_tolerance)
            velocity = velocity_operator(derivative, vectors, frequencies[i], self.frequency_factor, cutoff_frequency)
            group[i] = np.einsum("ass->sa", velocity).real * (-1 if self.inverted else 1)
            collector.add(i, float(weights[i]), frequencies[i], velocity_products(velocity))
            if on_qpoint is not None:
                on_qpoint(i)
        return Sweep(collector.finish(), frequencies, group)

    def _check_weights(self, qpoints: NDArray[np.float64], weights: NDArray[np.int64]) -> None:
        """Refuse weights that contradict the point group."""
        stars = self.star_sizes(qpoints)
        wrong = (weights < 1) | (stars % np.maximum(weights, 1) != 0)
        if wrong.any():
            bad = int(np.flatnonzero(wrong)[0])
            raise GridMismatchError(
                f"q point {bad} {qpoints[bad]} has weight {int(weights[bad])}, but the point group of this cell "
                f"gives its star {int(stars[bad])} arms. Give the primitive cell (--pa) and symmetry tolerance of "
                "the run that made the linewidths."
            )


def _refuse_imaginary(frequencies: NDArray[np.float64], qpoint: NDArray[np.float64], tolerance: float) -> None:
    """Raise when a mode at one q point is unstable."""
    if frequencies.min() < -tolerance:
        raise ImaginaryModeError(
            f"{int((frequencies < -tolerance).sum())} modes are imaginary at q = {qpoint}; the lowest is "
            f"{frequencies.min():.3f} THz, expected >= {-tolerance:g}. The harmonic crystal is unstable: relax it, "
            "use temperature-dependent force constants, or raise --imaginary-tolerance if this is noise."
        )
