"""Read Born effective charges and the dielectric tensor from a BORN file."""

from __future__ import annotations

from typing import TYPE_CHECKING

from phon_wigner.file_access.reading import PathLike, reading
from phon_wigner.phonons.assembly import nac_in_ev
from phon_wigner.phonons.interfaces import InterfaceUnits

if TYPE_CHECKING:
    from phonopy.structure.cells import Primitive


def read_born(path: PathLike, primitive: Primitive, units: InterfaceUnits, method: str) -> dict[str, object]:
    """Read a BORN file with phonopy and return NAC parameters for eV and Å.

    Parameters
    ----------
    path : path
    primitive : phonopy.structure.cells.Primitive
        Cell that its lines belong to: one line per symmetry-independent atom.
    units : InterfaceUnits
        Of the program: a factor in the first line may be in its units, or in eV Å.
    method : str
        "gonze" or "wang".

    Returns
    -------
    dict[str, object]
        ``born`` (n_atoms, 3, 3; e), ``dielectric`` (3, 3), ``factor`` (eV Å), ``method``.

    Raises
    ------
    InputFileError
        The file is missing, damaged, or belongs to another cell.
    UnitError
        Its factor is that of another program.
    """
    from phonopy.file_IO import parse_BORN

    nac: dict[str, object] = {}
    fix = "Give the BORN file of this primitive cell, or --nonac."
    with reading(path, f"BORN file of a cell of {len(primitive)} atoms", fix):
        nac.update(parse_BORN(primitive, filename=str(path)))
    if nac.get("factor") == 0:
        del nac["factor"]
    return nac_in_ev(nac, units, str(path), method)
