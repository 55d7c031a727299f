"""Bonding and antibonding from the files LOBSTER wrote for a crystal.

LOBSTER itself (https://www.cohp.de) and the electronic-structure run before it are the user's; here their
``COHPCAR.lobster`` and ``ICOHPLIST.lobster`` are read (pymatgen parses them; ``.gz`` too).
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np

from screen_cli.crystal.structure import Structure
from screen_cli.errors import ConfigError, MissingExtraError, StructureError
from screen_cli.physics.bonding import integrate_bonding
from screen_cli.properties.cohp.bonding import Bonding

FILES = ("COHPCAR.lobster", "ICOHPLIST.lobster")
TOLERANCE = 0.05
"""Largest relative difference between B − A and −ICOHP(E_F) of LOBSTER that counts as consistent."""


def read_bonding(structure: Structure, folder: str) -> Bonding:
    """Average bonding and antibonding integrals over the pairs of atoms of a crystal.

    Parameters
    ----------
    structure : Structure
        The crystal; its id, provider id or formula names its folder.
    folder : str
        Folder that holds one folder for each crystal.

    Raises
    ------
    ConfigError
        No folder is given, or it does not exist.
    StructureError
        The files are damaged or cut off.
    """
    files = _files_of(structure, folder)
    found = Bonding(cohp_source="lobster" if files else None)
    try:
        if "COHPCAR.lobster" in files:
            found = _with_curves(found, files["COHPCAR.lobster"])
        if "ICOHPLIST.lobster" in files:
            found = _with_list(found, files["ICOHPLIST.lobster"])
    except (ValueError, IndexError, KeyError, OSError) as error:
        names = ", ".join(str(path) for path in files.values())
        raise StructureError(f"LOBSTER output cannot be read ({names}): {type(error).__name__}: {error}.") from error
    if found.cohp_bonding_ev is None or found.cohp_antibonding_ev is None or found.icohp_mean_ev is None:
        return found
    difference = abs(found.cohp_antibonding_ev - found.cohp_bonding_ev - found.icohp_mean_ev)
    return replace(found, cohp_consistent=bool(difference <= TOLERANCE * max(abs(found.icohp_mean_ev), 1e-3)))


def checksums(structure: Structure, folder: str) -> dict[str, str]:
    """Checksums of a crystal's LOBSTER files, by name."""
    files = _files_of(structure, folder)
    return {name: hashlib.sha256(path.read_bytes()).hexdigest() for name, path in files.items()}


def _files_of(structure: Structure, folder: str) -> dict[str, Path]:
    """LOBSTER's files of a crystal by name, whichever of its names the folder has."""
    if not folder or not Path(folder).is_dir():
        raise ConfigError(
            f"property 'cohp' needs the folder with LOBSTER's output, got '{folder}'. Set it: "
            '[properties] options = { cohp = { folder = "lobster/" } }; or have GPAW compute: { source = "gpaw" }.'
        )
    for name in (structure.id, Path(structure.provider_id).name, Path(structure.provider_id).stem, structure.formula):
        place = Path(folder) / name
        found = {
            file: path for file in FILES for path in (place / file, place / f"{file}.gz") if name and path.is_file()
        }
        if found:
            return found
    return {}


def _with_curves(found: Bonding, path: Path) -> Bonding:
    """Add the mean integrals of the curves of all pairs (the orbital-resolved ones are parts of these)."""
    outputs = _import_pymatgen()
    cohpcar = outputs.Cohpcar(filename=str(path))
    pairs = [entry for label, entry in cohpcar.cohp_data.items() if label != "average" and entry["COHP"] is not None]
    if not pairs:
        raise ValueError("it holds no pair of atoms")
    integrals = np.array([integrate_bonding(cohpcar.energies, sum(entry["COHP"].values())) for entry in pairs])
    bonding, antibonding = integrals.mean(axis=0)
    return replace(found, cohp_bonding_ev=float(bonding), cohp_antibonding_ev=float(antibonding), n_bonds=len(pairs))


def _with_list(found: Bonding, path: Path) -> Bonding:
    """Add the mean and the strongest ICOHP of the list, spins summed, each pair as often as it occurs."""
    outputs = _import_pymatgen()
    bonds = list(outputs.Icohplist(filename=str(path)).icohplist.values())
    if not bonds:
        raise ValueError("it holds no pair of atoms")
    icohp = np.array([sum(bond["icohp"].values()) for bond in bonds])
    weights = np.array([bond.get("number_of_bonds", 1) for bond in bonds])
    return replace(
        found, icohp_mean_ev=float(np.average(icohp, weights=weights)), icohp_strongest_ev=float(icohp.min())
    )


def _import_pymatgen() -> ModuleType:
    """Import pymatgen's readers."""
    try:
        from pymatgen.io.lobster import outputs
    except ImportError as error:
        raise MissingExtraError(
            "property 'cohp' needs pymatgen. Install it: pip install 'screen-cli[cohp]'."
        ) from error
    module: ModuleType = outputs
    return module
