"""Write spectra, cumulative κ, coherence map and crossover diagnostics as one HDF5 file or as CSV tables."""

from __future__ import annotations

import csv
import os
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from phon_wigner.conductivity.crossover import crossover
from phon_wigner.conductivity.result import WignerResult
from phon_wigner.conductivity.spectra import Spectra


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
    target = Path(path)
    temporary = target.with_name(target.name + ".tmp")
    with h5py.File(temporary, "w") as handle:
        for index, temperature in enumerate(result.temperatures):
            group = handle.create_group(f"T{temperature:g}K")
            spectra = Spectra.from_result(result, index)
            for field in fields(spectra):
                group[field.name] = getattr(spectra, field.name)
            crossover(result, index).to_hdf5(group.create_group("crossover"))
    os.replace(temporary, target)


def write_tables(result: WignerResult, folder: str | os.PathLike[str]) -> list[Path]:
    """Write CSV tables ``spectrum``, ``cumulative``, ``modes``, ``regimes`` (and ``map``) per temperature.

    Returns
    -------
    list[Path]
        The files, e.g. ``spectrum_300K.csv``.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for index, temperature in enumerate(result.temperatures):
        names = {kind: folder / f"{kind}_{temperature:g}K.csv" for kind in _TABLES}
        spectra, diagnosis = Spectra.from_result(result, index), crossover(result, index)
        centres = (spectra.edges[1:] + spectra.edges[:-1]) / 2
        columns = [centres, spectra.kappa_p, spectra.kappa_c, spectra.cumulative_p[1:], spectra.cumulative_c[1:]]
        _table(names["spectrum"], _TABLES["spectrum"], zip(*columns, strict=True))
        paths = [spectra.path, spectra.path_cumulative_p, spectra.path_cumulative_c]
        _table(names["cumulative"], _TABLES["cumulative"], zip(*paths, strict=True))
        diagnosis.to_csv(names["modes"])
        rows = [(name, share, *diagnosis.kappa_of_regime[name]) for name, share in diagnosis.counts.items()]
        _table(names["regimes"], _TABLES["regimes"], rows)
        if len(spectra.map_edges):
            middle = (spectra.map_edges[1:] + spectra.map_edges[:-1]) / 2
            cells = ((middle[i], middle[j], value) for (i, j), value in np.ndenumerate(spectra.coherence_map))
            _table(names["map"], _TABLES["map"], cells)
        else:
            names.pop("map")
        written += list(names.values())
    return written


_TABLES: dict[str, Sequence[str]] = {
    "spectrum": ("frequency_thz", "kappa_p_w_mk_thz", "kappa_c_w_mk_thz", "cumulative_p_w_mk", "cumulative_c_w_mk"),
    "cumulative": ("mean_free_path_nm", "cumulative_p_w_mk", "cumulative_c_w_mk"),
    "modes": (),
    "regimes": ("regime", "share_of_modes", "kappa_p_w_mk", "kappa_c_w_mk"),
    "map": ("frequency_1_thz", "frequency_2_thz", "kappa_c_w_mk_thz2"),
}


def _table(path: Path, header: Sequence[str], rows: Iterable[Iterable[Any]]) -> None:
    """Write one CSV table with eight significant digits."""
    with open(path, "w", newline="", encoding="utf-8") as handle:
        writer = csv.writer(handle)
        writer.writerow(header)
        writer.writerows([x if isinstance(x, str) else f"{x:.8g}" for x in row] for row in rows)
