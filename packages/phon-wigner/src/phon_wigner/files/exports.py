"""Write spectra, cumulative κ, coherence map and crossover diagnostics as one HDF5 file or as CSV tables."""

from __future__ import annotations

import os
from pathlib import Path

import h5py
import numpy as np

from phon_wigner.conductivity.crossover import crossover
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import Spectra
from phon_wigner.conductivity.tables import at, write_table
from phon_wigner.file_access.atomic_write import existing_folder, whole_file


def write_spectra(result: WignerResult, path: str | os.PathLike[str]) -> None:
    """Write one HDF5 file with a group ``T300K`` per temperature.

    Each group holds the arrays of :class:`phon_wigner.conductivity.spectra.Spectra` under their attribute names, and in
    ``crossover`` those of :class:`phon_wigner.conductivity.crossover.Crossover`.

    Parameters
    ----------
    result : WignerResult
        With modes.
    path : path
    """
    with whole_file(path) as temporary, h5py.File(temporary, "w") as handle:
        for index, temperature in enumerate(result.temperatures):
            group = handle.create_group(f"T{temperature:g}K")
            spectra = Spectra.from_result(result, index)
            for name, unit in _UNITS.items():
                group[name] = getattr(spectra, name)
                group[name].attrs["unit"] = unit
            crossover(result, index).to_hdf5(group.create_group("crossover"))


def write_tables(result: WignerResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write CSV tables ``spectrum``, ``cumulative``, ``modes``, ``regimes`` (and ``map``) per temperature.

    Returns
    -------
    list[Path]
        The files, e.g. ``spectrum_300K.csv``; its columns ``frequency_thz``, ``kappa_p_300k_w_mk_thz``, ….
    """
    target = existing_folder(folder)
    written = []
    for index, temperature in enumerate(result.temperatures):
        for kind in _TABLES:
            if kind == "map" and not len(result.map_edges):
                continue
            written.append(target / f"{kind}_{temperature:g}K.csv")
            write_one_table(result, index, kind, written[-1])
    return written


def write_one_table(result: WignerResult, index: int, kind: str, path: str | os.PathLike[str]) -> None:
    """Write the table of one kind (as :func:`write_tables` names them) at one temperature.

    Parameters
    ----------
    result : WignerResult
        With modes.
    index : int
        Row of ``result.temperatures``.
    kind : str
        "spectrum", "cumulative", "modes", "regimes" or "map".
    path : path
    """
    temperature = float(result.temperatures[index])
    header = [name if unit is None else at(name, temperature, unit) for name, unit in _TABLES[kind]]
    if kind in ("modes", "regimes"):
        diagnosis = crossover(result, index)
        if kind == "modes":
            return diagnosis.to_csv(path)
        rows = [(name, share, *diagnosis.kappa_of_regime[name]) for name, share in diagnosis.counts.items()]
        return write_table(path, header, rows)
    spectra = Spectra.from_result(result, index)
    if kind == "map":
        middle = (spectra.map_edges[1:] + spectra.map_edges[:-1]) / 2
        cells = np.ndenumerate(spectra.coherence_map)
        return write_table(path, header, ((float(middle[i]), float(middle[j]), float(x)) for (i, j), x in cells))
    if kind == "cumulative":
        columns = [spectra.path, spectra.path_cumulative_p, spectra.path_cumulative_c]
    else:
        centres = (spectra.edges[1:] + spectra.edges[:-1]) / 2
        columns = [centres, spectra.kappa_p, spectra.kappa_c, spectra.cumulative_p[1:], spectra.cumulative_c[1:]]
    return write_table(path, header, zip(*columns, strict=True))


_TABLES: dict[str, list[tuple[str, str | None]]] = {
    "spectrum": [
        ("frequency_thz", None),
        ("kappa_p", "w_mk_thz"),
        ("kappa_c", "w_mk_thz"),
        ("cumulative_p", "w_mk"),
        ("cumulative_c", "w_mk"),
    ],
    "cumulative": [("mean_free_path", "nm"), ("cumulative_p", "w_mk"), ("cumulative_c", "w_mk")],
    "modes": [],
    "regimes": [("regime", None), ("share_of_modes", ""), ("kappa_p", "w_mk"), ("kappa_c", "w_mk")],
    "map": [("frequency_1_thz", None), ("frequency_2_thz", None), ("kappa_c", "w_mk_thz2")],
}
"""Columns of each table: a name, and the unit of what depends on the temperature of the table."""

_UNITS = {
    "temperature": "K",
    "edges": "THz",
    "kappa_p": "W/(m K THz)",
    "kappa_c": "W/(m K THz)",
    "cumulative_p": "W/(m K)",
    "cumulative_c": "W/(m K)",
    "path": "nm",
    "path_cumulative_p": "W/(m K)",
    "path_cumulative_c": "W/(m K)",
    "coherence_map": "W/(m K THz^2)",
    "map_edges": "THz",
}
"""Datasets of the HDF5 file and their units."""
