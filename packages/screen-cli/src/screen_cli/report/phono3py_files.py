"""The results of one crystal as files of phono3py."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from screen_cli.crystal.born import BornTensors
from screen_cli.stages.conductivity import Conductivity
from screen_cli.stages.displace import Displaced
from screen_cli.stages.force_constants import ForceConstants
from screen_cli.stages.forces import Forces
from screen_cli.stages.phonon_objects import load_phono3py
from screen_cli.store.atomic_write import whole_file

_OF_MODES = {  # phono3py's name: ours
    "frequency": "frequency",
    "gamma": "gamma",
    "group_velocity": "group_velocity",
    "heat_capacity": "heat_capacity",
    "mode_kappa": "mode_kappa_p",
    "qpoint": "qpoints",
    "weight": "weights",
}


def write_phono3py_files(
    folder: Path,
    displaced: Displaced,
    forces: Forces,
    force_constants: ForceConstants,
    conductivity: Conductivity | None = None,
    *,
    born: BornTensors | None = None,
    nac_method: str = "gonze",
) -> list[Path]:
    """Write ``phono3py_params.yaml`` (cells, displacements, forces, Born charges), ``fc2.hdf5``, ``fc3.hdf5`` and κ.

    ``phono3py.load("phono3py_params.yaml")`` in the folder takes the force constants from beside it, and
    ``phono3py-kaccum`` reads ``kappa-m….hdf5``. There ``kappa`` and ``mode_kappa`` are those of the populations, and
    ``gamma`` is the half width of all scattering, isotopes and boundaries included.

    Parameters
    ----------
    folder : Path
        Made where it is missing.
    displaced, forces, force_constants, conductivity : Displaced, Forces, ForceConstants, Conductivity
        Records of those stages.
    born : BornTensors, optional
        In the frame and order of the crystal.
    nac_method : {"gonze", "wang"}

    Returns
    -------
    list of Path
        The files.
    """
    from phono3py.file_IO import write_fc2_to_hdf5, write_fc3_to_hdf5

    folder.mkdir(parents=True, exist_ok=True)
    phono3py = load_phono3py(displaced, force_constants=force_constants, born=born, nac_method=nac_method)
    if forces.fc3_forces is not None:
        phono3py.forces = forces.fc3_forces
    if forces.fc2_forces is not None:
        phono3py.phonon_forces = forces.fc2_forces
    written = [folder / "phono3py_params.yaml", folder / "fc2.hdf5"]
    with whole_file(written[0]) as path:
        phono3py.save(path, settings={"force_sets": True, "displacements": True, "force_constants": False})
    with whole_file(written[1]) as path:
        write_fc2_to_hdf5(phono3py.fc2, filename=str(path), p2s_map=phono3py.phonon_primitive.p2s_map)
    if force_constants.fc3 is not None:
        written.append(folder / "fc3.hdf5")
        with whole_file(written[-1]) as path:
            write_fc3_to_hdf5(phono3py.fc3, filename=str(path), p2s_map=phono3py.primitive.p2s_map)
    if conductivity is not None:
        mesh = "".join(str(number) for number in conductivity.mesh)
        written.append(folder / f"kappa-m{mesh}.hdf5")
        _write_kappa(written[-1], conductivity)
    return written


def _write_kappa(path: Path, conductivity: Conductivity) -> None:
    """Write κ of the populations and its modes under phono3py's names."""
    datasets: dict[str, NDArray[np.float64] | NDArray[np.int64]] = {
        "temperature": conductivity.temperatures,
        "mesh": conductivity.mesh,
        "kappa": conductivity.kappa_p,
    }
    for name, ours in _OF_MODES.items():
        values = getattr(conductivity, ours)
        if values is not None:
            datasets[name] = values
    with whole_file(path) as aside, h5py.File(aside, "w") as file:
        for name, values in datasets.items():
            file.create_dataset(name, data=values)
