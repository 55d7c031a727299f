"""The conductivity of one crystal at several temperatures, and its files."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, field

import h5py
import numpy as np
from numpy.typing import NDArray

from phon_wigner.errors import ShapeError, TemperatureError
from phon_wigner.file_access.atomic_write import whole_file
from phon_wigner.file_access.reading import open_hdf5, read_array, reading

COMPONENTS = ("xx", "yy", "zz", "yz", "xz", "xy")
"""Order of the six Cartesian components in every array that ends in 6."""


@dataclass(frozen=True)
class WignerResult:
    """Particle-like and wave-like conductivity, in total and per mode.

    Attributes
    ----------
    temperatures : NDArray[np.float64], shape (n_temps,), K
    kappa_p, kappa_c : NDArray[np.float64], shape (n_temps, 6), W/(m K)
        Populations and coherences; xx yy zz yz xz xy.
    frequency : NDArray[np.float64], shape (n_qpoints, n_bands), THz
    gamma : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands), THz
        HWHM, all scattering included. Empty first axis when modes were not kept.
    heat_capacity : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands), eV/K
    group_velocity : NDArray[np.float64], shape (n_qpoints, n_bands, 3), Å·THz
    qpoints : NDArray[np.float64], shape (n_qpoints, 3)
    weights : NDArray[np.int64], shape (n_qpoints,)
    mode_kappa_p, mode_kappa_c : NDArray[np.float64], shape (n_temps, n_qpoints, n_bands, 6), W/(m K)
        Their sum over q points and bands is ``sum(weights)`` times kappa (the weights are inside).
        Empty first axis when modes were not kept.
    volume : float, Å³
    mesh : tuple[int, ...] or None
    coherence_map : NDArray[np.float64], shape (n_temps, n_bins, n_bins), W/(m K) per THz²
        κ_C(ω₁, ω₂), mean of xx, yy, zz; symmetric; its integral is κ_C. Empty first axis when not kept.
    map_edges : NDArray[np.float64], shape (n_bins + 1,), THz
        Bin edges of both axes of the map; empty when not kept.
    metadata : dict
        Versions, files and settings.
    """

    temperatures: NDArray[np.float64]
    kappa_p: NDArray[np.float64]
    kappa_c: NDArray[np.float64]
    frequency: NDArray[np.float64]
    gamma: NDArray[np.float64]
    heat_capacity: NDArray[np.float64]
    group_velocity: NDArray[np.float64]
    qpoints: NDArray[np.float64]
    weights: NDArray[np.int64]
    mode_kappa_p: NDArray[np.float64]
    mode_kappa_c: NDArray[np.float64]
    volume: float
    mesh: tuple[int, ...] | None = None
    coherence_map: NDArray[np.float64] = field(default_factory=lambda: np.zeros((0, 0, 0)))
    map_edges: NDArray[np.float64] = field(default_factory=lambda: np.zeros(0))
    metadata: dict[str, str | float | bool] = field(default_factory=dict)

    @property
    def kappa_total(self) -> NDArray[np.float64]:
        """κ_P + κ_C, shape (n_temps, 6), W/(m K)."""
        return self.kappa_p + self.kappa_c

    @property
    def has_modes(self) -> bool:
        """Whether the mode-resolved arrays were kept."""
        return len(self.mode_kappa_p) == len(self.temperatures)

    def row(self, temperature: float | None, name: str = "result") -> int:
        """Return the row of one temperature (None: the first).

        Raises
        ------
        TemperatureError
            It is not there; the message lists what is.
        """
        if temperature is None:
            return 0
        hit = np.flatnonzero(np.isclose(self.temperatures, temperature, atol=1e-6))
        if not len(hit):
            raise TemperatureError(
                f"{name} has no {temperature:g} K; it holds {self.temperatures.tolist()} K. Choose one of these."
            )
        return int(hit[0])

    def to_json(self, path: str | os.PathLike[str]) -> None:
        """Write temperatures and κ (not the modes) as JSON, atomically."""
        document = {
            "temperatures": self.temperatures.tolist(),
            "kappa_p": self.kappa_p.tolist(),
            "kappa_c": self.kappa_c.tolist(),
            "kappa_total": self.kappa_total.tolist(),
            "components": list(COMPONENTS),
            "units": {"temperatures": "K", "kappa": "W/(m K)"},
            "mesh": None if self.mesh is None else [int(n) for n in self.mesh],
            "metadata": self.metadata,
        }
        with whole_file(path) as temporary:
            temporary.write_text(json.dumps(document, indent=1, allow_nan=False) + "\n", encoding="utf-8")

    def to_hdf5(self, path: str | os.PathLike[str], compression: str | None = "gzip") -> None:
        """Write every array to one HDF5 file: names are the attribute names, units attributes, chunks temperatures."""
        with whole_file(path) as temporary, h5py.File(temporary, "w") as handle:
            for name, unit in _ARRAYS.items():
                array = np.asarray(getattr(self, name))
                if array.ndim > 2 and array.size:
                    chunks = (1, *array.shape[1:])
                    handle.create_dataset(name, data=array, compression=compression, chunks=chunks)
                else:
                    handle.create_dataset(name, data=array)
                handle[name].attrs["unit"] = unit
            handle.create_dataset("kappa_total", data=self.kappa_total)
            handle.attrs["volume"] = self.volume
            if self.mesh is not None:
                handle.attrs["mesh"] = np.asarray(self.mesh, dtype=np.int64)
            handle.attrs["metadata"] = json.dumps(self.metadata)

    @classmethod
    def from_hdf5(cls, path: str | os.PathLike[str]) -> WignerResult:
        """Read a file of :meth:`to_hdf5`.

        Raises
        ------
        InputFileError
            The file is missing, damaged, or not one.
        ShapeError
            Its arrays do not belong together.
        """
        fix = f"Make one with `phon-wigner analyze ... --hdf5 {path}`."
        with open_hdf5(path, "the result", fix) as handle:
            arrays = {name: read_array(handle, name, path) for name in _ARRAYS}
            mesh, volume, text = None, 0.0, "{}"
            with reading(path, "a phon-wigner result", fix):
                mesh = handle.attrs.get("mesh")
                volume = float(handle.attrs["volume"])
                text = str(handle.attrs["metadata"])
                mesh = None if mesh is None else tuple(int(n) for n in mesh)
                metadata = json.loads(text)
        weights = arrays.pop("weights").astype(np.int64)
        return cls(**arrays, weights=weights, volume=volume, mesh=mesh, metadata=metadata).checked(str(path))

    def checked(self, name: str = "result") -> WignerResult:
        """Return self after checking that all arrays belong together.

        Raises
        ------
        ShapeError
            They do not.
        """
        n_temps, modes = len(self.temperatures), self.frequency.shape
        kept = n_temps if len(self.mode_kappa_p) else 0
        n_maps = n_temps if len(self.coherence_map) else 0
        n_bins = max(len(self.map_edges) - 1, 0) if n_maps else self.coherence_map.shape[-1]
        for label, array, shape in (
            ("kappa_p", self.kappa_p, (n_temps, 6)),
            ("kappa_c", self.kappa_c, (n_temps, 6)),
            ("gamma", self.gamma, (kept, *modes)),
            ("heat_capacity", self.heat_capacity, (kept, *modes)),
            ("group_velocity", self.group_velocity, (*modes, 3)),
            ("qpoints", self.qpoints, (*modes[:1], 3)),
            ("weights", self.weights, modes[:1]),
            ("mode_kappa_p", self.mode_kappa_p, (kept, *modes, 6)),
            ("mode_kappa_c", self.mode_kappa_c, (kept, *modes, 6)),
            ("coherence_map", self.coherence_map, (n_maps, n_bins, n_bins)),
        ):
            if len(modes) != 2 or 0 in modes or n_temps == 0 or array.shape != shape:
                raise ShapeError(
                    f"{name}: {label} has shape {array.shape}, expected {shape} for {n_temps} temperatures and modes "
                    f"{modes}. Take a file of one `phon-wigner analyze --hdf5`."
                )
        return self


_ARRAYS = {
    "temperatures": "K",
    "kappa_p": "W/(m K)",
    "kappa_c": "W/(m K)",
    "frequency": "THz",
    "gamma": "THz (half width)",
    "heat_capacity": "eV/K",
    "group_velocity": "angstrom THz",
    "qpoints": "fractional",
    "weights": "arms of the star",
    "mode_kappa_p": "W/(m K), weight of q inside",
    "mode_kappa_c": "W/(m K), weight of q inside",
    "coherence_map": "W/(m K THz^2)",
    "map_edges": "THz",
}
"""Datasets of the file and their units."""
