"""Displaced supercells: how large, how many, and which displacements.

The default set displaces **all atoms** of each supercell by one fixed length in random directions, as
± pairs (u, −u), and lets the rank guard choose their number. The set of finite differences (one or two
atoms displaced at a time, phono3py's own) is the alternative.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal

import numpy as np
from ase import Atoms
from numpy.typing import NDArray

from screen_cli.config import DisplaceSettings
from screen_cli.crystal.phonopy_cells import known_action
from screen_cli.crystal.standard_cell import standard_cell
from screen_cli.crystal.structure import given_axes
from screen_cli.crystal.supercell import (
    Multiples,
    axes_of_file,
    choose_supercell,
    given_multiples,
    shortest_translation,
)
from screen_cli.errors import ConfigError, StructureError
from screen_cli.physics.rank_guard import count_free_parameters
from screen_cli.plugins.manager import installed_plugins
from screen_cli.settings_file import settings_to_dict
from screen_cli.solvers.displacements import MIN_PAIRS_FC2, DisplacementChoice, displacements_of
from screen_cli.solvers.registered import make_force_constant_solver
from screen_cli.stages.phonon_cells import BaseCell, bare_phono3py
from screen_cli.stages.relax import Relaxed
from screen_cli.stages.stage import Inputs, Stage, options_identity, plugin_identity
from screen_cli.store.record import Json, TypedRecord, array, column, document, part

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy.structure.atoms import PhonopyAtoms

Kind = Literal["random", "finite-difference"]
_OF_RANDOM_SETS = ("seed", "pattern", "margin", "min_pairs", "n_supercells", "n_supercells_fc2", "paired")


@dataclass(frozen=True, kw_only=True, eq=False)
class SupercellSet(TypedRecord):
    """One supercell and its displacements.

    Parameters
    ----------
    displacements : ndarray
        float64 (n_supercells, n_atoms, 3), Cartesian, Å; partners of a ± pair are neighbours (2i, 2i+1).
    cell : ndarray
        float64 (3, 3), rows are lattice vectors, Å.
    positions : ndarray
        float64 (n_atoms, 3), of the undisplaced supercell, Å.
    numbers : ndarray
        int64 (n_atoms,), atomic numbers.
    """

    displacements: NDArray[np.float64] = array(np.float64, "n_supercells", "n_atoms", 3)
    cell: NDArray[np.float64] = array(np.float64, 3, 3, name="supercell_cell")
    positions: NDArray[np.float64] = array(np.float64, "n_atoms", 3, name="supercell_positions")
    numbers: NDArray[np.int64] = array(np.int64, "n_atoms", name="supercell_numbers")

    @classmethod
    def of(cls, supercell: PhonopyAtoms, displacements: NDArray[np.float64]) -> SupercellSet:
        """Take cell, positions and numbers from phonopy's supercell."""
        return cls(
            displacements=displacements,
            cell=np.array(supercell.cell, dtype=np.float64),
            positions=np.array(supercell.positions, dtype=np.float64),
            numbers=np.array(supercell.numbers, dtype=np.int64),
        )

    @property
    def perfect(self) -> Atoms:
        """The undisplaced supercell."""
        return Atoms(numbers=self.numbers, positions=self.positions, cell=self.cell, pbc=True)

    def has_same_supercells(self, other: SupercellSet) -> bool:
        """Whether another set is this one, number by number."""
        names = ("displacements", "positions", "numbers", "cell")
        return all(np.array_equal(getattr(self, name), getattr(other, name)) for name in names)


@dataclass(frozen=True, kw_only=True, eq=False)
class Displaced(TypedRecord):
    """Displaced supercells of one crystal.

    Parameters
    ----------
    supercells : SupercellSet
        For fc3, and for fc2 unless that has its own; without any displacement where fc2 alone is fitted to finite
        differences.
    supercells_fc2 : SupercellSet, optional
        For fc2 alone (names on disk end in ``_fc2``).
    base_cell : BaseCell
    yaml : str
        The complete phono3py_disp.yaml with the displacement datasets, for phono3py's own tools.
    kind : {"random", "finite-difference"}
    kind_fc2 : {"random", "finite-difference"}, optional
        Of the fc2 supercells, where fc2 has its own.
    paired : bool
        ± pairs.
    distance : float
        Å.
    n_params_fc2, n_params_fc3 : int
        Free parameters in the fc3 supercell.
    n_params_fc2_supercell : int, optional
        Free parameters of fc2 in its own supercell.
    equations_ratio : float, optional
        Independent equations over free parameters (random sets).
    supercell_dim, supercell_dim_fc2 : tuple of int
        Diagonal multiples of the base cell.
    supercell_base : {"conventional", "primitive"}
    supercell_axes : {"standard", "file"}
        Axes that ``dim`` was given along; ``supercell_dim`` counts those of the base cell in any case.
    unitcell_sources : ndarray, optional
        int64 (n_atoms_unitcell,): atom of the relaxed crystal that each atom of the base cell is.
    unitcell_rotation : ndarray, optional
        float64 (3, 3): a vector v of the relaxed crystal is ``unitcell_rotation @ v`` here.
    supercell_length : float
        Shortest lattice translation of the supercell, Å.
    """

    supercells: SupercellSet = part(SupercellSet)
    supercells_fc2: SupercellSet | None = part(SupercellSet, "_fc2", optional=True)
    base_cell: BaseCell = part(BaseCell)
    yaml: str = document("yaml")
    kind: Kind
    kind_fc2: Kind | None = None
    paired: bool
    distance: float
    n_params_fc2: int
    n_params_fc3: int
    n_params_fc2_supercell: int | None = None
    equations_ratio: float | None = None
    supercell_dim: Multiples
    supercell_dim_fc2: Multiples | None = None
    supercell_base: Literal["conventional", "primitive"]
    supercell_axes: Literal["standard", "file"] = "standard"
    unitcell_sources: NDArray[np.int64] | None = array(np.int64, "n_atoms_unitcell", optional=True)
    unitcell_rotation: NDArray[np.float64] | None = array(np.float64, 3, 3, optional=True)
    supercell_length: float

    @column
    def n_supercells(self) -> int:
        """Give the number of displaced fc3 supercells."""
        return len(self.supercells.displacements)

    @column
    def n_supercells_fc2(self) -> int:
        """Give the number of displaced fc2 supercells; 0 where fc3's serve both."""
        return 0 if self.supercells_fc2 is None else len(self.supercells_fc2.displacements)

    @column
    def n_atoms_supercell(self) -> int:
        """Atoms of the fc3 supercell."""
        return len(self.supercells.numbers)

    @column
    def n_atoms_supercell_fc2(self) -> int | None:
        """Atoms of the fc2 supercell, where there is one."""
        return None if self.supercells_fc2 is None else len(self.supercells_fc2.numbers)

    @property
    def sets(self) -> tuple[SupercellSet, ...]:
        """The sets that have displacements."""
        both = (self.supercells, self.supercells_fc2)
        return tuple(item for item in both if item is not None and len(item.displacements))


@dataclass(frozen=True)
class Displace(Stage[Displaced]):
    """The stage: relaxed crystal in, displaced supercells out.

    Parameters
    ----------
    only_fc2 : bool
        For a fit of fc2 alone: the fc2 supercell where one is given, and as few supercells as it needs.
    known_fc2 : str
        Stage whose displacements of the fc2 supercell are taken instead of new ones; empty: none.
    relaxed : str
        Stage that gave the crystal.
    """

    name: str = "displace"
    only_fc2: bool = False
    known_fc2: str = ""
    relaxed: str = "relax"
    version: int = 2  # the record holds the base cell
    prefixes_columns: bool = False
    record_class: ClassVar[type[Displaced]] = Displaced

    @property
    def needs(self) -> tuple[str, ...]:
        """The relaxed crystal, and displacements that are known."""
        return (self.relaxed, self.known_fc2) if self.known_fc2 else (self.relaxed,)

    def depends(self, inputs: Inputs) -> Json:
        """Give the settings, the kind of displacements, and what the cutoffs of the solver depend on."""
        settings = inputs.settings
        fit = settings.force_constants
        plugin = installed_plugins().get("force_constant_solvers", fit.solver)
        third_order = fit.third_order and not self.only_fc2
        counted: list[Json] = (
            [options_identity(fit.options), plugin_identity(plugin)] if fit.options and third_order else []
        )
        own = settings_to_dict(settings.displace)
        if plugin.displacements != "random":  # nothing is drawn
            own = {name: value for name, value in own.items() if name not in _OF_RANDOM_SETS}
        if settings.displace.dim or settings.displace.dim_fc2:
            counted += given_axes(inputs.structure)
        return [own, plugin.displacements, third_order, inputs.structure.id, *counted]

    def run(self, inputs: Inputs) -> Displaced:
        """Choose supercells and displacements."""
        settings = inputs.settings
        fit = settings.force_constants
        kind = installed_plugins().get("force_constant_solvers", fit.solver).displacements
        solver = None if self.only_fc2 else make_force_constant_solver(fit.solver, fit.options)
        if self.only_fc2 and settings.displace.dim_fc2 and settings.displace.n_supercells_fc2 == 0:
            kind = "finite-difference"  # as the fc2 supercells beside fc3
        known = inputs.record(self.known_fc2, Displaced).supercells if self.known_fc2 else None
        relaxed = inputs.record(self.relaxed, Relaxed).atoms
        if "given_cell" in inputs.structure.atoms.info:
            relaxed.info["given_cell"] = inputs.structure.atoms.info["given_cell"]
        return displace(
            relaxed,
            harmonic_settings(settings.displace) if self.only_fc2 else settings.displace,
            kind=kind,
            third_order=fit.third_order and not self.only_fc2,
            seed_text=inputs.structure.id,
            count=solver.count_parameters if solver is not None and solver.has_cutoff else None,
            displacements_fc2=known.displacements if known is not None and kind == "random" else None,
        )


def harmonic_settings(settings: DisplaceSettings) -> DisplaceSettings:
    """Give the settings of a fit of fc2 alone: its own supercell where one is given, as few supercells as it needs."""
    return replace(
        settings,
        dim=settings.dim_fc2 or settings.dim,
        dim_fc2=[],
        n_supercells=settings.n_supercells_fc2 or None,  # 0: finite differences, as many as there are
        n_supercells_fc2=None,
        min_pairs=MIN_PAIRS_FC2,
    )


def displace(
    atoms: Atoms,
    settings: DisplaceSettings,
    *,
    kind: str = "random",
    third_order: bool = True,
    seed_text: str = "",
    symprec: float = 1e-3,
    count: Callable[[Phono3py], dict[int, int] | None] | None = None,
    displacements_fc2: NDArray[np.float64] | None = None,
) -> Displaced:
    """Choose the supercell and displace it.

    Parameters
    ----------
    atoms : ase.Atoms
        Relaxed crystal; any cell (it is standardised again).
    settings : DisplaceSettings
    kind : {"random", "finite-difference"}
        What the force-constant solver needs.
    third_order : bool
        Whether fc3 will be fitted; without it finite differences displace single atoms only (in the fc2
        supercell, ``dim_fc2`` or else the supercell itself, and ``n_supercells`` is 0).
    seed_text : str
        Combined with ``settings.seed``: the same pair gives the same displacements, bit for bit.
    symprec : float
        Symmetry tolerance of the standardisation, Å.
    count : callable, optional
        ``count(phono3py) -> {2: n, 3: n}``: the free parameters of a solver with cutoffs, which has fewer than
        symmetry leaves. Default, and where it returns None: those of the whole supercell.
    displacements_fc2 : ndarray, optional
        float64 (n_supercells_fc2, n_atoms_fc2, 3), Å: random displacements of the fc2 supercell whose forces are
        known from an earlier fit of fc2 alone, taken instead of new ones.

    Raises
    ------
    UnderdeterminedFitError
        ``n_supercells`` is given and too small.
    ConfigError
        ``dim`` or ``dim_fc2`` is not three positive whole numbers, or ``kind`` is unknown.
    StructureError
        Even the smallest supercell exceeds ``max_atoms``, the supercell is so small that fc3 vanishes, or isotopes
        break the symmetry of the elements.
    """
    if kind not in ("random", "finite-difference"):
        raise ConfigError(f"displacements of kind '{kind}' are unknown. Known: random, finite-difference.")
    unitcell, base, dim = choose_supercell(atoms, settings, symprec=symprec)
    dim_fc2 = _choose_fc2_multiples(settings, dim, atoms, kind=kind, third_order=third_order, symprec=symprec)
    base_cell = BaseCell.of(unitcell)
    phono3py = bare_phono3py(base_cell, dim, dim_fc2)
    _require_masses_of_the_symmetry(phono3py)
    n_params = _count_parameters(phono3py, dim, count if third_order else None, third_order=third_order)
    chosen = DisplacementChoice(phono3py, settings, n_params, third_order=third_order, seed_text=seed_text)
    if kind == "random":
        chosen.displace_randomly(displacements_fc2)
    else:
        chosen.displace_one_by_one()
    standard = standard_cell(atoms, symprec, to_primitive=base == "primitive")
    of_file = bool(settings.dim or settings.dim_fc2) and axes_of_file(atoms, symprec) is not None
    separate = None
    if dim_fc2 is not None:
        separate = SupercellSet.of(phono3py.phonon_supercell, displacements_of(phono3py, fc2=True))
    return Displaced(
        supercells=SupercellSet.of(phono3py.supercell, displacements_of(phono3py, fc2=False)),
        supercells_fc2=separate,
        base_cell=base_cell,
        yaml=_phono3py_yaml(phono3py),
        kind="random" if kind == "random" else "finite-difference",
        kind_fc2=_kind_of_dataset(phono3py.phonon_dataset) if dim_fc2 is not None else None,
        paired=bool(settings.paired and kind == "random"),
        distance=settings.distance,
        n_params_fc2=n_params[2],
        n_params_fc3=n_params[3],
        n_params_fc2_supercell=chosen.n_params_fc2_supercell,
        equations_ratio=chosen.equations_ratio,
        supercell_dim=dim,
        supercell_dim_fc2=dim_fc2,
        supercell_base=base,
        supercell_axes="file" if of_file else "standard",
        unitcell_sources=standard.sources,
        unitcell_rotation=standard.rotation,
        supercell_length=shortest_translation(phono3py.supercell.cell),
    )


def _require_masses_of_the_symmetry(phono3py: Phono3py) -> None:
    """Refuse isotopes that make atoms different which phonopy's symmetry takes for equal.

    Raises
    ------
    StructureError
        It would average over them.
    """
    masses = np.asarray(phono3py.supercell.masses)
    permutations = np.asarray(phono3py.symmetry.atomic_permutations)
    if np.abs(masses[permutations] - masses).max() > 1e-6 * masses.max():
        raise StructureError(
            "atoms of one element that symmetry makes equal have different masses; phonopy's symmetry knows elements "
            "only, so frequencies and κ would be wrong. Give such atoms one mass, or the mean of the mixture."
        )


def _choose_fc2_multiples(
    settings: DisplaceSettings,
    dim: Multiples,
    atoms: Atoms,
    *,
    kind: str,
    third_order: bool,
    symprec: float,
) -> Multiples | None:
    """Multiples of the separate fc2 supercell; None where fc3's serves both."""
    if settings.dim_fc2:
        return given_multiples(settings.dim_fc2, "dim_fc2", atoms, symprec)
    return dim if kind == "finite-difference" and not third_order else None


def _count_parameters(
    phono3py: Phono3py, dim: Multiples, count: Callable[[Phono3py], dict[int, int] | None] | None, *, third_order: bool
) -> dict[int, int]:
    """Free parameters by order; none of third order is an error where fc3 is to be fitted."""
    n_params = count_free_parameters(*known_action(phono3py.symmetry, phono3py.supercell.cell))
    if count is not None:
        n_params = n_params | (count(phono3py) or {})
    if third_order and n_params[3] == 0:
        raise StructureError(
            f"the supercell {list(dim)} of {len(phono3py.supercell)} atoms is so small that symmetry, or the solver's "
            "cutoff, leaves no third-order force constant. Raise displace.dim, displace.max_atoms or the cutoff."
        )
    return n_params


def _kind_of_dataset(dataset: Mapping[str, object] | None) -> Kind:
    """Whether phono3py's dataset displaces all atoms at once, or one or two at a time."""
    return "random" if dataset and "displacements" in dataset else "finite-difference"


def _phono3py_yaml(phono3py: Phono3py) -> str:
    """Text of the phono3py_disp.yaml."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "phono3py_disp.yaml"
        phono3py.save(path, settings={"force_sets": False, "displacements": True})
        return path.read_text(encoding="utf-8")
