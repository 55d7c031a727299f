"""Bonding and antibonding computed by GPAW in LCAO mode, in a process of the Python that has it.

Spin-unpolarised, PBE, on the relaxed primitive cell. Bonds are the nearest shells
(:mod:`screen_cli.physics.bonds`), the energy zero is the Fermi level of a metal and the top of the valence band of an
insulator, and the states are projected on the orbitals that free atoms fill
(:mod:`screen_cli.physics.hamilton_population`).

References
----------
A. H. Larsen, M. Vanin, J. J. Mortensen, K. S. Thygesen, K. W. Jacobsen, Phys. Rev. B 80, 195112 (2009),
doi:10.1103/PhysRevB.80.195112 (GPAW's LCAO mode).
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

import numpy as np
from ase import Atoms
from numpy.typing import NDArray
from pydantic import TypeAdapter, ValidationError

from screen_cli.calculators.environments.virtual import ModelEnvironment, environment_of, find_environment
from screen_cli.errors import CalculatorError, ConfigError, MissingExtraError
from screen_cli.physics.bonds import SHELL, nearest_bonds
from screen_cli.physics.hamilton_population import SMEARING, LocalMatrices, bond_populations
from screen_cli.properties.cohp import program
from screen_cli.properties.cohp.bonding import Bonding
from screen_cli.store.record import Json

ENVIRONMENT = "gpaw"
LARGEST_SPILLING = 0.1
"""Largest share of the electrons of a band that the orbitals of free atoms may miss: salts and semiconductors have 0.04
at most, magnesium, whose atoms fill no p shell, 0.39."""
_PROGRAM = Path(program.__file__)
_INSTALL = (
    "Make its environment: screen-cli env create gpaw; or name the Python that has it: [properties] options = "
    '{ cohp = { source = "gpaw", environment = "/path/to/python" } }.'
)


@dataclass(frozen=True, kw_only=True)
class GpawSettings:
    """How GPAW computes; the defaults are converged to a few percent of an integral.

    Parameters
    ----------
    environment : str
        Name of an environment, folder of one or path of an interpreter, ``"here"`` for this one; empty: here where GPAW
        is installed, else the environment ``gpaw``.
    basis : str
        GPAW's name of a basis, e.g. ``"szp(dzp)"`` or ``"dzp"``: of the density, not of the populations.
    grid_spacing : float
        Of the real-space grid, Å.
    density_length, population_length : float
        Length (Å) of the crystal that the mesh of k points stands for: while the density is found, and for populations.
    shell : float
        Reach of the bonds in distances of an atom's nearest neighbour.
    time_limit : float
        Seconds for one crystal.
    """

    environment: str = ""
    basis: str = "szp(dzp)"
    grid_spacing: float = 0.25
    density_length: float = 12.0
    population_length: float = 24.0
    shell: float = SHELL
    time_limit: float = 3600.0

    def __post_init__(self) -> None:
        """Refuse what cannot be computed with.

        Raises
        ------
        ConfigError
        """
        for name in ("grid_spacing", "density_length", "population_length", "time_limit"):
            if not 0 < getattr(self, name) < np.inf:
                raise ConfigError(f"property 'cohp': {name} = {getattr(self, name):g}, expected a positive number.")
        if not 1 <= self.shell <= 3:
            raise ConfigError(f"property 'cohp': shell = {self.shell:g}, expected 1 to 3.")

    @classmethod
    def from_options(cls, options: Mapping[str, object]) -> GpawSettings:
        """Take the options of a configuration.

        Raises
        ------
        ConfigError
            One is unknown, of the wrong type or out of range.
        """
        known = cls.__dataclass_fields__
        unknown = sorted(set(options) - set(known))
        if unknown:
            raise ConfigError(f"property 'cohp': unknown option '{unknown[0]}'. Known: source, {', '.join(known)}.")
        try:
            return TypeAdapter(cls).validate_python(dict(options))
        except ValidationError as error:
            first = error.errors()[0]
            where = ".".join(str(part) for part in first["loc"])
            raise ConfigError(f"property 'cohp': option {where}: {first['msg'].lower()}.") from error


def compute_bonding(atoms: Atoms, settings: GpawSettings | None = None) -> Bonding:
    """Compute bonding and antibonding of a crystal's bonds and their means.

    Parameters
    ----------
    atoms : ase.Atoms
        Primitive cell, Å.
    settings : GpawSettings, optional

    Returns
    -------
    Bonding

    Raises
    ------
    MissingExtraError
        GPAW, libxc or its data are not installed.
    CalculatorError
        GPAW does not know an element, finds no density, takes too long, or orbitals of free atoms hold too few of the
        electrons: the crystal gets no number.

    Examples
    --------
    >>> from ase.build import bulk
    >>> from screen_cli.properties.cohp.lcao import compute_bonding
    >>> compute_bonding(bulk("Si")).bond_icohp_ev  # doctest: +SKIP
    array([-5.16, -5.17, -5.17, -5.17])
    """
    settings = settings or GpawSettings()
    matrices, scaled = _matrices(atoms, settings)
    bonds = nearest_bonds(atoms.cell.array, scaled, settings.shell)
    try:
        found = bond_populations(matrices, bonds)
    except ValueError as error:
        raise CalculatorError(f"GPAW's matrices of {atoms.get_chemical_formula()} cannot be used: {error}.") from error
    if found.spilling > LARGEST_SPILLING:
        raise CalculatorError(
            f"orbitals of free atoms miss {100 * found.spilling:.1f} % of the electrons of a band of "
            f"{atoms.get_chemical_formula()}, at most {100 * LARGEST_SPILLING:g} % are accepted: its bonds cannot be "
            "told from them."
        )
    return Bonding(
        cohp_source=f"gpaw-lcao {settings.basis}",
        cohp_bonding_ev=float(found.bonding.mean()),
        cohp_antibonding_ev=float(found.antibonding.mean()),
        icohp_mean_ev=float(found.icohp.mean()),
        icohp_strongest_ev=float(found.icohp.min()),
        n_bonds=len(bonds),
        cohp_gap_ev=found.filling.gap if np.isfinite(found.filling.gap) else None,
        cohp_spilling=found.spilling,
        bond_pairs=bonds.pairs,
        bond_cells=bonds.cells,
        bond_distances=bonds.distances,
        bond_icohp_ev=found.icohp,
        bond_bonding_ev=found.bonding,
        bond_antibonding_ev=found.antibonding,
    )


def identity(settings: GpawSettings) -> dict[str, Json]:
    """Versions of GPAW and its data, and the checksum of the program that runs it."""
    versions = _versions(_environment(settings.environment).python)
    return {"program": hashlib.sha256(_PROGRAM.read_bytes()).hexdigest(), **versions}


# -- GPAW's process -----------------------------------------------------------------------------------------------


def _environment(name: str) -> ModelEnvironment:
    """Find the Python that has GPAW."""
    made = None if name else environment_of(ENVIRONMENT)
    if name not in ("", "here"):
        return find_environment(name)
    if made is not None and importlib.util.find_spec("gpaw") is None:
        return made
    return ModelEnvironment("here", Path(sys.executable), {})


@lru_cache(maxsize=8)
def _versions(python: Path) -> dict[str, str]:
    """Versions of GPAW and its data by distribution, asked once for each Python.

    Raises
    ------
    MissingExtraError
        It has no GPAW.
    """
    found = ModelEnvironment(str(python), python, {}).versions(("gpaw", "gpaw-data"))
    if "gpaw" not in found:
        raise MissingExtraError(f"property 'cohp': {python} has no GPAW. {_INSTALL}")
    return found


def _matrices(atoms: Atoms, settings: GpawSettings) -> tuple[LocalMatrices, NDArray[np.float64]]:
    """Have GPAW compute matrices; with them the positions that their cells count from, (n_atoms, 3).

    Raises
    ------
    MissingExtraError, CalculatorError
    """
    environment = _environment(settings.environment)
    _versions(environment.python)
    formula = atoms.get_chemical_formula()
    with tempfile.TemporaryDirectory(prefix="screen-cli-gpaw-") as name:
        folder = Path(name)
        (folder / "crystal.json").write_text(json.dumps(_task(atoms, settings)), encoding="utf-8")
        last = _run(environment, folder, formula, settings.time_limit)
        try:
            answer = json.loads((folder / "answer.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            raise CalculatorError(f"GPAW's process died over {formula}: {last or 'it said nothing'}.") from None
        if answer.get("refused") == "installation":
            raise MissingExtraError(f"property 'cohp': {answer['reason']}. {_INSTALL}")
        if "refused" in answer:
            raise CalculatorError(f"GPAW refuses {formula}: {answer['reason']}.")
        with np.load(folder / "matrices.npz", allow_pickle=False) as arrays:
            given = {key: arrays[key] for key in arrays.files}
    scaled = given.pop("scaled")
    n_electrons = float(given.pop("n_electrons"))
    return LocalMatrices(**given, n_electrons=n_electrons), scaled


def _task(atoms: Atoms, settings: GpawSettings) -> program.Task:
    """Describe a crystal and how it is computed."""
    return {
        "numbers": atoms.numbers.tolist(),
        "cell": atoms.cell.array.tolist(),
        "positions": atoms.positions.tolist(),
        "xc": "PBE",
        "smearing": SMEARING,
        "basis": settings.basis,
        "grid_spacing": settings.grid_spacing,
        "density_length": settings.density_length,
        "population_length": settings.population_length,
    }


def _run(environment: ModelEnvironment, folder: Path, formula: str, time_limit: float) -> str:
    """Run GPAW's process to its end; what it said last."""
    try:
        done = subprocess.run(
            [str(environment.python), str(_PROGRAM), str(folder)],
            capture_output=True, text=True, errors="replace", timeout=time_limit, check=False, cwd=folder,
            stdin=subprocess.DEVNULL, env=None if environment.name == "here" else environment.variables(),
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise CalculatorError(
            f"GPAW needs more than {time_limit:g} s for {formula}. Raise it: [properties] options = {{ cohp = {{ "
            f"time_limit = {2 * time_limit:g} }} }}."
        ) from None
    except OSError as error:
        raise MissingExtraError(f"property 'cohp': {environment.python} does not run: {error}. {_INSTALL}") from error
    lines = [line.strip() for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"exit code {done.returncode}"
