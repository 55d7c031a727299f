"""vasprun.xml as a finished run of VASP writes it, for tests of what reads it."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import numpy as np
from ase import Atoms
from ase.io import read
from numpy.typing import ArrayLike

__all__ = ["write_vasprun"]


def write_vasprun(
    folder: Path,
    *,
    forces: ArrayLike,
    electronic_steps: int = 9,
    ion_shift: float = 0.0,
    end: str = "</modeling>",
) -> None:
    """Write a vasprun.xml for the POSCAR in a folder, in the layout of VASP 5 and 6, as a finished run would.

    Parameters
    ----------
    folder : Path
        Holds POSCAR.
    forces : ArrayLike, shape (n_atoms, 3), eV/Å
        In the order of POSCAR.
    electronic_steps : int
        Self-consistency steps; NELM is 60, so 60 means unconverged.
    ion_shift : float, Å
        Moves three atoms: an ionic step that should not have happened.
    end : str
        Closing tag; empty for a run that still goes.
    """

    def rows(array: ArrayLike) -> str:
        lines = (" ".join(f"{x:.8f}" for x in line) for line in np.atleast_2d(array))
        return "".join(f"<v> {line} </v>" for line in lines)

    atoms = cast("Atoms", read(folder / "POSCAR"))
    atoms.positions += ion_shift * np.eye(len(atoms), 3)
    kinds = "".join(f"<rc><c>{s:2s}</c><c>   1</c></rc>" for s in atoms.get_chemical_symbols())
    structure = (
        f'<crystal><varray name="basis">{rows(atoms.cell.array)}</varray></crystal>'
        f'<varray name="positions">{rows(atoms.get_scaled_positions(wrap=False))}</varray>'
    )
    values = {"e_fr_energy": -27.0, "e_wo_entrp": -27.0, "e_0_energy": -27.25}
    energy = "".join(f'<i name="{name}"> {value} </i>' for name, value in values.items())
    step = f"<scstep><energy>{energy}</energy></scstep>"
    (folder / "vasprun.xml").write_text(
        '<?xml version="1.0" encoding="ISO-8859-1"?><modeling><kpoints>'
        '<varray name="kpointlist"><v> 0 0 0</v></varray><varray name="weights"><v> 1.0 </v></varray>'
        '</kpoints><parameters><separator name="electronic"><i type="int" name="NELM"> 60</i></separator>'
        f'</parameters><atominfo><array name="atoms"><set>{kinds}</set></array></atominfo>'
        f'<structure name="initialpos">{structure}</structure>'
        f"<calculation>{step * electronic_steps}<structure>{structure}</structure>"
        f'<varray name="forces">{rows(forces)}</varray><varray name="stress">{rows(10 * np.eye(3))}</varray>'
        f"<energy>{energy}</energy></calculation>{end}"
    )
