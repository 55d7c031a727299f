"""Compressive sensing: force constants of a cluster space with cutoffs, fitted by sparse regression.

References
----------
F. Eriksson, E. Fransson, P. Erhart, Adv. Theory Simul. 2, 1800184 (2019), doi:10.1002/adts.201800184.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError, MissingExtraError, PhysicsError, UnderdeterminedFitError, unknown_name
from screen_cli.solvers.force_constants import check_forces, supercell_displacements

if TYPE_CHECKING:
    from ase import Atoms
    from hiphive import ForceConstants, StructureContainer
    from phono3py import Phono3py
    from phonopy.structure.cells import Primitive, Supercell

    from screen_cli.plugins.protocols import ForceConstantArrays

logger = logging.getLogger(__name__)

FIT_METHODS = {"ols": "least-squares", "lasso": "lasso", "ardr": "ardr", "rfe": "rfe"}
_MARGIN = 0.01  # Å inside the largest sphere of a periodic cell


class HiphiveSolver:
    """Fit a hiPhive cluster space with acoustic sum rules.

    Parameters
    ----------
    cutoffs : sequence of two float, optional
        Cutoff radii of second and third order, Å; empty: the largest that the supercell allows for both. Small
        third-order cutoffs bias κ.
    fit_method : {"ols", "lasso", "ardr", "rfe"}
        Least squares, LASSO, automatic relevance determination, recursive feature elimination.
    fit_options : dict, optional
        Keywords of trainstation's fit, e.g. ``alpha`` of LASSO, ``threshold_lambda`` of ARDR.
    """

    supports_subset: ClassVar[bool] = True
    predicts_left_out: ClassVar[bool] = False

    def __init__(
        self,
        *,
        cutoffs: Sequence[float] | None = None,
        fit_method: str = "ols",
        fit_options: Mapping[str, object] | None = None,
    ) -> None:
        if fit_method not in FIT_METHODS:
            raise unknown_name("hiphive fit_method", fit_method, FIT_METHODS)
        if cutoffs is not None and (len(cutoffs) != 2 or min(cutoffs) <= 0):
            raise ConfigError(f"hiphive cutoffs are {list(cutoffs)}, expected two distances in Å, e.g. [6.0, 4.5].")
        _require_hiphive()
        self.cutoffs = None if cutoffs is None else [float(radius) for radius in cutoffs]
        self.fit_method = fit_method
        self.fit_options = dict(fit_options or {})
        self._containers: list[tuple[Any, bool, NDArray[np.float64], Any]] = []

    @property
    def has_cutoff(self) -> bool:
        """Whether the options give cutoff radii."""
        return self.cutoffs is not None

    def count_parameters(self, phono3py: Phono3py, *, third_order: bool = True) -> None:
        """Return nothing: a sparse fit may have more parameters than equations, and least squares checks its own."""

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
        UnderdeterminedFitError
            Fewer force equations than parameters, for ordinary least squares.
        """
        result: dict[str, NDArray[np.float64]] = {}
        separate = phono3py.phonon_supercell_matrix is not None
        if third_order or not separate:
            displacements = supercell_displacements(phono3py)
            forces = check_forces(forces, len(displacements), len(phono3py.supercell), "forces")
            orders = (2, 3) if third_order else (2,)
            fitted = self._fit(phono3py.supercell, phono3py.primitive, displacements, forces, orders, subset)
            result["fc2"] = fitted[2]
            if third_order:
                result["fc3"] = fitted[3]
        if separate:
            displacements = np.asarray(phono3py.phonon_displacements)
            forces_fc2 = check_forces(forces_fc2, len(displacements), len(phono3py.phonon_supercell), "forces_fc2")
            if "fc2" in result:
                result["fc2_of_fc3_supercell"] = result["fc2"]
            result["fc2"] = self._fit(
                phono3py.phonon_supercell, phono3py.phonon_primitive, displacements, forces_fc2, (2,), None
            )[2]
        return cast("ForceConstantArrays", result)

    def _fit(
        self,
        supercell: Supercell,
        primitive: Primitive,
        displacements: NDArray[np.float64],
        forces: NDArray[np.float64],
        orders: tuple[int, ...],
        subset: Sequence[int] | NDArray[np.int64] | None,
    ) -> dict[int, NDArray[np.float64]]:
        """Fit in one supercell; compact force constants by order."""
        from hiphive import ForceConstantPotential
        from trainstation import Optimizer

        with _quiet(), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            container, atoms = self._container(supercell, displacements, forces, orders)
            chosen = None if subset is None else [int(index) for index in subset]
            matrix, target = container.get_fit_data(chosen)
            if self.fit_method == "ols" and matrix.shape[0] < matrix.shape[1]:
                raise UnderdeterminedFitError(
                    f"{matrix.shape[0]} force equations for {matrix.shape[1]} hiphive parameters. Use smaller "
                    "cutoffs, more supercells (displace.n_supercells), or a sparse fit_method."
                )
            optimizer = Optimizer(
                (matrix, target), fit_method=FIT_METHODS[self.fit_method], train_size=1.0, **self.fit_options
            )
            optimizer.train()
            potential = ForceConstantPotential(container.cluster_space, optimizer.parameters)
            constants = potential.get_force_constants(atoms)
        return {order: _compact_array(constants, order, primitive, len(atoms)) for order in orders}

    def _container(
        self,
        supercell: Supercell,
        displacements: NDArray[np.float64],
        forces: NDArray[np.float64],
        orders: tuple[int, ...],
    ) -> tuple[StructureContainer, Atoms]:
        """Structure container with the fit matrices of every supercell; kept, because refits share it."""
        from ase import Atoms
        from hiphive import ClusterSpace, StructureContainer

        atoms = Atoms(numbers=supercell.numbers, positions=supercell.positions, cell=supercell.cell, pbc=True)
        for known, known_third, known_forces, container in self._containers:
            if known is supercell and known_third == (3 in orders) and np.array_equal(known_forces, forces):
                return container, atoms
        cutoffs = self._radii(atoms, orders)
        space = ClusterSpace(atoms, cutoffs)
        container = StructureContainer(space)
        for displacement, force in zip(displacements, forces, strict=True):
            displaced = atoms.copy()
            displaced.new_array("displacements", displacement)
            displaced.new_array("forces", force)
            container.add_structure(displaced)
        logger.debug("hiphive: %d parameters, cutoffs %s", space.n_dofs, cutoffs)
        self._containers = [(supercell, 3 in orders, forces, container)]
        return container, atoms

    def _radii(self, atoms: Atoms, orders: tuple[int, ...]) -> list[float]:
        """Cutoff radii of the fitted orders, Å."""
        from hiphive.cutoffs import estimate_maximum_cutoff

        largest = estimate_maximum_cutoff(atoms) - _MARGIN
        radii = self.cutoffs or [largest, largest]
        if max(radii) > largest + _MARGIN:
            raise PhysicsError(  # of this crystal's: another's supercell may be larger
                f"hiphive cutoffs {radii} Å exceed the largest radius of the supercell, {largest:.2f} Å. Use smaller "
                "ones or a larger supercell (displace.dim)."
            )
        return radii[: len(orders)]


def _compact_array(constants: ForceConstants, order: int, primitive: Primitive, n_atoms: int) -> NDArray[np.float64]:
    """Spread hiphive's sorted clusters over a compact array (first index over p2s_map)."""
    p2s_map = [int(atom) for atom in primitive.p2s_map]
    row = {atom: index for index, atom in enumerate(p2s_map)}
    array = np.zeros((len(row),) + (n_atoms,) * (order - 1) + (3,) * order)
    for cluster in constants.get_fc_dict(order=order):
        for permutation in set(itertools.permutations(cluster)):
            if permutation[0] in row:
                array[(row[permutation[0]], *permutation[1:])] = constants[permutation]
    return array


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep hiphive's tables, which it logs to stdout, off the screen."""
    loggers = [logging.getLogger(name) for name in ("hiphive", "trainstation")]
    levels = [item.level for item in loggers]
    try:
        for item in loggers:
            item.setLevel(logging.ERROR)
        with contextlib.redirect_stdout(io.StringIO()):
            yield
    finally:
        for item, level in zip(loggers, levels, strict=True):
            item.setLevel(level)


def _require_hiphive() -> None:
    """Say how to install hiphive when it is missing."""
    try:
        import hiphive  # noqa: F401
        import trainstation  # noqa: F401
    except ImportError as error:
        raise MissingExtraError(
            f"the force-constant solver 'hiphive' needs {error.name}. Install it: pip install 'screen-cli[hiphive]'."
        ) from error
