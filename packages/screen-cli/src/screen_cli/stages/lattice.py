"""Rebuild phono3py and phonopy objects from stage records."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.store.record import Record

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phonopy import Phonopy


def load_phono3py(
    displace_record: Record,
    *,
    force_constants: Record | None = None,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Phono3py:
    """Rebuild the Phono3py object that a displacement record describes.

    Parameters
    ----------
    displace_record : Record
        Its document ``yaml`` is a complete phono3py_disp.yaml; the dataset is set without forces.
    force_constants : Record, optional
        Arrays ``fc2`` (n_atoms_primitive, n_atoms_fc2, 3, 3) eV/Å² and, when fitted, ``fc3``
        (n_atoms_primitive, n_atoms, n_atoms, 3, 3, 3) eV/Å³, both compact.
    born : str, optional
        Text of a BORN file (dielectric tensor, Born charges of the independent atoms of the primitive cell).
    nac_method : {"gonze", "wang"}
        Scheme of the non-analytical correction.

    Raises
    ------
    StructureError
        The record has no YAML, the force constants belong to other cells, or BORN cannot be read.
    """
    from phono3py import Phono3py

    document = _read_yaml(displace_record)
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
        _set_fc2(phono3py, force_constants, n_primitive)
        if "fc3" in force_constants.arrays:
            n_atoms = len(phono3py.supercell)
            phono3py.fc3 = _checked(force_constants, "fc3", (n_primitive, n_atoms, n_atoms, 3, 3, 3))
    if born is not None:
        phono3py.nac_params = parse_born(born, phono3py.primitive, nac_method)
    return phono3py


def load_phonopy(
    displace_record: Record,
    force_constants: Record,
    *,
    born: str | None = None,
    nac_method: str = "gonze",
) -> Phonopy:
    """Rebuild the harmonic side: a Phonopy object of the fc2 supercell with fc2 set.

    Parameters and errors are those of :func:`load_phono3py`.
    """
    from phonopy import Phonopy

    document = _read_yaml(displace_record)
    matrix = document.phonon_supercell_matrix
    phonopy = Phonopy(
        document.unitcell,
        supercell_matrix=document.supercell_matrix if matrix is None else matrix,
        primitive_matrix=document.primitive_matrix,
        log_level=0,
    )
    shape = (len(phonopy.primitive), len(phonopy.supercell), 3, 3)
    phonopy.force_constants = _checked(force_constants, "fc2", shape)
    if born is not None:
        phonopy.nac_params = parse_born(born, phonopy.primitive, nac_method)
    return phonopy


def parse_born(text: str, primitive: Any, nac_method: str = "gonze") -> dict[str, Any]:
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


def supercell_displacements(phono3py: Any) -> NDArray[np.float64]:
    """All fc3 displacements, float64 (n_supercells, n_atoms, 3), Å, in the order of the dataset.

    Unlike ``Phono3py.displacements``, a supercell of two displaced atoms shows both.
    """
    dataset = phono3py.dataset
    if "first_atoms" not in dataset:
        return np.array(dataset["displacements"], dtype=np.float64)
    displacements = np.array(phono3py.displacements, dtype=np.float64)
    row = len(dataset["first_atoms"])
    for first in dataset["first_atoms"]:
        for _ in first["second_atoms"]:
            displacements[row, first["number"]] += first["displacement"]
            row += 1
    return displacements


def primitive_atom_of_unitcell(phonopy: Any) -> NDArray[np.int64]:
    """Index in the primitive cell of each atom of the unit cell, int64 (n_atoms_unitcell,)."""
    primitive = phonopy.primitive
    return np.array([primitive.p2p_map[primitive.s2p_map[atom]] for atom in phonopy.supercell.u2s_map], dtype=np.int64)


def predict_forces(
    primitive: Any,
    displacements: NDArray[np.float64],
    fc2: NDArray[np.float64],
    fc3: NDArray[np.float64] | None = None,
) -> NDArray[np.float64]:
    """Evaluate F_i = −Σ_j Φ_ij u_j − ½ Σ_jk Φ_ijk u_j u_k with compact force constants.

    Parameters
    ----------
    primitive : phonopy Primitive
        Of the supercell the displacements live in; gives p2s_map and the lattice translations.
    displacements : ndarray
        float64 (n_supercells, n_atoms, 3), Å, Cartesian.
    fc2, fc3 : ndarray
        Compact: (n_primitive, n_atoms, 3, 3) eV/Å² and (n_primitive, n_atoms, n_atoms, 3, 3, 3) eV/Å³.

    Returns
    -------
    ndarray
        float64 (n_supercells, n_atoms, 3), eV/Å.
    """
    n_supercells, n_atoms, _ = displacements.shape
    permutations = np.asarray(primitive.atomic_permutations)  # (n_translations, n_atoms)
    shifted = displacements[:, permutations].reshape(-1, 3 * n_atoms)  # (n_supercells · n_translations, 3n)
    forces = np.zeros_like(displacements)
    for index, atom in enumerate(primitive.p2s_map):
        linear = fc2[index].transpose(0, 2, 1).reshape(3 * n_atoms, 3)
        values = -shifted @ linear
        if fc3 is not None:
            for axis in range(3):
                matrix = fc3[index, :, :, axis].transpose(0, 2, 1, 3).reshape(3 * n_atoms, 3 * n_atoms)
                values[:, axis] -= 0.5 * np.einsum("ij,ij->i", shifted @ matrix, shifted)
        forces[:, permutations[:, atom]] = values.reshape(n_supercells, len(permutations), 3)
    return forces


def _read_yaml(record: Record) -> Any:
    """Parse the YAML document of a displacement record."""
    from phono3py.interface.phono3py_yaml import Phono3pyYaml

    text = record.documents.get("yaml")
    if text is None:
        raise StructureError(
            f"the displacement record has no document 'yaml' (it has {sorted(record.documents)}). Make it with "
            "screen_cli.stages.displace.displace."
        )
    document = Phono3pyYaml()
    document.read(io.StringIO(text))
    return document


def _set_fc2(phono3py: Phono3py, record: Record, n_primitive: int) -> None:
    """Set fc2 after a check of its shape."""
    phono3py.fc2 = _checked(record, "fc2", (n_primitive, len(phono3py.phonon_supercell), 3, 3))


def _checked(record: Record, name: str, shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array of force constants in C order, or say how its shape is wrong."""
    array = record.arrays.get(name)
    if array is None or array.shape != shape:
        found = "is missing" if array is None else f"has shape {array.shape}"
        raise StructureError(
            f"'{name}' {found}, expected {shape}. Fit the force constants again from this displacement record."
        )
    return np.array(array, dtype=np.float64, order="C")
