"""What the page of one crystal shows, small enough to embed five thousand of them."""

from __future__ import annotations

import functools
import itertools
from typing import Any

import numpy as np
from ase import Atoms
from ase.build import make_supercell
from ase.data import chemical_symbols
from ase.spacegroup import Spacegroup
from numpy.typing import NDArray

from screen_cli.physics.harmonic.density_of_states import DensityOfStates
from screen_cli.report.page.packing import differences, round_to_digits, significant
from screen_cli.report.stored_results import band_structure_of, density_of_states_of
from screen_cli.store.record import Record

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


def structure_view(atoms: Atoms, space_group: int | None) -> dict[str, Any]:
    """Describe the conventional cell of a primitive one (as spglib sets it); rhombohedral ones stay primitive.

    Returns
    -------
    dict
        ``n`` atomic numbers, ``c`` (3, 3) rows of the cell in Å, ``p`` (n_atoms, 3) fractional positions.
    """
    multiples = _CONVENTIONAL.get(_centring(space_group)) if space_group else None
    shown = atoms if multiples is None else make_supercell(atoms, multiples)
    if len(shown) > _LARGEST_DRAWN_CELL:
        shown = atoms
    return {
        "n": shown.numbers.tolist(),
        "c": np.round(shown.cell.array, 4).tolist(),
        "p": np.round(shown.get_scaled_positions(), 4).tolist(),
    }


@functools.cache
def _centring(space_group: int) -> str:
    """First letter of the Hermann-Mauguin symbol."""
    return str(Spacegroup(space_group).symbol[0])


def band_view(harmonic: Record) -> dict[str, Any] | None:
    """Thin out dispersion and density of states.

    Returns
    -------
    dict or None
        ``step`` THz; ``x`` distances (n_points,); ``starts`` of the segments; ``ticks`` [[x, label], ...];
        ``f`` differences in steps, one list per band; ``dos``: ``low`` and ``pitch`` in THz, ``total`` and
        ``parts`` {symbol: ...} as differences in 1/500 of the maximum ``top`` (states/THz). None without bands.
    """
    if "band_distances" not in harmonic.arrays:
        return None
    bands = band_structure_of(harmonic)
    chosen: list[int] = []
    starts = [0]
    for first, last in itertools.pairwise(bands.starts.tolist()):
        chosen += [first + point for point in _telling_points(bands.frequencies[first:last])]
        starts.append(len(chosen))
    step = max(float(np.abs(bands.frequencies).max()), 1e-6) / _STEPS
    view = {
        "step": significant(step),
        "x": [significant(value, 4) for value in bands.distances[chosen].tolist()],
        "starts": starts,
        "ticks": [[significant(x, 4), label] for x, label in bands.ticks()],
        "f": [differences(branch, round_to_digits(step)) for branch in bands.frequencies[chosen].T],
    }
    if "dos" in harmonic.arrays:
        view["dos"] = _dos_view(density_of_states_of(harmonic))
    return view


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


def conductivity_view(conductivity: Record) -> dict[str, Any] | None:
    """κ(T) sorted by temperature: ``t`` K and ``p``, ``c``, ``total`` in W/(m K), means of the diagonal.

    None where there is no κ, or only one temperature: one point is no curve.
    """
    arrays = conductivity.arrays
    if not {"temperatures", "kappa_p"} <= arrays.keys() or len(arrays["temperatures"]) < 2:
        return None
    order = np.argsort(arrays["temperatures"])
    view: dict[str, Any] = {"t": [significant(float(value)) for value in arrays["temperatures"][order]]}
    for short, name in (("p", "kappa_p"), ("c", "kappa_c"), ("total", "kappa_total")):
        if name in arrays:
            view[short] = [significant(float(value), 4) for value in arrays[name][order, :3].mean(axis=1)]
    return view


def mode_view(conductivity: Record, temperature: float = 300.0) -> dict[str, Any] | None:
    """Lifetimes of the modes that carry most heat, as Fig. 7 of the SDNNFF paper.

    τ = 1/(4π·gamma), gamma HWHM in THz (isotopes included where the record has them); Wigner limit
    τ = 1/Δω_avg with Δω_avg = 2π ν_max / (3 N_atoms).

    Returns
    -------
    dict or None
        ``kelvin``; ``of`` number of modes with a lifetime; ``limit`` ps; ``step`` THz; sorted by frequency:
        ``f`` differences in steps, ``tau`` log10(τ/ps) in 1/100, ``size`` κ_P of the mode as the square root of
        its share of the largest in 1/100, ``share`` κ_C/(κ_P+κ_C) in % (all 0 without coherences). None when the
        record has no modes.
    """
    arrays = conductivity.arrays
    if not {"frequency", "gamma", "mode_kappa_p", "temperatures"} <= arrays.keys():
        return None
    index = int(np.argmin(np.abs(arrays["temperatures"] - temperature)))
    frequency = np.asarray(arrays["frequency"], dtype=np.float64)
    gamma = np.asarray(arrays["gamma"][index], dtype=np.float64)
    if "gamma_isotope" in arrays:
        gamma = gamma + np.asarray(arrays["gamma_isotope"], dtype=np.float64)
    particle = _diagonal_mean(arrays["mode_kappa_p"][index])
    wave = _diagonal_mean(arrays["mode_kappa_c"][index]) if "mode_kappa_c" in arrays else np.zeros_like(particle)
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
    return {
        "kelvin": significant(float(arrays["temperatures"][index])),
        "of": int(usable.sum()),
        "limit": significant(float(frequency.shape[1] / (2 * np.pi * frequency.max()))),
        "step": step,
        "f": differences(f, step),
        "tau": [int(value) for value in np.rint(100 * np.log10(1 / (4 * np.pi * gamma)))],
        "size": [int(value) for value in np.rint(100 * np.sqrt(p / max(float(p.max()), 1e-300)))],
        "share": [int(value) for value in np.rint(100 * np.clip(c / (p + c), 0, 1))],
    }


def _diagonal_mean(tensor: Any) -> NDArray[np.float64]:
    """Mean of xx, yy, zz of the last axis."""
    mean: NDArray[np.float64] = np.asarray(tensor, dtype=np.float64)[..., :3].mean(axis=-1)
    return mean


def _dos_view(dos: DensityOfStates) -> dict[str, Any]:
    """Density of states, thinned out."""
    stride = max(1, round((len(dos.frequencies) - 1) / (_DOS_POINTS - 1)))
    top = max(float(dos.total.max()), 1e-12)
    parts = zip(dos.elements, dos.by_element, strict=True) if len(dos.elements) > 1 else ()
    return {
        "low": significant(float(dos.frequencies[0])),
        "pitch": significant(float(dos.frequencies[1] - dos.frequencies[0]) * stride),
        "top": significant(top),
        "total": differences(dos.total[::stride], top / 500),
        "parts": {chemical_symbols[int(number)]: differences(part[::stride], top / 500) for number, part in parts},
    }
