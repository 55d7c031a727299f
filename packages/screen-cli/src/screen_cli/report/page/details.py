"""What the page of one crystal shows, small enough to embed five thousand of them."""

from __future__ import annotations

import functools
import itertools
from dataclasses import dataclass

import numpy as np
from ase import Atoms
from ase.data import chemical_symbols
from numpy.typing import NDArray

from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.page.packing import differences, round_to_digits, significant
from screen_cli.report.stored_results import band_structure_of, density_of_states_of
from screen_cli.store.record import Json, Record, Scalar

_POINTS_PER_SEGMENT = 26
_DOS_POINTS = 101
_MODES = 400
_STEPS = 1500  # resolution of a frequency axis: finer than a screen
_LARGEST_DRAWN_CELL = 200
_CONVENTIONAL = {  # rows of the conventional cell in multiples of the primitive one
    "F": [[-1, 1, 1], [1, -1, 1], [1, 1, -1]],
    "I": [[0, 1, 1], [1, 0, 1], [1, 1, 0]],
    "C": [[1, -1, 0], [1, 1, 0], [0, 0, 1]],
    "A": [[1, 0, 0], [0, 1, -1], [0, 1, 1]],
}


@dataclass(frozen=True)
class StructureView:
    """The crystal as it is drawn.

    Parameters
    ----------
    numbers : list of int
        Atomic numbers, (n_atoms,).
    cell : list of list of float
        Rows of the cell, (3, 3), Å.
    positions : list of list of float
        Fractional, (n_atoms, 3).
    name : str
        Which cell it is.
    """

    numbers: list[int]
    cell: list[list[float]]
    positions: list[list[float]]
    name: str

    def to_json(self) -> dict[str, Json]:
        """Fields under the short names that the page reads."""
        return {"n": self.numbers, "c": self.cell, "p": self.positions, "name": self.name}


@dataclass(frozen=True)
class DosView:
    """Density of states, thinned out.

    Parameters
    ----------
    low, pitch : float
        First frequency and distance of the points, THz.
    top : float
        Maximum, states/THz.
    total : list of int
        Differences in 1/500 of the maximum, (n_points,).
    parts : dict of str to list of int
        The same of each element, by symbol; none where there is one element only.
    """

    low: Scalar | None
    pitch: Scalar | None
    top: Scalar | None
    total: list[int]
    parts: dict[str, list[int]]

    def to_json(self) -> dict[str, Json]:
        """Fields as the page reads them."""
        return {"low": self.low, "pitch": self.pitch, "top": self.top, "total": self.total, "parts": self.parts}


@dataclass(frozen=True)
class BandView:
    """Dispersion, thinned out.

    Parameters
    ----------
    step : float
        Unit of the differences, THz.
    distances : list of float
        (n_points,), 1/Å without 2π.
    starts : list of int
        First point of each segment, and the end.
    ticks : list of (float, str)
        Distance and label.
    branches : list of list of int
        Differences in steps, (n_bands, n_points).
    dos : DosView or None
    """

    step: Scalar | None
    distances: list[Scalar | None]
    starts: list[int]
    ticks: list[tuple[Scalar | None, str]]
    branches: list[list[int]]
    dos: DosView | None

    def to_json(self) -> dict[str, Json]:
        """Fields under the short names that the page reads."""
        fields: dict[str, Json] = {
            "step": self.step,
            "x": self.distances,
            "starts": self.starts,
            "ticks": self.ticks,
            "f": self.branches,
        }
        return fields if self.dos is None else fields | {"dos": self.dos.to_json()}


@dataclass(frozen=True)
class ConductivityView:
    """κ(T), sorted by temperature; means of the diagonal.

    Parameters
    ----------
    temperatures : list of float
        K, (n_temps,).
    populations, coherences, total : list of float or None
        W/(m K), (n_temps,); None where the solver has none.
    """

    temperatures: list[Scalar | None]
    populations: list[Scalar | None]
    coherences: list[Scalar | None] | None
    total: list[Scalar | None] | None

    def to_json(self) -> dict[str, Json]:
        """Fields under the short names that the page reads; those without values are left out."""
        fields = {"t": self.temperatures, "p": self.populations, "c": self.coherences, "total": self.total}
        return {name: values for name, values in fields.items() if values is not None}


@dataclass(frozen=True)
class ModeView:
    """Lifetimes of the modes that carry most heat, sorted by frequency.

    Parameters
    ----------
    kelvin : float
        Temperature, K.
    n_modes : int
        With a lifetime.
    limit : float
        Wigner limit of the lifetimes, ps.
    step : float
        Unit of the differences, THz.
    frequencies : list of int
        Differences in steps, (n_shown,).
    lifetimes : list of int
        log10(τ/ps) in 1/100.
    sizes : list of int
        κ_P of the mode: square root of its share of the largest, in 1/100.
    shares : list of int
        κ_C/(κ_P+κ_C), %; all 0 without coherences.
    """

    kelvin: Scalar | None
    n_modes: int
    limit: Scalar | None
    step: float
    frequencies: list[int]
    lifetimes: list[int]
    sizes: list[int]
    shares: list[int]

    def to_json(self) -> dict[str, Json]:
        """Fields under the short names that the page reads."""
        return {
            "kelvin": self.kelvin,
            "of": self.n_modes,
            "limit": self.limit,
            "step": self.step,
            "f": self.frequencies,
            "tau": self.lifetimes,
            "size": self.sizes,
            "share": self.shares,
        }


def structure_view(atoms: Atoms, space_group: int | None, *, relaxed: bool = False) -> StructureView:
    """Describe the conventional cell of a primitive one (as spglib sets it); rhombohedral ones stay primitive."""
    from ase.build import make_supercell  # its other functions import all of scipy's optimisers

    centring = _centring(space_group) if space_group else ""
    multiples = _CONVENTIONAL.get(centring)
    shown = atoms if multiples is None else make_supercell(atoms, multiples)
    name = "conventional cell" if multiples is not None or centring == "P" else "primitive cell"
    if len(shown) > _LARGEST_DRAWN_CELL:
        shown, name = atoms, "primitive cell"
    return StructureView(
        numbers=shown.numbers.tolist(),
        cell=np.round(shown.cell.array, 4).tolist(),
        positions=np.round(shown.get_scaled_positions(), 4).tolist(),
        name=f"{name}, relaxed" if relaxed else f"{name}, as given",
    )


@functools.cache
def _centring(space_group: int) -> str:
    """First letter of the Hermann-Mauguin symbol."""
    from ase.spacegroup import Spacegroup  # as above

    return str(Spacegroup(space_group).symbol[0])


def band_view(harmonic: Record) -> BandView | None:
    """Thin out dispersion and density of states; None without bands."""
    if "band_distances" not in harmonic.arrays:
        return None
    bands = band_structure_of(harmonic)
    chosen: list[int] = []
    starts = [0]
    for first, last in itertools.pairwise(bands.starts.tolist()):
        chosen += [first + point for point in _telling_points(bands.frequencies[first:last])]
        starts.append(len(chosen))
    step = max(float(np.abs(bands.frequencies).max()), 1e-6) / _STEPS
    return BandView(
        step=significant(step),
        distances=[significant(value, 4) for value in bands.distances[chosen].tolist()],
        starts=starts,
        ticks=[(significant(x, 4), label) for x, label in bands.ticks()],
        branches=[differences(branch, round_to_digits(step)) for branch in bands.frequencies[chosen].T],
        dos=_dos_view(density_of_states_of(harmonic)) if "dos" in harmonic.arrays else None,
    )


def _telling_points(frequencies: NDArray[np.float64]) -> list[int]:
    """Points of one segment to draw: two thirds evenly, the others where a branch bends most."""
    n_points = len(frequencies)
    if n_points <= _POINTS_PER_SEGMENT:
        return list(range(n_points))
    chosen = set(np.linspace(0, n_points - 1, 2 * _POINTS_PER_SEGMENT // 3).round().astype(int).tolist())
    bends = np.abs(np.diff(frequencies, 2, axis=0)).max(axis=1)
    for point in (np.argsort(-bends) + 1).tolist():
        if len(chosen) == _POINTS_PER_SEGMENT:
            break
        chosen.add(point)
    return sorted(chosen)


def conductivity_view(conductivity: Record) -> ConductivityView | None:
    """κ(T); None where there is no κ, or only one temperature: one point is no curve."""
    arrays = conductivity.arrays
    if not {"temperatures", "kappa_p"} <= arrays.keys() or len(arrays["temperatures"]) < 2:
        return None
    temperatures = conductivity.floats("temperatures")
    order = np.argsort(temperatures)

    def curve(name: str) -> list[Scalar | None] | None:
        if name not in arrays:
            return None
        return [significant(float(value), 4) for value in conductivity.floats(name)[order, :3].mean(axis=1)]

    return ConductivityView(
        temperatures=[significant(float(value)) for value in temperatures[order]],
        populations=curve("kappa_p") or [],
        coherences=curve("kappa_c"),
        total=curve("kappa_total"),
    )


def mode_view(conductivity: Record, temperature: float = 300.0) -> ModeView | None:
    """Lifetimes of the modes that carry most heat, as Fig. 7 of the SDNNFF paper.

    τ = 1/(4π·gamma), gamma HWHM in THz (isotopes included where the record has them); Wigner limit
    τ = 1/Δω_avg with Δω_avg = 2π ν_max / (3 N_atoms).

    Returns
    -------
    ModeView or None
        None when the record has no modes.
    """
    arrays = conductivity.arrays
    if not {"frequency", "gamma", "mode_kappa_p", "temperatures"} <= arrays.keys():
        return None
    temperatures, frequency = conductivity.floats("temperatures"), conductivity.floats("frequency")
    index = int(np.argmin(np.abs(temperatures - temperature)))
    gamma = conductivity.floats("gamma")[index]
    if "gamma_isotope" in arrays:
        gamma = gamma + conductivity.floats("gamma_isotope")
    particle = _diagonal_mean(conductivity.floats("mode_kappa_p")[index])
    wave = np.zeros_like(particle)
    if "mode_kappa_c" in arrays:
        wave = _diagonal_mean(conductivity.floats("mode_kappa_c")[index])
    total = particle + wave
    usable = (frequency > 1e-3) & (gamma > 0) & (total > 0)
    if not usable.any():
        return None
    rank = np.argsort(-total[usable])[:_MODES]
    chosen = {
        name: values[usable][rank]
        for name, values in (("f", frequency), ("gamma", gamma), ("p", particle), ("c", wave))
    }
    order = np.argsort(chosen["f"])
    f, gamma, p, c = (chosen[name][order] for name in ("f", "gamma", "p", "c"))
    step = round_to_digits(float(frequency.max()) / _STEPS)
    p = np.maximum(p, 0.0)
    return ModeView(
        kelvin=significant(float(temperatures[index])),
        n_modes=int(usable.sum()),
        limit=significant(float(frequency.shape[1] / (2 * np.pi * frequency.max()))),
        step=step,
        frequencies=differences(f, step),
        lifetimes=[int(value) for value in np.rint(100 * np.log10(1 / (4 * np.pi * gamma)))],
        sizes=[int(value) for value in np.rint(100 * np.sqrt(p / max(float(p.max()), 1e-300)))],
        shares=[int(value) for value in np.rint(100 * np.clip(c / (p + c), 0, 1))],
    )


def _diagonal_mean(tensor: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of xx, yy, zz of the last axis."""
    mean: NDArray[np.float64] = tensor[..., :3].mean(axis=-1)
    return mean


def _dos_view(dos: DensityOfStates) -> DosView:
    """Density of states, thinned out."""
    stride = max(1, round((len(dos.frequencies) - 1) / (_DOS_POINTS - 1)))
    top = max(float(dos.total.max()), 1e-12)
    parts = zip(dos.elements, dos.by_element, strict=True) if len(dos.elements) > 1 else ()
    return DosView(
        low=significant(float(dos.frequencies[0])),
        pitch=significant(float(dos.frequencies[1] - dos.frequencies[0]) * stride),
        top=significant(top),
        total=differences(dos.total[::stride], top / 500),
        parts={chemical_symbols[int(number)]: differences(part[::stride], top / 500) for number, part in parts},
    )
