"""Phono3py and phonopy objects rebuilt from the records of the stages."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.stages.displace import Displaced

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phono3py.interface.phono3py_yaml import Phono3pyYaml
    from phonopy import Phonopy
    from phonopy.structure.cells import Primitive

    from screen_cli.stages.force_constants import ForceConstants


def load_phono3py(
    displaced: Displaced,
    *,
    force_constants: ForceConstants | None = None,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Phono3py:
    """Rebuild the Phono3py object that displaced supercells describe.

    Parameters
    ----------
    displaced : Displaced
        The dataset is set without forces.
    force_constants : ForceConstants, optional
    born : str, optional
        Text of a BORN file (dielectric tensor, Born charges of the independent atoms of the primitive cell).
    nac_method : {"gonze", "wang"}
        Scheme of the non-analytical correction.

    Raises
    ------
    StructureError
        The force constants belong to other cells, or BORN cannot be read.
    """
    from phono3py import Phono3py

    document = _read_yaml(displaced)
    phono3py = Phono3py(
        document.unitcell,
        supercell_matrix=document.supercell_matrix,
        primitive_matrix=document.primitive_matrix,
        phonon_supercell_matrix=document.phonon_supercell_matrix,
        log_level=0,
    )
    phono3py.dataset = document.dataset
    if document.phonon_supercell_matrix is not None and document.phonon_dataset is not None:
        phono3py.phonon_dataset = document.phonon_dataset
    if force_constants is not None:
        n_primitive = len(phono3py.primitive)
        fc2_shape = (n_primitive, len(phono3py.phonon_supercell), 3, 3)
        phono3py.fc2 = _checked("fc2", force_constants.fc2, fc2_shape)
        if force_constants.fc3 is not None:
            n_atoms = len(phono3py.supercell)
            phono3py.fc3 = _checked("fc3", force_constants.fc3, (n_primitive, n_atoms, n_atoms, 3, 3, 3))
    if born is not None:
        phono3py.nac_params = parse_born(born, phono3py.primitive, nac_method)
    return phono3py


def load_phonopy(
    displaced: Displaced,
    force_constants: ForceConstants,
    *,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Phonopy:
    """Rebuild the harmonic side: a Phonopy object of the fc2 supercell with fc2 set.

    Parameters and errors are those of :func:`load_phono3py`.
    """
    from phonopy import Phonopy

    document = _read_yaml(displaced)
    matrix = document.phonon_supercell_matrix
    phonopy = Phonopy(
        document.unitcell,
        supercell_matrix=document.supercell_matrix if matrix is None else matrix,
        primitive_matrix=document.primitive_matrix,
        log_level=0,
    )
    shape = (len(phonopy.primitive), len(phonopy.supercell), 3, 3)
    phonopy.force_constants = _checked("fc2", force_constants.fc2, shape)
    if born is not None:
        phonopy.nac_params = parse_born(born, phonopy.primitive, nac_method)
    return phonopy


def parse_born(text: str, primitive: Primitive, nac_method: str = "gonze") -> dict[str, Any]:
    """Read Born charges and the dielectric tensor from the text of a BORN file.

    Returns
    -------
    dict
        ``born`` (n_atoms, 3, 3) e, ``dielectric`` (3, 3), ``factor`` eV·Å, ``method``.

    Raises
    ------
    StructureError
        The text is malformed or does not fit the primitive cell.
    """
    from phonopy.file_IO import parse_BORN_from_strings
    from phonopy.interface.calculator import get_calculator_physical_units

    try:
        params = dict(parse_BORN_from_strings(text, primitive))
    except Exception as error:  # phonopy raises anything from IndexError to SystemExit's kin on bad text
        raise StructureError(
            f"the BORN text cannot be read for {len(primitive)} atoms in the primitive cell: {error}. Expected a "
            "header line, the dielectric tensor (9 numbers), then 9 numbers for each independent atom."
        ) from error
    if params.get("factor") is None:
        params["factor"] = get_calculator_physical_units("vasp").nac_factor
    params["method"] = nac_method
    return params


def primitive_atom_of_unitcell(phonopy: Phonopy) -> NDArray[np.int64]:
    """Index in the primitive cell of each atom of the unit cell, int64 (n_atoms_unitcell,)."""
    primitive = phonopy.primitive
    return np.array([primitive.p2p_map[primitive.s2p_map[atom]] for atom in phonopy.supercell.u2s_map], dtype=np.int64)


def _read_yaml(displaced: Displaced) -> Phono3pyYaml:
    """Parse the YAML document of displaced supercells."""
    from phono3py.interface.phono3py_yaml import Phono3pyYaml

    document = Phono3pyYaml()
    document.read(io.StringIO(displaced.yaml))
    return document


def _checked(name: str, values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array of force constants in C order, or say how its shape is wrong."""
    if values.shape != shape:
        raise StructureError(
            f"'{name}' has shape {values.shape}, expected {shape}. Fit the force constants again from this "
            "displacement record."
        )
    return np.array(values, dtype=np.float64, order="C")
