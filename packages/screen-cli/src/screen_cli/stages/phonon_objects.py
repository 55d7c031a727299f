"""Phono3py and phonopy objects rebuilt from the records of the stages."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal, cast

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import StructureError
from screen_cli.stages.displace import Displaced
from screen_cli.stages.phonon_cells import bare_phono3py, bare_phonopy

if TYPE_CHECKING:
    from phono3py import Phono3py
    from phono3py.interface.phono3py_yaml import Phono3pyYamlData
    from phonopy import Phonopy
    from phonopy.harmonic.dynamical_matrix import NacParams

    from screen_cli.crystal.born import BornTensors
    from screen_cli.stages.force_constants import ForceConstants

_ANCHOR = re.compile(r"(?:^|[\s\[{,:-])[&*][A-Za-z0-9_]", re.MULTILINE)


def load_phono3py(
    displaced: Displaced,
    *,
    force_constants: ForceConstants | None = None,
    born: BornTensors | None = None,
    nac_method: str = "gonze",
) -> Phono3py:
    """Rebuild the Phono3py object that displaced supercells describe.

    Parameters
    ----------
    displaced : Displaced
        The dataset is set without forces.
    force_constants : ForceConstants, optional
    born : BornTensors, optional
        In the frame and order of the relaxed crystal.
    nac_method : {"gonze", "wang"}
        Scheme of the non-analytical correction.

    Raises
    ------
    StructureError
        The force constants belong to other cells, or it is not known which atom of the crystal each of them is.
    """
    phono3py = bare_phono3py(displaced.base_cell, displaced.supercell_dim, displaced.supercell_dim_fc2)
    one_by_one = "finite-difference" in (displaced.kind, displaced.kind_fc2)
    document = _read_yaml(displaced) if one_by_one else None  # which atom moves, and how, stands there alone
    if document is not None and displaced.kind == "finite-difference":
        phono3py.dataset = document.dataset
    else:
        phono3py.dataset = {"displacements": displaced.supercells.displacements}
    if document is not None and displaced.kind_fc2 == "finite-difference":
        phono3py.phonon_dataset = document.phonon_dataset
    elif displaced.supercells_fc2 is not None:
        phono3py.phonon_dataset = {"displacements": displaced.supercells_fc2.displacements}
    if force_constants is not None:
        n_primitive = len(phono3py.primitive)
        fc2_shape = (n_primitive, len(phono3py.phonon_supercell), 3, 3)
        phono3py.fc2 = _checked("fc2", force_constants.fc2, fc2_shape)
        if force_constants.fc3 is not None:
            n_atoms = len(phono3py.supercell)
            phono3py.fc3 = _checked("fc3", force_constants.fc3, (n_primitive, n_atoms, n_atoms, 3, 3, 3))
    if born is not None:
        phono3py.nac_params = nac_parameters(born, displaced, phono3py, nac_method)
    return phono3py


def load_phonopy(
    displaced: Displaced,
    force_constants: ForceConstants,
    *,
    born: BornTensors | None = None,
    nac_method: str = "gonze",
) -> Phonopy:
    """Rebuild the harmonic side: a Phonopy object of the fc2 supercell with fc2 set.

    Parameters and errors are those of :func:`load_phono3py`.
    """
    phonopy = bare_phonopy(displaced.base_cell, displaced.supercell_dim, displaced.supercell_dim_fc2)
    shape = (len(phonopy.primitive), len(phonopy.supercell), 3, 3)
    phonopy.force_constants = _checked("fc2", force_constants.fc2, shape)
    if born is not None:
        phonopy.nac_params = nac_parameters(born, displaced, phonopy, nac_method)
    return phonopy


def nac_parameters(
    born: BornTensors, displaced: Displaced, phonons: Phonopy | Phono3py, nac_method: str = "gonze"
) -> NacParams:
    """Dielectric tensor and Born charges as phonopy takes them: of its primitive cell, in its frame.

    Returns
    -------
    dict
        ``born`` (n_atoms, 3, 3) e, ``dielectric`` (3, 3), ``factor`` eV·Å, ``method``.

    Raises
    ------
    StructureError
        The displaced supercells do not say which atom of the crystal each of theirs is, or are of another crystal.
    """
    from phonopy.physical_units import get_calculator_physical_units

    if displaced.unitcell_sources is None or displaced.unitcell_rotation is None:
        raise StructureError(
            "the displaced supercells do not say which atom of the crystal each of theirs is, which Born charges need. "
            "Displace again."
        )
    n_atoms = len(set(displaced.unitcell_sources.tolist()))
    if len(born.charges) != n_atoms:
        raise StructureError(f"there are {len(born.charges)} Born charges for {n_atoms} atoms in the primitive cell.")
    supercell = phonons.supercell
    atoms = [supercell.u2u_map[supercell.s2u_map[atom]] for atom in phonons.primitive.p2s_map]
    carried = born.carried(displaced.unitcell_rotation, displaced.unitcell_sources[atoms])
    return {
        "born": carried.charges,
        "dielectric": carried.dielectric,
        "factor": get_calculator_physical_units("vasp").nac_factor,
        "method": cast('Literal["gonze", "wang"]', nac_method),
    }


def primitive_atom_of_unitcell(phonopy: Phonopy) -> NDArray[np.int64]:
    """Index in the primitive cell of each atom of the unit cell, int64 (n_atoms_unitcell,)."""
    primitive = phonopy.primitive
    return np.array([primitive.p2p_map[primitive.s2p_map[atom]] for atom in phonopy.supercell.u2s_map], dtype=np.int64)


def _read_yaml(displaced: Displaced) -> Phono3pyYamlData:
    """Parse the YAML document of displaced supercells.

    With a safe loader: a record may come from elsewhere, and phono3py's own reader would build any object it names.
    """
    import yaml
    from phono3py.interface.phono3py_yaml import load_phono3py_yaml

    loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
    try:
        if _ANCHOR.search(displaced.yaml) and any(
            isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None)
            for event in yaml.parse(displaced.yaml, Loader=loader)
        ):
            raise ValueError("it repeats itself by anchors, which can make a small text a huge one")
        document = load_phono3py_yaml(yaml.load(displaced.yaml, Loader=loader))
        if document.unitcell is None or document.supercell_matrix is None:
            raise ValueError("it has no unit cell, or no supercell of it")
        return document
    except Exception as error:  # phonopy's reader raises what it likes
        raise StructureError(
            f"the YAML of this displacement record cannot be read ({type(error).__name__}: {error}). Displace again."
        ) from error


def _checked(name: str, values: NDArray[np.float64], shape: tuple[int, ...]) -> NDArray[np.float64]:
    """Return an array of force constants in C order, or say how its shape is wrong."""
    if values.shape != shape:
        raise StructureError(
            f"'{name}' has shape {values.shape}, expected {shape}. Fit the force constants again from this "
            "displacement record."
        )
    return np.array(values, dtype=np.float64, order="C")


def full_force_constants(phonopy: Phonopy) -> NDArray[np.float64]:
    """fc2 of a Phonopy object between all atoms of its supercell, float64 (n_atoms, n_atoms, 3, 3), eV/Å²."""
    from phonopy.harmonic.force_constants import compact_fc_to_full_fc

    return np.asarray(compact_fc_to_full_fc(phonopy.primitive, np.asarray(phonopy.force_constants)))
