"""Reference conductivities, mode by mode, from the files in which they are published.

Understood are the tables of phononDB-PBE (``kappas_*.json.gz``: a pandas JSON, column then row) with the column names
of k_SRME or of Matbench Discovery, and phono3py's ``kappa-*.hdf5`` alone or in folders named by material.
"""

from __future__ import annotations

import functools
import gzip
import io
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from screen_cli.errors import ConfigError
from screen_cli.plugins.protocols import ModeConductivity
from screen_cli.store.reading import parse_json, require_file
from screen_cli.store.reading.hdf5 import whole_array

if TYPE_CHECKING:
    import h5py

_COLUMNS = {
    "id": ("mp_id", "material_id", "mat_id", "id"),
    "kappa": ("kappa_TOT_ave", "kappa_tot_avg"),
    "kappa_tensor": ("kappa_TOT_RTA", "kappa_tot_rta"),
    "modes": ("mode_kappa_TOT_ave", "mode_kappa_tot_avg"),
    "mode_tensor": ("mode_kappa_TOT", "mode_kappa_tot_rta"),
    "weights": ("weights", "mode_weights"),
    "qpoints": ("qpoints", "q_points"),
    "frequencies": ("frequencies", "ph_freqs"),
}
_TEMPERATURE_TOLERANCE = 1e-6
_MOST_RATIO, _ALWAYS_READ = 200, 64 << 20
"""Numbers as text grow tenfold by decompression, not two-hundredfold; so many bytes are read in any case."""


@dataclass(frozen=True)
class Reference:
    """Reference of one material at one temperature.

    Parameters
    ----------
    id, name : str
    temperature : float
        K.
    kappa : float
        Mean of xx, yy, zz, W/(m K).
    modes : ndarray
        float64 (n_irr, n_bands), W/(m K), the weight of q inside.
    weights : ndarray
        int64 (n_irr,).
    qpoints : ndarray
        float64 (n_irr, 3), fractional.
    frequencies : ndarray
        float64 (n_irr, n_bands), THz.
    mesh : tuple of int or None
    coherences : bool
        Whether ``kappa`` and ``modes`` hold coherences; without, results are compared by their populations.
    """

    id: str
    name: str
    temperature: float
    kappa: float
    modes: NDArray[np.float64]
    weights: NDArray[np.int64]
    qpoints: NDArray[np.float64]
    frequencies: NDArray[np.float64]
    mesh: tuple[int, ...] | None = None
    coherences: bool = True

    def as_mapping(self) -> ModeConductivity:
        """Fields as a metric takes them."""
        return {
            "name": f"the reference of {self.id}",
            "temperature": self.temperature,
            "kappa": self.kappa,
            "modes": self.modes,
            "weights": self.weights,
            "qpoints": self.qpoints,
            "frequencies": self.frequencies,
        }


def read_references(path: Path | str, temperature: float) -> tuple[dict[str, Reference], list[str]]:
    """Read every material of a reference.

    Parameters
    ----------
    path : path
        A table, an HDF5 file, or a folder of HDF5 files: ``<id>.hdf5`` or ``<id>/kappa-*.hdf5``.
    temperature : float
        K.

    Returns
    -------
    references : dict of str to Reference
        By id.
    problems : list of str
        One sentence for each row that cannot be used; the others are read.

    Raises
    ------
    ConfigError
        The path does not exist or holds no reference at all.
    """
    path = Path(path).expanduser()
    if not path.exists():
        raise ConfigError(
            f"the reference {path} does not exist. Give a kappas_*.json.gz of phononDB-PBE, a kappa-*.hdf5 of "
            "phono3py, or a folder of such files."
        )
    rows: Sequence[tuple[str, Callable[[], Reference]]]
    if path.is_dir():
        files = sorted(path.rglob("*.hdf5"))
        if not files:
            raise ConfigError(f"the reference folder {path} holds no .hdf5 file.")
        rows = [(_id_of_file(file), functools.partial(_from_hdf5, file, temperature)) for file in files]
    elif path.suffix in (".hdf5", ".h5"):
        rows = [(_id_of_file(path), functools.partial(_from_hdf5, path, temperature))]
    else:
        rows = _rows_of_table(path, temperature)
    references: dict[str, Reference] = {}
    problems = []
    for material_id, read in rows:
        if material_id in references:
            problems.append(f"{path.name}: the id {material_id} stands there twice; the first counts.")
            continue
        try:
            references[material_id] = read()
        except (LookupError, ValueError, TypeError, ArithmeticError, AttributeError, RuntimeError, OSError) as error:
            problems.append(f"{path.name}: {material_id} cannot be used: {_sentence(error)}")
    if not references:
        raise ConfigError(f"{path} holds no usable reference: {' '.join(problems) or 'it has no rows'}")
    return references, problems


def pick_reference(references: Mapping[str, Reference], material_id: str, name: str) -> Reference | None:
    """Give the reference of one material: by id, else by name; a file of a single unnamed material serves any."""
    if material_id in references:
        return references[material_id]
    named = [item for item in references.values() if name and name in (item.id, item.name)]
    if len(named) == 1:
        return named[0]
    only = next(iter(references.values())) if len(references) == 1 else None
    return only if only is not None and only.id.startswith("kappa") else None


def _rows_of_table(path: Path, temperature: float) -> list[tuple[str, Callable[[], Reference]]]:
    """Ids of a table and what reads each row."""
    try:
        content = parse_json(_unpacked(path))
    except (ValueError, OSError, EOFError, zlib.error) as error:
        raise ConfigError(f"{path} is no JSON table: {error}. Give a kappas_*.json.gz as published.") from error
    table: dict[str, object] = content if isinstance(content, dict) else {}
    column = next((name for name in _COLUMNS["id"] if name in table), None)
    if column is None:
        raise ConfigError(
            f"{path} has no column of ids ({', '.join(_COLUMNS['id'])}); expected a pandas table as JSON."
        )
    rows: list[tuple[str, Callable[[], Reference]]] = []
    ids = table[column]
    if not isinstance(ids, dict):
        raise ConfigError(f"{path}: {column} is no column of a pandas table as JSON.")
    for key in ids:
        row = {name: values.get(key) for name, values in table.items() if isinstance(values, dict)}
        rows.append((str(row[column]), functools.partial(_from_row, row, temperature)))
    return rows


def _unpacked(path: Path) -> bytes:
    """Bytes of a file, gunzipped where it is gzip; ValueError when it grows as no table of numbers does."""
    require_file(path)
    raw = path.read_bytes()
    if raw[:2] != b"\x1f\x8b":
        return raw
    most = max(_ALWAYS_READ, _MOST_RATIO * len(raw))
    with gzip.GzipFile(fileobj=io.BytesIO(raw)) as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise ValueError(f"it unpacks to more than {most >> 20} MiB")
    return content


def _from_row(row: Mapping[str, object], temperature: float) -> Reference:
    """Give the reference from one row of a table."""
    temperatures = np.atleast_1d(np.asarray(row.get("temperatures") or [temperature], dtype=np.float64))
    index = _row_of_temperature(temperatures, temperature)
    kappa = _optional(row, "kappa")
    modes = _optional(row, "modes")
    if kappa is None:
        kappa = _mean_of_diagonal(_array(row, "kappa_tensor"), 1)
    if modes is None:
        modes = _mean_of_diagonal(_array(row, "mode_tensor"), 3)
    mesh = row.get("q_mesh")
    return _checked(
        Reference(
            id=str(next(row[name] for name in _COLUMNS["id"] if row.get(name) is not None)),
            name=str(row.get("name") or ""),
            temperature=float(temperatures[index]),
            kappa=float(np.atleast_1d(kappa)[index]),
            modes=modes[index] if modes.ndim == 3 else modes,
            weights=_array(row, "weights").astype(np.int64),
            qpoints=_array(row, "qpoints"),
            frequencies=_array(row, "frequencies"),
            mesh=None if mesh is None else tuple(int(number) for number in np.ravel(np.asarray(mesh))),
        )
    )


def _floats(file: h5py.Group, name: str) -> NDArray[np.float64]:
    """Read one dataset as float64."""
    return np.asarray(whole_array(file, name), dtype=np.float64)


def _from_hdf5(path: Path, temperature: float) -> Reference:
    """Give the reference from phono3py's result file; coherences where the run had them."""
    import h5py

    require_file(path)
    with h5py.File(path, "r") as file:
        index = _row_of_temperature(_floats(file, "temperature"), temperature)
        populations = next((name for name in ("mode_kappa_P_RTA", "mode_kappa") if name in file), None)
        if populations is None:
            raise KeyError("mode_kappa (run phono3py with --write-kappa and without --bi)")
        modes = _floats(file, populations)[index][..., :3].mean(axis=-1)
        coherences = "mode_kappa_C" in file
        if coherences:
            shared = _floats(file, "mode_kappa_C")[index][..., :3].mean(axis=-1)
            modes = modes + (shared if shared.ndim == 2 else _share_out(shared, _floats(file, "heat_capacity")[index]))
        weights = whole_array(file, "weight").astype(np.int64)
        return _checked(
            Reference(
                id=_id_of_file(path),
                name=path.parent.name,
                temperature=float(_floats(file, "temperature")[index]),
                kappa=float(modes.sum() / weights.sum()),
                modes=modes,
                weights=weights,
                qpoints=_floats(file, "qpoint"),
                frequencies=_floats(file, "frequency"),
                mesh=tuple(int(number) for number in np.ravel(whole_array(file, "mesh"))) if "mesh" in file else None,
                coherences=coherences,
            )
        )


def _share_out(pairs: NDArray[np.float64], capacity: NDArray[np.float64]) -> NDArray[np.float64]:
    """K_C(q, s) = 2 Σ_s' κ_C(q, s, s') C_s/(C_s + C_s'), as phono3py 3 left it to its users."""
    total = capacity[:, :, None] + capacity[:, None, :]
    share = np.divide(
        np.broadcast_to(capacity[:, :, None], total.shape), total, out=np.zeros_like(total), where=total > 0
    )
    return np.asarray(2 * (pairs * share).sum(axis=2))


def _checked(reference: Reference) -> Reference:
    """Refuse arrays that do not belong together."""
    shape = (len(reference.weights), reference.frequencies.shape[-1])
    for name in ("modes", "frequencies"):
        found = getattr(reference, name).shape
        if found != shape:
            raise ValueError(f"{name} have shape {found}, expected {shape} (q points, bands).")
    if not (np.isfinite(reference.modes).all() and np.isfinite(reference.kappa) and reference.kappa > 0):
        raise ValueError(f"κ is {reference.kappa}, or some modes are not finite; expected positive numbers.")
    return reference


def _row_of_temperature(temperatures: NDArray[np.float64], temperature: float) -> int:
    """Index of a temperature."""
    hits = np.flatnonzero(np.abs(temperatures - temperature) < _TEMPERATURE_TOLERANCE)
    if not len(hits):
        raise ValueError(f"it has no {temperature:g} K, only {temperatures.tolist()[:8]} K.")
    return int(hits[0])


def _optional(row: Mapping[str, object], field: str) -> NDArray[np.float64] | None:
    """Array of a column under any of its names, if it is there."""
    value = next((row[name] for name in _COLUMNS[field] if row.get(name) is not None), None)
    return None if value is None else np.asarray(value, dtype=np.float64)


def _array(row: Mapping[str, object], field: str) -> NDArray[np.float64]:
    """Array of a column under any of its names."""
    value = _optional(row, field)
    if value is None:
        raise KeyError(f"no column {' or '.join(_COLUMNS[field])}")
    return value


def _mean_of_diagonal(tensor: NDArray[np.float64], n_axes: int) -> NDArray[np.float64]:
    """Mean of xx, yy, zz of a tensor (n_axes leading axes) with six components or three by three."""
    if tensor.ndim == n_axes + 2:
        return np.asarray(np.trace(tensor, axis1=-2, axis2=-1) / 3)
    return np.asarray(tensor[..., :3].mean(axis=-1))


def _id_of_file(path: Path) -> str:
    """Id that a file stands for: its folder for phono3py's own names, else its stem."""
    return path.parent.name if path.stem.startswith("kappa-m") and path.parent.name else path.stem


def _sentence(error: Exception) -> str:
    """Text of an exception, ended."""
    text = str(error.args[0]) if isinstance(error, KeyError) and error.args else str(error)
    return text if text.endswith(".") else f"{text}."
